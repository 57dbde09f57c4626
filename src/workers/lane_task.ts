import type { MessagePort } from 'node:worker_threads';

import type { SourceCheck } from './lane_context.js';

/** All that a lane's thread is told when it starts. Descriptors belong to the main thread and outlive the lane. */
export interface LaneTask {
  /** 0..lanes-1. */
  readonly lane: number;
  readonly tunFd: number;
  readonly udpFd: number;
  readonly wakeFd: number;
  /** See {@link ControlWords}. */
  readonly control: SharedArrayBuffer;
  /** See {@link LaneCounters}. */
  readonly counters: SharedArrayBuffer;
  /** Next-hop ids below this are counted one by one. */
  readonly maxPeers: number;
  /** Brings route tables; transferred to the lane. */
  readonly tables: MessagePort;
  /** See {@link PathTable}. */
  readonly paths: SharedArrayBuffer;
  /** See {@link SuspectNote}. */
  readonly suspects: SharedArrayBuffer;
  /** See {@link Tracer}. */
  readonly trace: SharedArrayBuffer;
  /** Source of ICMP errors, int32; undefined in a network without IPv4. */
  readonly tunAddress: number | undefined;
  /** The same for IPv6, 16 bytes. */
  readonly tunAddressIpv6: Uint8Array | undefined;
  readonly sourceCheck: SourceCheck;
  readonly copyClass: boolean;
  /** See LaneContext. */
  readonly echoIdentifier: number;
  /** Bytes of the outer headers: 28 over IPv4, 48 over IPv6. */
  readonly overheadBytes: number;
  /** Superframes the TUN device takes: a set of COALESCE bits. */
  readonly coalesceKinds: number;
  /** Whether sends may be segmented by the kernel. */
  readonly gso: boolean;
}

/** Why a lane ended: a SelvageError as plain data, since an error that crosses threads loses its `code`. */
export interface LaneFault {
  readonly code: string;
  readonly message: string;
}
