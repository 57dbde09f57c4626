/**
 * Inbound decisions: may each frame that came in a datagram be handed to the kernel, or why does it end here.
 */

import { DropReason } from '../encap/drop_reason.js';
import { ICMP_IN_TRANSIT, ICMP_TIME_EXCEEDED } from '../encap/icmp_header.js';
import { ipv4Destination, ipv4Source, ipv4Ttl } from '../encap/ipv4_header.js';
import { decrementTtl } from '../encap/ttl.js';
import { ADDRESS_WORDS } from '../ip_address.js';
import { isEndpoint, isPeer, LOCAL, lookupIpv4 } from '../routing/route_table.js';
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
  judgeSoundness(burst, count);
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
      // The peer is the one that the inner source is routed to, in every mode: strict proves it, the others believe it.
      const from = lookupIpv4(lane.table, ipv4Source(slab, offset[i]!));
      fate[i] = rowFate = inboundFate(burst, i, lane, from);
      if (rowFate === LOCAL && from > LOCAL) counters.addFromPeer(from, rowFrames, rowBytes);
      if (rowFate === -DropReason.ttlExceeded && from > LOCAL) {
        answerRow(burst, i, lane, INBOUND, ICMP_TIME_EXCEEDED, ICMP_IN_TRANSIT, 0, from);
      }
    }
    if (rowFate < 0) counters.addDrop(INBOUND, -rowFate, rowFrames);
  }
  if (count > 0) counters.addReceived(INBOUND, frames, bytes, count, superframes);
}

/**
 * @param from next-hop id of the inner source, LOCAL or NO_ROUTE
 * @returns LOCAL, the TTL decremented; or `-DropReason`, the frame as it was
 */
function inboundFate(burst: Burst, i: number, lane: LaneContext, from: number): number {
  const { slab } = burst;
  const at = burst.offset[i]!;
  const unwelcome = senderFate(lane.table, lane.sourceCheck, burst.source, i * ADDRESS_WORDS, from);
  if (unwelcome < 0) return unwelcome;
  if (lookupIpv4(lane.table, ipv4Destination(slab, at)) !== LOCAL) return -DropReason.notLocal;
  if (ipv4Ttl(slab, at) <= 1) return -DropReason.ttlExceeded;
  decrementTtl(slab, at);
  return LOCAL;
}

/**
 * @param sources column of the addresses that datagrams came from
 * @param at first word of this row's
 * @param from next-hop id of the inner source, LOCAL or NO_ROUTE
 */
function senderFate(table: RouteTable, mode: number, sources: Int32Array, at: number, from: number): number {
  if (mode === SourceCheck.off) return 0;
  if (mode === SourceCheck.strict && from > LOCAL && isEndpoint(table, from, sources, at)) return 0;
  if (!isPeer(table, sources, at)) return -DropReason.unknownPeer;
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
