/**
 * Inbound decisions: may each frame that came in a datagram be handed to the kernel, or why does it end here.
 */

import { DropReason } from '../encap/drop_reason.js';
import { applyOuterEcn } from '../encap/ecn.js';
import { echoSequence, isEchoReply } from '../encap/icmp_echo.js';
import { IPV6_OFFSET_DESTINATION, IPV6_OFFSET_SOURCE, ipv6HopLimit } from '../encap/ipv6_header.js';
import { ipVersion, ipv4Destination, ipv4Source, ipv4Ttl } from '../encap/ipv4_header.js';
import { decrementHopLimit, decrementTtl } from '../encap/ttl.js';
import { ADDRESS_WORDS } from '../ip_address.js';
import { LOCAL, isEndpoint, isPeer, lookupIpv4, lookupIpv6 } from '../routing/route_table.js';
import type { RouteTable } from '../routing/route_table.js';
import type { Burst } from '../tun/burst.js';
import { answerRow } from './answer.js';
import { INBOUND } from './counters.js';
import { SourceCheck } from './lane_context.js';
import type { LaneContext } from './lane_context.js';
import { SOUND, judgeSoundness } from './soundness.js';

/**
 * Decides on rows `0..count-1` that the UDP socket returned: fills `fate` (LOCAL or `-DropReason`), takes one from the TTL
 * of frames that go on, writes ICMP answers into `lane.answers` (for UDP), counts what was received and dropped.
 *
 * The sender is judged before anything is answered, so a stranger never provokes an answer.
 *
 * @remarks Lane thread only. Allocates nothing, never throws, whatever the bytes are.
 */
export function decideInbound(burst: Burst, count: number, lane: LaneContext): void {
  judgeSoundness(burst, count, lane);
  const { slab, offset, length, segments, fate } = burst;
  const { counters } = lane;
  let frames = 0;
  let bytes = 0;
  let superframes = 0;
  for (let i = 0; i < count; i++) {
    const rowFrames = Math.max(segments[i]!, 1);
    const rowBytes = length[i]!;
    frames += rowFrames;
    bytes += rowBytes;
    if (rowFrames > 1) superframes++;
    let rowFate = fate[i]!;
    if (rowFate === SOUND) {
      const at = offset[i]!;
      const isIpv6 = ipVersion(slab, at) === 6;
      // The peer is the one that the inner source is routed to, in every mode: strict proves it, the others believe it.
      const from = isIpv6
        ? lookupIpv6(lane.table, slab, at + IPV6_OFFSET_SOURCE)
        : lookupIpv4(lane.table, ipv4Source(slab, at));
      fate[i] = rowFate = inboundFate(burst, i, lane, from, isIpv6);
      if (from > LOCAL) onJudged(burst, i, lane, from, rowFate, rowFrames);
    }
    if (rowFate < 0) counters.addDrop(INBOUND, -rowFate, rowFrames);
  }
  if (count > 0) counters.addReceived(INBOUND, frames, bytes, count, superframes);
}

/** What follows from the fate of a frame that claims to be of the peer `from`. */
function onJudged(
  burst: Burst,
  i: number,
  lane: LaneContext,
  from: number,
  fate: number,
  frames: number,
): void {
  const rowBytes = burst.length[i]!;
  if (fate === LOCAL) {
    lane.counters.addFromPeer(from, frames, rowBytes);
    const at = burst.offset[i]!;
    if (lane.echoIdentifier !== 0 && isEchoReply(burst.slab, at, rowBytes, lane.echoIdentifier)) {
      lane.paths.noteEcho(from, echoSequence(burst.slab, at), rowBytes);
    }
  } else if (fate === -DropReason.ttlExceeded) {
    answerRow(burst, i, lane, INBOUND, DropReason.ttlExceeded, 0, from);
  }
}

/**
 * @param from next-hop id of the inner source, LOCAL or NO_ROUTE
 * @returns LOCAL, the TTL decremented and congestion marks taken over; or `-DropReason`, the frame as it was
 */
function inboundFate(burst: Burst, i: number, lane: LaneContext, from: number, isIpv6: boolean): number {
  const { slab, source } = burst;
  const at = burst.offset[i]!;
  const unwelcome = senderFate(lane.table, lane.sourceCheck, source, i * ADDRESS_WORDS, from);
  if (unwelcome < 0) {
    lane.suspects.write(-unwelcome, isIpv6, source, i * ADDRESS_WORDS, slab, at);
    return unwelcome;
  }
  const to = isIpv6
    ? lookupIpv6(lane.table, slab, at + IPV6_OFFSET_DESTINATION)
    : lookupIpv4(lane.table, ipv4Destination(slab, at));
  if (to !== LOCAL) return -DropReason.notLocal;
  const hops = isIpv6 ? ipv6HopLimit(slab, at) : ipv4Ttl(slab, at);
  if (hops <= 1) return -DropReason.ttlExceeded;
  if (!applyOuterEcn(slab, at, burst.outerClass[i]!)) return -DropReason.ecnNotCapable;
  if (isIpv6) decrementHopLimit(slab, at);
  else decrementTtl(slab, at);
  return LOCAL;
}

/**
 * @param sources column of outer sources; the datagram's words begin at `sourceAt`
 * @param from next-hop id of the inner source, LOCAL or NO_ROUTE
 */
function senderFate(
  table: RouteTable,
  mode: number,
  sources: Int32Array,
  sourceAt: number,
  from: number,
): number {
  if (mode === SourceCheck.off) return 0;
  if (mode === SourceCheck.strict && from > LOCAL && isEndpoint(table, from, sources, sourceAt)) return 0;
  if (!isPeer(table, sources, sourceAt)) return -DropReason.unknownPeer;
  return mode === SourceCheck.strict ? -DropReason.spoofedSource : 0;
}

/**
 * Counts what the TUN device took of a burst, after the writes.
 *
 * @param hadLoss whether the write reported any frame as lost; the column `lost` is read only then
 * @remarks Allocates nothing. Every row with fate LOCAL must have been offered to the device.
 */
export function countInboundWritten(burst: Burst, count: number, lane: LaneContext, hadLoss: boolean): void {
  const { length, segments, fate, lost } = burst;
  let frames = 0;
  let bytes = 0;
  let rows = 0;
  let superframes = 0;
  for (let i = 0; i < count; i++) {
    if (fate[i]! < 0) continue;
    const rowFrames = segments[i]!;
    const lostFrames = hadLoss ? lost[i]! : 0;
    if (lostFrames > 0) lane.counters.addDrop(INBOUND, DropReason.tunWriteFailed, lostFrames);
    const writtenFrames = rowFrames - lostFrames;
    if (writtenFrames === 0) continue;
    frames += writtenFrames;
    bytes += lostFrames === 0 ? length[i]! : Math.floor((length[i]! * writtenFrames) / rowFrames);
    rows++;
    if (rowFrames > 1) superframes++;
  }
  lane.counters.addSent(INBOUND, frames, bytes, rows, superframes);
}
