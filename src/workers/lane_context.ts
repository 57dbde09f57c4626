import type { TokenBucket } from '../encap/token_bucket.js';
import type { RouteTable } from '../routing/route_table.js';
import type { AnswerBurst } from './answer_burst.js';
import type { LaneCounters } from './counters.js';

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
  /** Bytes of the largest inner frame: underlay MTU - 28. */
  readonly mtuBytes: number;
  /** Address of the TUN device as int32: the source of our ICMP errors. */
  readonly tunAddress: number;
  readonly sourceCheck: SourceCheck;
  readonly counters: LaneCounters;
  readonly answers: AnswerBurst;
  /** Limits the ICMP errors of this lane, both directions together. */
  readonly limiter: TokenBucket;
}

/**
 * What the decisions of one lane read and write. One shape for life; the lane's thread only.
 *
 * What is not readonly may change between bursts, never within one.
 */
export class LaneContext {
  table: RouteTable;
  mtuBytes: number;
  tunAddress: number;
  sourceCheck: SourceCheck;
  /** int32 milliseconds of a monotonic clock, set by the lane loop once a turn. */
  nowMillis: number;
  readonly counters: LaneCounters;
  readonly answers: AnswerBurst;
  readonly limiter: TokenBucket;

  constructor(options: LaneContextOptions) {
    this.table = options.table;
    this.mtuBytes = options.mtuBytes;
    this.tunAddress = options.tunAddress;
    this.sourceCheck = options.sourceCheck;
    this.nowMillis = 0;
    this.counters = options.counters;
    this.answers = options.answers;
    this.limiter = options.limiter;
  }
}
