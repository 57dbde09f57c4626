/**
 * The addon, declared. This is the only file that loads it; everything else takes these functions.
 *
 * *Set-up calls* throw an `Error` with `code` ("EPERM"), `errno`, `syscall` ("TUNSETIFF") and a message that holds the
 * remedy. *Hot calls* never throw and allocate nothing: they return a count, or a negative errno.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

import { messageOf, SelvageError } from './errors.js';
import type { Burst } from './tun/burst.js';

/** Offloads that the TUN device accepted (Linux `TUNSETOFFLOAD`). */
export interface TunOffloads {
  /** Partial checksums in both directions (TUN_F_CSUM). */
  readonly checksum: boolean;
  /** TCP superframes over IPv4 (TUN_F_TSO4). */
  readonly tso4: boolean;
  /** TCP superframes over IPv6 (TUN_F_TSO6). */
  readonly tso6: boolean;
  /** TCP superframes with ECN (TUN_F_TSO_ECN). */
  readonly tsoEcn: boolean;
  /** UDP superframes (TUN_F_USO4 and TUN_F_USO6, Linux 6.2). */
  readonly uso: boolean;
}

/** A TUN device just created. The caller owns the descriptors. */
export interface OpenedTun {
  /** Name as the kernel chose it. */
  readonly name: string;
  /** One non-blocking descriptor per queue. */
  readonly fds: readonly number[];
  readonly offloads: TunOffloads;
}

/** A UDP socket just bound. The caller owns the descriptor. */
export interface OpenedUdp {
  readonly fd: number;
  /** Port in use: the one asked for, or the kernel's choice for 0. */
  readonly port: number;
  /** Sends can be segmented by the kernel (UDP_SEGMENT, Linux 4.18). */
  readonly gso: boolean;
  /** Receives can return trains (UDP_GRO, Linux 5.0), and were asked to. */
  readonly gro: boolean;
  /** Buffer bytes granted. */
  readonly receiveBufferBytes: number;
  readonly sendBufferBytes: number;
}

/** A lane attached to native memory. Valid on the thread that attached it only. */
export type LaneHandle = number;

/** A peer filter in the kernel. Valid on the thread that opened it only. */
export type PeerFilterHandle = object & { readonly handleOf: 'peer filter' };

/** Which burst of a lane a call works on; native/lane.h has the same numbers. */
export const BURST = { outbound: 0, inbound: 1, answers: 2 } as const;

/** Bits that {@link NativeAddon.poll} returns; native/lane.h has the same numbers. */
export const READY = { tun: 1, udp: 2, wake: 4 } as const;

/** Words of a lane's report, written by native during calls; native/lane.h has the same numbers. */
export const REPORT = {
  /** Rows of the last send of which something was lost. */
  lossRows: 0,
  /** 1 while UDP segmentation offload is in use. */
  gso: 1,
  /** Milliseconds of a monotonic clock at the end of the last poll, modulo 2^32. */
  nowMillis: 2,
} as const;
export const REPORT_WORDS = 3;

/** Superframes that may be written to TUN; native/coalesce.h has the same numbers. */
export const COALESCE = { tcp4: 1, tcp6: 2, udp4: 4, udp6: 8 } as const;

/** The columns of a burst in the order native reads them. */
type BurstColumns = readonly [Uint8Array, ...Int32Array[]];

/** The functions and constants of the addon. */
export interface NativeAddon {
  // Set-up calls.

  /**
   * Creates a TUN device, which must not exist, with virtio-net headers. Needs CAP_NET_ADMIN.
   *
   * @param name up to 15 bytes; may hold one `%d` for the next free number
   * @param queues 1..256
   * @param offload false leaves every offload off
   */
  openTun(name: string, queues: number, offload: boolean): OpenedTun;
  /**
   * Binds a UDP socket of the address's family only. The kernel never fragments what leaves by it (EMSGSIZE instead), but
   * for rows with CUT_OUTER; ICMP errors are never reported by it.
   *
   * @param address IPv4 or IPv6, as text
   * @param port 0..65535, 0 lets the kernel choose
   * @param receiveBufferBytes asked for; past the system's limit where CAP_NET_ADMIN allows it
   */
  openUdp(
    address: string,
    port: number,
    reusePort: boolean,
    gro: boolean,
    receiveBufferBytes: number,
    sendBufferBytes: number,
  ): OpenedUdp;
  /** Opens an eventfd that wakes a lane from its sleep. The caller owns it. */
  openWake(): number;
  /** Makes sockets that share a port receive by inner flow: the i-th bound gets lane i's (Linux 4.5). */
  steerUdpSockets(fd: number, lanes: number): void;
  /** Makes the TUN device queue by inner flow (Linux 4.16). False where the kernel refuses (needs CAP_BPF). */
  steerTunQueues(fd: number, lanes: number): boolean;
  /** Binds a lane's memory. `lane` columns stay referenced until {@link detachLane}. @throws RangeError */
  attachLane(
    tunFd: number,
    udpFd: number,
    wakeFd: number,
    bursts: readonly BurstColumns[],
    report: Int32Array,
    coalesceKinds: number,
    gso: boolean,
  ): LaneHandle;

  // Calls that neither throw nor allocate.

  /** Wakes the lane that sleeps on this eventfd; safe from any thread. 0, or -errno. */
  signalWake(fd: number): number;
  /** Closes a descriptor. 0, or -errno. */
  closeFd(fd: number): number;
  /** Datagrams the kernel dropped at a full receive buffer since the socket was opened, or -errno. */
  udpReceiveOverflow(fd: number): number;
  /** Forgets a lane and its references. The descriptors stay open. */
  detachLane(lane: LaneHandle): number;
  /**
   * Where next hops are: five words per id, four of the address (src/ip_address.ts) and the UDP port. Referenced until the
   * next call. 0, or -EBUSY inside a send.
   */
  setEndpoints(lane: LaneHandle, endpoints: Int32Array): number;
  /** Sleeps until something is ready or the time is over. A set of {@link READY} bits, or -errno. */
  poll(lane: LaneHandle, timeoutMillis: number): number;
  /** Sleeps until the UDP socket takes more. 1, 0 when the time was over, or -errno. */
  waitWritable(lane: LaneHandle, timeoutMillis: number): number;
  /** Reads up to `maxRows` frames from TUN into the outbound burst. Frames read, 0 when dry, or -errno. */
  tunRecv(lane: LaneHandle, maxRows: number): number;
  /** Writes rows 0..count-1 with fate >= 0 to TUN. Rows of which something was lost, or -errno. */
  tunSend(lane: LaneHandle, burst: number, count: number): number;
  /** Receives datagrams into the inbound burst, joined into superframes. Frames, 0 when dry, or -errno. */
  udpRecv(lane: LaneHandle): number;
  /** Sends rows 0..count-1 with fate > 0 to their next hops. Messages that a full buffer refused: 0 when all is done. */
  udpSend(lane: LaneHandle, burst: number, count: number): number;
  /** Goes on with a send that was refused. As {@link udpSend}. */
  udpResume(lane: LaneHandle): number;
  /** Gives up on a send that was refused; its frames are lost with EAGAIN. 0. */
  udpAbandon(lane: LaneHandle): number;

  // Control: never throws, main thread only.

  /** MTU of an interface of this network namespace, in bytes, or -errno (ENODEV: there is none). */
  interfaceMtu(name: string): number;
  /**
   * Most bytes of an outer IP packet to an address, as the kernel knows it: of the route, or less after an ICMP error.
   * Bytes (of IPv4 at most 65,535), or -errno.
   *
   * @param fd a socket of {@link openUdp}; its family and local address choose the route
   * @param words the four words of the address
   */
  udpPathMtu(fd: number, words: Int32Array): number;
  /**
   * Sends one datagram from a lane's socket, whole or not at all, without waiting. Bytes sent, or -errno (EMSGSIZE: larger
   * than the path MTU the kernel knows).
   *
   * @param words the four words of the address
   */
  udpSendProbe(fd: number, words: Int32Array, port: number, bytes: Uint8Array): number;
  /**
   * Sends one datagram to a Unix socket: `/path`, or `@name` in the abstract namespace. May wait for up to a second. 0, or
   * -errno.
   */
  notify(path: string, text: string): number;

  // Peer filter: main thread only.

  /**
   * Loads the program that refuses strangers' datagrams in the kernel (Linux 5.1, needs CAP_BPF). Set-up call. Everybody passes
   * until the first {@link admitPeers}.
   *
   * @param family 4 or 6: what the sockets' peers are of
   * @param fds sockets that it is for, at least one; to be closed after {@link closePeerFilter}
   */
  openPeerFilter(family: number, fds: Int32Array): PeerFilterHandle;
  /** Lets peers in: five words a row, as the route table's endpoints. 0; or -errno, and the filter is off for good. */
  admitPeers(filter: PeerFilterHandle, endpoints: Int32Array): number;
  /** Refuses whoever is not in these rows. 0, or -errno. */
  retainPeers(filter: PeerFilterHandle, endpoints: Int32Array): number;
  /**
   * Writes what was refused so far: `counts` gets datagrams and what they added to the sockets' drops, `lastSource` four address
   * words. 0, or -errno.
   */
  peerFilterRefused(filter: PeerFilterHandle, counts: Float64Array, lastSource: Int32Array): number;
  /** Takes the filter off its sockets and gives its descriptors back. 0, or -EBADF when it is closed already. */
  closePeerFilter(filter: PeerFilterHandle): number;

  // For tests and benches.

  /** RFC 1071 checksum (complemented) of `length` bytes at `offset`. @throws RangeError */
  checksum(bytes: Uint8Array, offset: number, length: number): number;
  /** Returns its argument: what crossing into native costs. */
  crossing(value: number): number;
  /** Name of the checksum implementation in use: "avx2", "neon" or "portable". */
  readonly checksumKernel: string;
  /** Sizes that TypeScript and native must agree on. */
  readonly layout: {
    readonly inboundSlabBytes: number;
    readonly inboundRows: number;
    readonly headroomBytes: number;
    readonly vnetHeaderBytes: number;
    readonly reportWords: number;
    readonly burstCount: number;
    readonly burstColumns: number;
  };
}

/** The columns of a burst as {@link NativeAddon.attachLane} takes them. */
export function burstColumns(burst: Burst): BurstColumns {
  const { slab, offset, length, segments, wireBytes, source, outerClass, cut, fate, lost, lostErrno } = burst;
  return [slab, offset, length, segments, wireBytes, source, outerClass, cut, fate, lost, lostErrno];
}

const BURST_COLUMNS = 11;

function load(): NativeAddon {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const require = createRequire(import.meta.url);
  let addon: NativeAddon;
  try {
    addon = (require('node-gyp-build') as (directory: string) => NativeAddon)(root);
  } catch (cause) {
    throw new SelvageError(
      'ERR_NATIVE_LOAD',
      `the native addon did not load: run 'npm install' in ${root} (needs g++, make and python3): ${messageOf(cause).split('\n')[0]}`,
      { cause },
    );
  }
  const { reportWords, burstCount, burstColumns } = addon.layout;
  const bursts = Object.keys(BURST).length;
  if (reportWords !== REPORT_WORDS || burstCount !== bursts || burstColumns !== BURST_COLUMNS) {
    throw new SelvageError('ERR_NATIVE_LAYOUT', 'the addon was built from another version: run npm install');
  }
  return addon;
}

/** The addon. Loading it fails with ERR_NATIVE_LOAD. */
export const native: NativeAddon = load();
