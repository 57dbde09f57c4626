/**
 * ICMP errors of a lane: written beside the decision, sent by the lane loop, counted after the send.
 */

import { DropReason } from '../encap/drop_reason.js';
import { outerClassOf } from '../encap/ecn.js';
import { mayAnswer, writeIcmpError } from '../encap/icmp_error.js';
import {
  ICMP_FRAGMENTATION_NEEDED,
  ICMP_HOST_UNREACHABLE,
  ICMP_IN_TRANSIT,
  ICMP_NET_UNREACHABLE,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
} from '../encap/icmp_header.js';
import { mayAnswerIpv6, writeIcmpv6Error } from '../encap/icmpv6_error.js';
import {
  ICMPV6_ADDRESS_UNREACHABLE,
  ICMPV6_HOP_LIMIT_EXCEEDED,
  ICMPV6_NO_ROUTE,
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_TIME_EXCEEDED,
  ICMPV6_UNREACHABLE,
} from '../encap/icmpv6_header.js';
import { ipVersion } from '../encap/ipv4_header.js';
import { IPV6_MIN_MTU_BYTES } from '../encap/ipv6_header.js';
import { LOCAL } from '../routing/route_table.js';
import { type Burst, CUT_NONE, CUT_OUTER } from '../tun/burst.js';
import { OUTBOUND } from './counters.js';
import type { LaneContext } from './lane_context.js';
import { pathMtuOf } from './path_fit.js';

/**
 * Writes an ICMP error about row `i`, unless the rules forbid one or the limit is reached.
 *
 * A superframe gets one answer, as it is one decision.
 *
 * @param direction OUTBOUND or INBOUND of counters.ts: where the row was going
 * @param reason a DropReason that a router tells the sender: noRoute, localDestination, ttlExceeded, tooBig, underlayTooBig
 * @param pathMtu for the two last, bytes; otherwise 0
 * @param fate of the answer: LOCAL, or the next-hop id that it leaves to
 * @remarks Allocates nothing. The row's classification must have succeeded.
 */
export function answerRow(
  burst: Burst,
  i: number,
  lane: LaneContext,
  direction: number,
  reason: number,
  pathMtu: number,
  fate: number,
): void {
  const { slab } = burst;
  const at = burst.offset[i]!;
  const isIpv6 = ipVersion(slab, at) === 6;
  const rowBytes = burst.length[i]!;
  // Of an inbound superframe only the first frame lies together in the slab.
  const together = direction === OUTBOUND ? rowBytes : Math.min(rowBytes, burst.wireBytes[i]!);
  if (!(isIpv6 ? mayAnswerIpv6(slab, at, together) : mayAnswer(slab, at, together))) return;
  const { answers } = lane;
  const row = answers.count;
  if (row >= answers.rows || !lane.limiter.tryTake(lane.nowMillis)) {
    lane.counters.addSuppressedAnswer(direction);
    return;
  }
  const out = answers.burst;
  const outAt = out.offset[row]!;
  const bytes = isIpv6
    ? writeIpv6Answer(out.slab, outAt, slab, at, together, reason, pathMtu, lane)
    : writeIpv4Answer(out.slab, outAt, slab, at, together, reason, pathMtu, lane);
  out.length[row] = bytes;
  out.wireBytes[row] = bytes;
  out.fate[row] = fate;
  // The next hop of an answer may take less than the 1,280 bytes that an ICMPv6 error can have.
  out.cut[row] = isIpv6 && fate !== LOCAL && bytes > pathMtuOf(lane, fate) ? CUT_OUTER : CUT_NONE;
  out.outerClass[row] = lane.copyClass ? outerClassOf(out.slab, outAt) : 0;
  answers.count = row + 1;
}

/** RFC 1812 sections 4.3.3.1 and 4.3.3.5, RFC 1191 section 4. */
function writeIpv4Answer(
  out: Uint8Array,
  outAt: number,
  slab: Uint8Array,
  at: number,
  length: number,
  reason: number,
  pathMtu: number,
  lane: LaneContext,
): number {
  let type = ICMP_UNREACHABLE;
  let code = ICMP_NET_UNREACHABLE;
  if (reason === DropReason.ttlExceeded) {
    type = ICMP_TIME_EXCEEDED;
    code = ICMP_IN_TRANSIT;
  } else if (reason === DropReason.localDestination) code = ICMP_HOST_UNREACHABLE;
  else if (reason !== DropReason.noRoute) code = ICMP_FRAGMENTATION_NEEDED;
  return writeIcmpError(out, outAt, slab, at, length, type, code, pathMtu, lane.tunAddress);
}

/** RFC 4443 sections 3.1 to 3.3. */
function writeIpv6Answer(
  out: Uint8Array,
  outAt: number,
  slab: Uint8Array,
  at: number,
  length: number,
  reason: number,
  pathMtu: number,
  lane: LaneContext,
): number {
  let type = ICMPV6_UNREACHABLE;
  let code = ICMPV6_NO_ROUTE;
  let mtu = 0;
  if (reason === DropReason.ttlExceeded) {
    type = ICMPV6_TIME_EXCEEDED;
    code = ICMPV6_HOP_LIMIT_EXCEEDED;
  } else if (reason === DropReason.localDestination) code = ICMPV6_ADDRESS_UNREACHABLE;
  else if (reason !== DropReason.noRoute) {
    type = ICMPV6_PACKET_TOO_BIG;
    code = 0;
    mtu = Math.max(pathMtu, IPV6_MIN_MTU_BYTES);
  }
  return writeIcmpv6Error(out, outAt, slab, at, length, type, code, mtu, lane.tunAddressIpv6);
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
