/**
 * The memory between a lane that records frames and the main thread that shows them, one block a lane.
 *
 * | word                    | writer | readers | order                                                                  |
 * |-------------------------|--------|---------|------------------------------------------------------------------------|
 * | `EPOCH`                 | main   | lane    | odd while a trace is on; stored after the filter words                 |
 * | `RATE`, `DEPTH`, `FILTER` | main | lane    | written only while `EPOCH` is even and `RECORDING` is 0                |
 * | `TAIL`                  | main   | lane    | records read so far; stored after they were copied                     |
 * | `HEAD`                  | lane   | main    | records written so far; stored after their slots                       |
 * | `RECORDING`             | lane   | main    | 1 inside of a recording; stored before `EPOCH` is read, 0 at the end    |
 * | `LIMITED`, `OVERRUN`    | lane   | main    | float64, plain: may be a burst newer than `HEAD`, exact once settled    |
 * | slots                   | lane   | main    | those between `TAIL` and `HEAD` belong to main, the others to the lane |
 *
 * A full ring keeps what is in it and counts what finds no room, rather than overwrite: then a reader never meets a slot that
 * changes under it, on any memory model.
 *
 * The lane stores `RECORDING` and then loads `EPOCH`; main stores `EPOCH` and then loads `RECORDING`. All four are
 * sequentially consistent, so once main has ended a trace and read 0, no lane writes for it any more.
 */
import { ADDRESS_WORDS } from '../ip_address.js';
import { INBOUND } from './counters.js';
import { FILTER_WORDS } from './trace_filter.js';

const LINE_WORDS = 16;
export const RING_EPOCH = 0;
export const RING_TAIL = LINE_WORDS;
export const RING_HEAD = 2 * LINE_WORDS;
export const RING_RECORDING = RING_HEAD + 1;
/** Indices into the float64 view, on the line behind `HEAD`'s. */
export const RING_LIMITED = (3 * LINE_WORDS) / 2;
export const RING_OVERRUN = RING_LIMITED + 1;
/** Records a second that a lane may write, and at once. */
export const RING_RATE = 4 * LINE_WORDS;
export const RING_DEPTH = RING_RATE + 1;
export const RING_FILTER = RING_RATE + 2;
const SLOTS_AT = Math.ceil((RING_FILTER + FILTER_WORDS) / LINE_WORDS) * LINE_WORDS;

/** A power of two, so that a count that wraps around names the right slot. Forty reads a second bring 20,000 records. */
const SLOTS = 512;
/** Words of a slot: three cache lines, of which the last has a little room. */
const SLOT_WORDS = 48;

export const SLOT_NOW_MILLIS = 0;
/** OUTBOUND or INBOUND. */
export const SLOT_DIRECTION = 1;
export const SLOT_FATE = 2;
export const SLOT_SEGMENTS = 3;
export const SLOT_LENGTH = 4;
export const SLOT_WIRE_BYTES = 5;
/** Wire-sized frames of the row that did not leave, and errno of the first; 0 when all left. */
export const SLOT_LOST = 6;
export const SLOT_LOST_ERRNO = 7;
/** Outer source of an inbound row, else zeros. */
export const SLOT_SOURCE = 8;
export const SLOT_HEAD = SLOT_SOURCE + ADDRESS_WORDS;

/** Most bytes kept of a frame: the IP header of either family with room for extensions, and TCP with all its options. */
export const HEAD_BYTES = 120;

/** A view of one lane's block, on any thread. */
export class TraceRing {
  readonly words: Int32Array;
  readonly doubles: Float64Array;
  readonly bytes: Uint8Array;

  /** Allocates a block; untouched pages of it cost nothing. Pairs with the constructor, which takes it on every thread. */
  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer((SLOTS_AT + SLOTS * SLOT_WORDS) * Int32Array.BYTES_PER_ELEMENT);
  }

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
    this.doubles = new Float64Array(buffer);
    this.bytes = new Uint8Array(buffer);
  }
}

/** First word of the slot for a record. @param record its number, int32 that wraps around */
export function slotAt(record: number): number {
  return SLOTS_AT + (record & (SLOTS - 1)) * SLOT_WORDS;
}

/** Whether there is no room for another record. */
export function isFull(head: number, tail: number): boolean {
  return ((head - tail) | 0) >= SLOTS;
}

/**
 * Bytes that a slot holds of a frame. Of an inbound superframe only the first datagram lies together in the slab; behind it is
 * another one, with headers of its own.
 */
export function keptBytes(direction: number, length: number, wireBytes: number): number {
  const together = direction === INBOUND && wireBytes < length ? wireBytes : length;
  if (together <= 0) return 0;
  return together < HEAD_BYTES ? together : HEAD_BYTES;
}

/** Index into `TraceRing.bytes` of the frame that a slot holds. */
export function slotBytesAt(slot: number): number {
  return (slot + SLOT_HEAD) * Int32Array.BYTES_PER_ELEMENT;
}
