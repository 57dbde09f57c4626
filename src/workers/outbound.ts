/**
 * Outbound decisions: which next hop does each frame read from TUN leave to, or why does it end here.
 */

import { constants } from 'node:os';

import { DropReason, dropReasonOfErrno } from '../encap/drop_reason.js';
import { outerClassOf } from '../encap/ecn.js';
import { IPV6_OFFSET_DESTINATION, ipv6HopLimit } from '../encap/ipv6_header.js';
import { ipVersion, ipv4Destination, ipv4Ttl } from '../encap/ipv4_header.js';
import { decrementHopLimit, decrementTtl } from '../encap/ttl.js';
import { LOCAL, lookupIpv4, lookupIpv6 } from '../routing/route_table.js';
import { type Burst, CUT_NONE } from '../tun/burst.js';
import { answerRow } from './answer.js';
import { OUTBOUND } from './counters.js';
import type { LaneContext } from './lane_context.js';
import { cutOf, pathMtuOf, TOO_BIG } from './path_fit.js';
import { SOUND, judgeSoundness } from './soundness.js';

/**
 * Decides on rows `0..count-1` that a TUN queue returned: fills `fate`, `cut` and `outerClass`, takes one from the TTL of
 * frames that go on, writes ICMP answers into `lane.answers` (for TUN), counts what was received and dropped.
 *
 * @remarks Lane thread only. Allocates nothing, never throws, whatever the bytes are.
 */
export function decideOutbound(burst: Burst, count: number, lane: LaneContext): void {
  judgeSoundness(burst, count, lane);
  const { length, segments, fate } = burst;
  let frames = 0;
  let bytes = 0;
  let superframes = 0;
  for (let i = 0; i < count; i++) {
    const rowFrames = Math.max(segments[i]!, 1); // a row whose gso fields lie is one frame
    frames += rowFrames;
    bytes += length[i]!;
    if (rowFrames > 1) superframes++;
    let rowFate = fate[i]!;
    if (rowFate === SOUND) fate[i] = rowFate = outboundFate(burst, i, lane);
    if (rowFate < 0) lane.counters.addDrop(OUTBOUND, -rowFate, rowFrames);
  }
  if (count > 0) lane.counters.addReceived(OUTBOUND, frames, bytes, count, superframes);
}

/**
 * A sound frame's next hop.
 *
 * @returns an id above 0, the TTL decremented; or `-DropReason`, the frame as it was, and its sender told
 */
function outboundFate(burst: Burst, i: number, lane: LaneContext): number {
  const { slab } = burst;
  const at = burst.offset[i]!;
  const isIpv6 = ipVersion(slab, at) === 6;
  const nextHop = isIpv6
    ? lookupIpv6(lane.table, slab, at + IPV6_OFFSET_DESTINATION)
    : lookupIpv4(lane.table, ipv4Destination(slab, at));
  if (nextHop <= LOCAL) {
    return refuse(burst, i, lane, nextHop === LOCAL ? DropReason.localDestination : DropReason.noRoute, 0);
  }
  const hops = isIpv6 ? ipv6HopLimit(slab, at) : ipv4Ttl(slab, at);
  if (hops <= 1) return refuse(burst, i, lane, DropReason.ttlExceeded, 0);
  const wireBytes = burst.wireBytes[i]!;
  const pathMtu = pathMtuOf(lane, nextHop);
  const cut = wireBytes > pathMtu ? cutOf(slab, at, wireBytes, pathMtu) : CUT_NONE;
  if (cut === TOO_BIG) return refuse(burst, i, lane, DropReason.tooBig, pathMtu);
  burst.cut[i] = cut;
  burst.outerClass[i] = lane.copyClass ? outerClassOf(slab, at) : 0;
  if (isIpv6) decrementHopLimit(slab, at);
  else decrementTtl(slab, at);
  return nextHop;
}

/** @returns the fate */
function refuse(burst: Burst, i: number, lane: LaneContext, reason: number, pathMtu: number): number {
  answerRow(burst, i, lane, OUTBOUND, reason, pathMtu, LOCAL);
  return -reason;
}

/**
 * Counts what the UDP socket took of a burst, after the send, and learns the path MTU from what was too large for it: the
 * sender of such a frame is told (answers for TUN), and those that follow are judged by it.
 *
 * @param hadLoss whether the send reported any frame as lost; `lost` and `lostErrno` are read only then
 * @remarks Allocates nothing. Every row with a fate above 0 must have been offered to the socket.
 */
export function countOutboundSent(burst: Burst, count: number, lane: LaneContext, hadLoss: boolean): void {
  const { length, segments, fate } = burst;
  const { counters } = lane;
  let frames = 0;
  let bytes = 0;
  let rows = 0;
  let superframes = 0;
  for (let i = 0; i < count; i++) {
    const nextHop = fate[i]!;
    if (nextHop < 0) continue;
    const rowFrames = segments[i]!;
    const lostFrames = hadLoss ? burst.lost[i]! : 0;
    if (lostFrames > 0) onLost(burst, i, lane, lostFrames);
    const sentFrames = rowFrames - lostFrames;
    if (sentFrames === 0) continue;
    const sentBytes = lostFrames === 0 ? length[i]! : Math.floor((length[i]! * sentFrames) / rowFrames);
    frames += sentFrames;
    bytes += sentBytes;
    rows++;
    if (rowFrames > 1) superframes++;
    counters.addToPeer(nextHop, sentFrames, sentBytes);
  }
  counters.addSent(OUTBOUND, frames, bytes, rows, superframes);
}

function onLost(burst: Burst, i: number, lane: LaneContext, frames: number): void {
  const errno = burst.lostErrno[i]!;
  lane.counters.addDrop(OUTBOUND, dropReasonOfErrno(errno), frames);
  if (errno !== constants.errno.EMSGSIZE) return;
  const nextHop = burst.fate[i]!;
  const wireBytes = burst.wireBytes[i]!;
  const cut = burst.cut[i]!;
  const refusedBytes = cut > 0 ? cut : wireBytes; // of a frame in fragments, its fragments were
  // Of several frames in one burst the first has taught it already.
  if (refusedBytes <= pathMtuOf(lane, nextHop)) {
    const known = lane.askPathMtu(nextHop);
    if (known > 0 && known < refusedBytes) lane.paths.setLimit(nextHop, known);
  }
  const pathMtu = pathMtuOf(lane, nextHop);
  const mayCut = cutOf(burst.slab, burst.offset[i]!, wireBytes, pathMtu) !== TOO_BIG;
  if (wireBytes > pathMtu && !mayCut)
    answerRow(burst, i, lane, OUTBOUND, DropReason.underlayTooBig, pathMtu, LOCAL);
}
