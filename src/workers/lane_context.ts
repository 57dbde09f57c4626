import type { TokenBucket } from '../encap/token_bucket.js';
import type { RouteTable } from '../routing/route_table.js';
import type { AnswerBurst } from './answer_burst.js';
import type { LaneCounters } from './counters.js';
import type { PathTable } from './path_table.js';
import type { SuspectNote } from './suspect_note.js';

/** How closely the sender of an inbound frame is checked. */
export const SourceCheck = {
  /** Anybody who reaches the port may send. */
  off: 0,
  /** The outer source must be the address of some peer. */
  peer: 1,
  /** The inner source must be routed to the peer that the outer source is. */
  strict: 2,
} as const;

export type SourceCheck = (typeof SourceCheck)[keyof typeof SourceCheck];

/** What a {@link LaneContext} is made of. */
export interface LaneContextOptions {
  readonly table: RouteTable;
  /** Bytes of the largest inner frame that the underlay interface takes. */
  readonly mtuBytes: number;
  /** Address of the TUN device as int32, the source of our ICMP errors; undefined in a network without IPv4. */
  readonly tunAddress: number | undefined;
  /** The same for IPv6, 16 bytes. */
  readonly tunAddressIpv6: Uint8Array | undefined;
  readonly sourceCheck: SourceCheck;
  /** Whether DSCP and ECN go from the inner header to the outer one. */
  readonly copyClass: boolean;
  /** Identifier of the ICMP echoes that probe paths, 1..65,535; 0 where nothing is probed. */
  readonly echoIdentifier: number;
  readonly counters: LaneCounters;
  readonly answers: AnswerBurst;
  /** Limits the ICMP errors of this lane, both directions together. */
  readonly limiter: TokenBucket;
  readonly paths: PathTable;
  readonly suspects: SuspectNote;
  /** Asks the kernel for the path MTU to a next hop: bytes of the largest inner frame, or 0 when it does not know. */
  readonly askPathMtu: (nextHop: number) => number;
}

const NO_ADDRESS = new Uint8Array(16);

/**
 * What the decisions of one lane read and write. One shape for life; the lane's thread only.
 *
 * What is not readonly may change between bursts, never within one.
 */
export class LaneContext {
  table: RouteTable;
  mtuBytes: number;
  /** int32 milliseconds of a monotonic clock, set by the lane loop once a turn. */
  nowMillis: number;
  readonly tunAddress: number;
  readonly tunAddressIpv6: Uint8Array;
  readonly carriesIpv4: boolean;
  readonly carriesIpv6: boolean;
  readonly sourceCheck: SourceCheck;
  readonly copyClass: boolean;
  readonly echoIdentifier: number;
  readonly counters: LaneCounters;
  readonly answers: AnswerBurst;
  readonly limiter: TokenBucket;
  readonly paths: PathTable;
  readonly suspects: SuspectNote;
  readonly askPathMtu: (nextHop: number) => number;

  constructor(options: LaneContextOptions) {
    this.table = options.table;
    this.mtuBytes = options.mtuBytes;
    this.nowMillis = 0;
    this.tunAddress = options.tunAddress ?? 0;
    this.tunAddressIpv6 = options.tunAddressIpv6 ?? NO_ADDRESS;
    this.carriesIpv4 = options.tunAddress !== undefined;
    this.carriesIpv6 = options.tunAddressIpv6 !== undefined;
    this.sourceCheck = options.sourceCheck;
    this.copyClass = options.copyClass;
    this.echoIdentifier = options.echoIdentifier;
    this.counters = options.counters;
    this.answers = options.answers;
    this.limiter = options.limiter;
    this.paths = options.paths;
    this.suspects = options.suspects;
    this.askPathMtu = options.askPathMtu;
  }
}
