/**
 * ICMP errors of a lane: written beside the decision, sent by the lane loop, counted after the send.
 */

import { mayAnswer, writeIcmpError } from '../encap/icmp_error.js';
import type { Burst } from '../tun/burst.js';
import type { LaneContext } from './lane_context.js';

/** Of a superframe only the head lies together in the slab ({@link Burst.length}). */
const SUPERFRAME_HEAD_BYTES = 120;

/**
 * Writes an ICMP error about row `i`, unless the rules forbid one or the limit is reached.
 *
 * A superframe gets one answer, as it is one decision.
 *
 * @param direction OUTBOUND or INBOUND of counters.ts: where the row was going
 * @param fate of the answer: LOCAL, or the next-hop id that it leaves to
 * @remarks Allocates nothing. The row's classification must have succeeded.
 */
export function answerRow(
  burst: Burst,
  i: number,
  lane: LaneContext,
  direction: number,
  type: number,
  code: number,
  nextHopMtuOr0: number,
  fate: number,
): void {
  const { slab } = burst;
  const at = burst.offset[i]!;
  const length = burst.length[i]!;
  if (!mayAnswer(slab, at, length)) return;
  const { answers } = lane;
  const row = answers.count;
  if (row >= answers.rows || !lane.limiter.tryTake(lane.nowMillis)) {
    lane.counters.addSuppressedAnswer(direction);
    return;
  }
  const out = answers.burst;
  const quotable = burst.segments[i]! === 1 ? length : Math.min(length, SUPERFRAME_HEAD_BYTES);
  const outAt = out.offset[row]!;
  const bytes = writeIcmpError(
    out.slab,
    outAt,
    slab,
    at,
    quotable,
    type,
    code,
    nextHopMtuOr0,
    lane.tunAddress,
  );
  out.length[row] = bytes;
  out.wireBytes[row] = bytes;
  out.fate[row] = fate;
  answers.count = row + 1;
}

/**
 * Counts the answers that the lane loop has sent, and empties the answer burst.
 *
 * @param direction OUTBOUND or INBOUND: which decisions wrote them
 * @param hadLoss whether the send reported any row as lost; the column `lost` is read only then
 */
export function finishAnswers(lane: LaneContext, direction: number, hadLoss: boolean): void {
  const { answers } = lane;
  const { lost } = answers.burst;
  let lostAnswers = 0;
  if (hadLoss) for (let i = 0; i < answers.count; i++) lostAnswers += lost[i]!;
  lane.counters.addAnswers(direction, answers.count - lostAnswers, lostAnswers);
  answers.count = 0;
}
