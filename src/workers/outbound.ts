/**
 * Outbound decisions: which next hop does each frame read from TUN leave to, or why does it end here.
 */

import { DropReason, dropReasonOfErrno } from '../encap/drop_reason.js';
import {
  ICMP_FRAGMENTATION_NEEDED,
  ICMP_HOST_UNREACHABLE,
  ICMP_IN_TRANSIT,
  ICMP_NET_UNREACHABLE,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
} from '../encap/icmp_header.js';
import { ipv4Destination, ipv4Ttl } from '../encap/ipv4_header.js';
import { decrementTtl } from '../encap/ttl.js';
import { LOCAL, lookupIpv4 } from '../routing/route_table.js';
import type { Burst } from '../tun/burst.js';
import { answerRow } from './answer.js';
import { OUTBOUND } from './counters.js';
import type { LaneContext } from './lane_context.js';
import { SOUND, judgeSoundness } from './soundness.js';

/**
 * Decides on rows `0..count-1` that a TUN queue returned: fills `fate`, takes one from the TTL of frames that go on,
 * writes ICMP answers into `lane.answers` (for TUN), counts what was received and dropped.
 *
 * @remarks Lane thread only. Allocates nothing, never throws, whatever the bytes are.
 */
export function decideOutbound(burst: Burst, count: number, lane: LaneContext): void {
  judgeSoundness(burst, count);
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
    if (rowFate < 0) {
      lane.counters.addDrop(OUTBOUND, -rowFate, rowFrames);
      answerRefusal(burst, i, lane, -rowFate);
    }
  }
  if (count > 0) lane.counters.addReceived(OUTBOUND, frames, bytes, count, superframes);
}

/** A sound frame's next hop. @returns an id above 0, the TTL decremented; or `-DropReason`, the frame as it was */
function outboundFate(burst: Burst, i: number, lane: LaneContext): number {
  const { slab } = burst;
  const at = burst.offset[i]!;
  const nextHop = lookupIpv4(lane.table, ipv4Destination(slab, at));
  if (nextHop <= LOCAL) return nextHop === LOCAL ? -DropReason.localDestination : -DropReason.noRoute;
  if (ipv4Ttl(slab, at) <= 1) return -DropReason.ttlExceeded;
  if (burst.wireBytes[i]! > lane.mtuBytes) return -DropReason.tooBig;
  decrementTtl(slab, at);
  return nextHop;
}

/**
 * Tells the sender, for those reasons that a router answers.
 *
 * "Fragmentation needed" also goes out about frames that may be fragmented: the TUN device has our MTU, so the kernel
 * fragments before us, and what is too big here was sized for an MTU that has just changed.
 */
function answerRefusal(burst: Burst, i: number, lane: LaneContext, reason: number): void {
  switch (reason) {
    case DropReason.noRoute:
      answerRow(burst, i, lane, OUTBOUND, ICMP_UNREACHABLE, ICMP_NET_UNREACHABLE, 0, LOCAL);
      break;
    case DropReason.localDestination:
      answerRow(burst, i, lane, OUTBOUND, ICMP_UNREACHABLE, ICMP_HOST_UNREACHABLE, 0, LOCAL);
      break;
    case DropReason.ttlExceeded:
      answerRow(burst, i, lane, OUTBOUND, ICMP_TIME_EXCEEDED, ICMP_IN_TRANSIT, 0, LOCAL);
      break;
    case DropReason.tooBig:
      answerRow(burst, i, lane, OUTBOUND, ICMP_UNREACHABLE, ICMP_FRAGMENTATION_NEEDED, lane.mtuBytes, LOCAL);
      break;
    default:
      break;
  }
}

/**
 * Counts what the UDP socket took of a burst, after the send.
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
    if (lostFrames > 0) counters.addDrop(OUTBOUND, dropReasonOfErrno(burst.lostErrno[i]!), lostFrames);
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
