import { ICMPV6_ERROR_MAX_BYTES } from '../encap/icmpv6_error.js';
import type { Burst } from '../tun/burst.js';
import { createBurst } from '../tun/create_burst.js';

/** Free bytes before each answer: a cache line, more than any header that native puts there. */
const HEADROOM_BYTES = 64;

/** Bytes from one answer to the next: a multiple of a cache line, so that answers begin on one. */
const SLOT_BYTES = HEADROOM_BYTES + ICMPV6_ERROR_MAX_BYTES;

/** More answers than this in one turn of a lane are a flood, and are counted as suppressed. */
const DEFAULT_ROWS = 64;

/**
 * The ICMP errors that a decision wrote and the lane has yet to send, as a burst of its own.
 *
 * Rows `0..count-1` are complete: what remains is to pass `burst` to the native send (to TUN after an outbound burst,
 * to UDP after an inbound one), then to account for them with `finishAnswers`, which empties it again.
 */
export class AnswerBurst {
  readonly burst: Burst;
  readonly rows: number;
  count: number;

  constructor(rows = DEFAULT_ROWS) {
    this.burst = createBurst({ rows, slabBytes: rows * SLOT_BYTES });
    this.rows = rows;
    this.count = 0;
    for (let row = 0; row < rows; row++) this.burst.offset[row] = row * SLOT_BYTES + HEADROOM_BYTES;
    this.burst.segments.fill(1);
  }
}
