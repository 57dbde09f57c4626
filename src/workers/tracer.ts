import { DropReason, dropReasonOfErrno } from '../encap/drop_reason.js';
import { TokenBucket } from '../encap/token_bucket.js';
import { ADDRESS_WORDS } from '../ip_address.js';
import type { Burst } from '../tun/burst.js';
import { INBOUND, OUTBOUND } from './counters.js';
import { FLOW_WORDS, readInnerFlow } from './inner_flow.js';
import { FILTER_WORDS, matchesFlow, matchesVerdict } from './trace_filter.js';
import {
  isFull,
  keptBytes,
  RING_DEPTH,
  RING_EPOCH,
  RING_FILTER,
  RING_HEAD,
  RING_LIMITED,
  RING_OVERRUN,
  RING_RATE,
  RING_RECORDING,
  RING_TAIL,
  SLOT_DIRECTION,
  SLOT_FATE,
  SLOT_LENGTH,
  SLOT_LOST,
  SLOT_LOST_ERRNO,
  SLOT_NOW_MILLIS,
  SLOT_SEGMENTS,
  SLOT_SOURCE,
  SLOT_WIRE_BYTES,
  slotAt,
  slotBytesAt,
  TraceRing,
} from './trace_ring.js';

/**
 * Why a row, or a part of it, was lost; 0 when all of it went on.
 *
 * @param lost wire-sized frames of it that did not leave
 * @param lostErrno errno of the first of them; inbound it does not matter
 */
export function rowReason(direction: number, fate: number, lost: number, lostErrno: number): number {
  if (fate < 0) return -fate;
  if (lost <= 0) return 0;
  return direction === INBOUND ? DropReason.tunWriteFailed : dropReasonOfErrno(lostErrno);
}

/**
 * The lane's side of a trace: looks at every row of a burst while one is on, and copies those that match as far as the rate
 * allows.
 *
 * While none is on, it costs the lane one plain read a burst. A lane that died and starts again makes a new one over the same
 * block.
 */
export class Tracer {
  private readonly words: Int32Array;
  private readonly doubles: Float64Array;
  private readonly bytes: Uint8Array;
  private readonly filter = new Int32Array(FILTER_WORDS);
  private readonly flow = new Int32Array(FLOW_WORDS);
  private bucket = new TokenBucket(0, 0);
  /** The trace that `filter` and `bucket` are of. */
  private epoch = 0;
  /** Records written; `RING_HEAD` follows once a burst. */
  private head: number;

  /** @param buffer from {@link TraceRing.allocate} */
  constructor(buffer: SharedArrayBuffer) {
    const { words, doubles, bytes } = new TraceRing(buffer);
    this.words = words;
    this.doubles = doubles;
    this.bytes = bytes;
    this.head = Atomics.load(words, RING_HEAD);
    Atomics.store(words, RING_RECORDING, 0);
  }

  /** Whether a trace is on: call {@link record} then. */
  get enabled(): boolean {
    return (this.words[RING_EPOCH]! & 1) !== 0;
  }

  /**
   * Records what matches of rows `0..count-1`, after they were sent: fates and losses are known. Frames that went on are
   * recorded as sent, so their TTL is one less than it was.
   *
   * @param direction OUTBOUND or INBOUND
   * @param nowMillis the lane's clock, {@link REPORT.nowMillis}
   * @param hadLoss whether the send reported any frame as lost; `lost` and `lostErrno` are read only then
   * @remarks Lane thread only. Never throws, whatever the bytes are. Allocates nothing but one object when a trace begins.
   */
  record(direction: number, burst: Burst, count: number, nowMillis: number, hadLoss: boolean): void {
    const words = this.words;
    Atomics.store(words, RING_RECORDING, 1);
    const epoch = Atomics.load(words, RING_EPOCH);
    if ((epoch & 1) !== 0) {
      if (epoch !== this.epoch) this.begin(epoch, nowMillis);
      for (let i = 0; i < count; i++) {
        const lost = hadLoss ? burst.lost[i]! : 0;
        if (this.matches(direction, burst, i, lost)) this.keep(direction, burst, i, nowMillis, lost);
      }
      Atomics.store(words, RING_HEAD, this.head);
    }
    Atomics.store(words, RING_RECORDING, 0);
  }

  private begin(epoch: number, nowMillis: number): void {
    const { words, filter } = this;
    for (let word = 0; word < FILTER_WORDS; word++) filter[word] = words[RING_FILTER + word]!;
    this.bucket = new TokenBucket(words[RING_RATE]!, words[RING_DEPTH]!, nowMillis);
    this.epoch = epoch;
  }

  private matches(direction: number, burst: Burst, i: number, lost: number): boolean {
    const { filter, flow } = this;
    const fate = burst.fate[i]!;
    const reason = rowReason(direction, fate, lost, burst.lostErrno[i]!);
    if (!matchesVerdict(filter, direction, fate, reason, burst.source, i * ADDRESS_WORDS)) return false;
    const kept = keptBytes(direction, burst.length[i]!, burst.wireBytes[i]!);
    readInnerFlow(burst.slab, burst.offset[i]!, kept, flow);
    return matchesFlow(filter, flow);
  }

  private keep(direction: number, burst: Burst, i: number, nowMillis: number, lost: number): void {
    if (!this.bucket.tryTake(nowMillis)) this.doubles[RING_LIMITED]! += 1;
    else if (isFull(this.head, Atomics.load(this.words, RING_TAIL))) this.doubles[RING_OVERRUN]! += 1;
    else this.write(direction, burst, i, nowMillis, lost);
  }

  private write(direction: number, burst: Burst, i: number, nowMillis: number, lost: number): void {
    const { words, bytes } = this;
    const { slab, source } = burst;
    const slot = slotAt(this.head);
    const length = burst.length[i]!;
    words[slot + SLOT_NOW_MILLIS] = nowMillis;
    words[slot + SLOT_DIRECTION] = direction;
    words[slot + SLOT_FATE] = burst.fate[i]!;
    words[slot + SLOT_SEGMENTS] = burst.segments[i]!;
    words[slot + SLOT_LENGTH] = length;
    words[slot + SLOT_WIRE_BYTES] = burst.wireBytes[i]!;
    words[slot + SLOT_LOST] = lost;
    words[slot + SLOT_LOST_ERRNO] = lost > 0 ? burst.lostErrno[i]! : 0;
    for (let word = 0; word < ADDRESS_WORDS; word++) {
      words[slot + SLOT_SOURCE + word] = direction === OUTBOUND ? 0 : source[i * ADDRESS_WORDS + word]!;
    }
    const from = burst.offset[i]!;
    const to = slotBytesAt(slot);
    const kept = keptBytes(direction, length, burst.wireBytes[i]!);
    for (let byte = 0; byte < kept; byte++) bytes[to + byte] = slab[from + byte]!;
    this.head = (this.head + 1) | 0;
  }
}
