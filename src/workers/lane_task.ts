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
  /** Largest inner packet, bytes. */
  readonly mtuBytes: number;
  /** Source of ICMP errors, int32. */
  readonly tunAddress: number;
  readonly sourceCheck: SourceCheck;
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
