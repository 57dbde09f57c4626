import { dropReasonName, type DropReasonName } from '../encap/drop_reason.js';
import { SelvageError } from '../errors.js';
import { formatAddress, type IpFamily, parseAddress } from '../ip_address.js';
import { INBOUND } from './counters.js';
import {
  FLOW_DESTINATION,
  FLOW_DESTINATION_PORT,
  FLOW_FAMILY,
  FLOW_PROTOCOL,
  FLOW_SOURCE,
  FLOW_SOURCE_PORT,
  FLOW_WORDS,
  readInnerFlow,
} from './inner_flow.js';
import {
  checkTraceOptions,
  compileFilter,
  DEFAULT_RECORDS_PER_SECOND,
  type TraceOptions,
} from './trace_filter.js';
import type { NextHopDirectory, TraceFlow, TraceRecord, TraceTotals } from './trace_record.js';
import {
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
import { rowReason } from './tracer.js';

/** At once: a fifth of a second's. */
const DEPTH_SHARE = 5;

/** How to make a {@link TraceReader}. */
export interface TraceReaderOptions {
  /** One block for each lane, in order; from {@link TraceRing.allocate}. */
  readonly buffers: readonly SharedArrayBuffer[];
  /** Of the addresses under the overlay. */
  readonly underlay: IpFamily;
  readonly nextHops: NextHopDirectory;
  /** Turns the lanes' clock into the time of day; for tests. */
  readonly dateOf?: (nowMillis: number) => Date;
}

/**
 * The main thread's side of a trace: tells the lanes what to record and reads what they recorded.
 *
 * | from     | to       | by                                  | never |
 * |----------|----------|-------------------------------------|-------|
 * | idle     | tracing  | `start`                             | while a lane still writes for the trace before, or its session has yet to read |
 * | tracing  | stopping | `stop`                              | |
 * | stopping | idle     | every lane has ended its recording  | a record or a count after that |
 */
export class TraceReader {
  readonly #lanes: readonly TraceRing[];
  readonly #underlay: IpFamily;
  readonly #nextHops: NextHopDirectory;
  readonly #dateOf: (nowMillis: number) => Date;
  readonly #flow = new Int32Array(FLOW_WORDS);
  #shown = 0;
  #isHeld = false;
  /** What the lanes had kept back when the trace began. */
  #limitedBefore = 0;
  #overrunBefore = 0;

  constructor({ buffers, underlay, nextHops, dateOf = laneClock() }: TraceReaderOptions) {
    this.#lanes = buffers.map((buffer) => new TraceRing(buffer));
    this.#underlay = underlay;
    this.#nextHops = nextHops;
    this.#dateOf = dateOf;
  }

  /** How many lanes there are. */
  get lanes(): number {
    return this.#lanes.length;
  }

  /** Whether no trace is on and no lane writes any more. */
  get idle(): boolean {
    return this.#lanes.every(
      ({ words }) => (Atomics.load(words, RING_EPOCH) & 1) === 0 && Atomics.load(words, RING_RECORDING) === 0,
    );
  }

  /**
   * Begins a trace. What an earlier one left unread is gone.
   *
   * @throws SelvageError ERR_TRACE_FILTER; ERR_TRACE_BUSY unless {@link idle}, and while it is held
   */
  start(options: TraceOptions): void {
    checkTraceOptions(options);
    if (this.#isHeld || !this.idle) throw traceBusy();
    const { peer, recordsPerSecond = DEFAULT_RECORDS_PER_SECOND } = options;
    const filter = compileFilter(options, peer === undefined ? [] : this.#nextHops.idsOf(canonical(peer)));
    this.#shown = 0;
    this.#limitedBefore = this.#sum(RING_LIMITED);
    this.#overrunBefore = this.#sum(RING_OVERRUN);
    for (const { words } of this.#lanes) {
      words.set(filter, RING_FILTER);
      words[RING_RATE] = recordsPerSecond;
      words[RING_DEPTH] = Math.max(1, Math.floor(recordsPerSecond / DEPTH_SHARE));
      Atomics.store(words, RING_TAIL, Atomics.load(words, RING_HEAD));
      Atomics.add(words, RING_EPOCH, 1);
    }
  }

  /** Keeps another trace from beginning before the last records and counts of this one are read. Pairs with {@link letGo}. */
  hold(): void {
    this.#isHeld = true;
  }

  letGo(): void {
    this.#isHeld = false;
  }

  /** Ends the trace, if one is on. Read until {@link idle} and once more for the rest. */
  stop(): void {
    for (const { words } of this.#lanes) {
      if ((Atomics.load(words, RING_EPOCH) & 1) !== 0) Atomics.add(words, RING_EPOCH, 1);
    }
  }

  /** Takes what the lanes have recorded, in order of time; records of one lane and time stay in their order. */
  read(onRecord: (record: TraceRecord) => void): void {
    const records = this.#lanes.flatMap((ring, lane) => this.#readLane(ring, lane));
    this.#shown += records.length;
    if (this.#lanes.length > 1) records.sort((a, b) => a.time.getTime() - b.time.getTime());
    for (const record of records) onRecord(record);
  }

  /** What became of all that matched so far and was counted; final once {@link idle} and everything is read. */
  totals(): TraceTotals {
    const shown = this.#shown;
    const limited = this.#sum(RING_LIMITED) - this.#limitedBefore;
    const overrun = this.#sum(RING_OVERRUN) - this.#overrunBefore;
    return { matched: shown + limited + overrun, shown, limited, overrun, unsent: 0 };
  }

  #sum(index: number): number {
    return this.#lanes.reduce((sum, { doubles }) => sum + doubles[index]!, 0);
  }

  #readLane(ring: TraceRing, lane: number): TraceRecord[] {
    const { words } = ring;
    const head = Atomics.load(words, RING_HEAD);
    const records: TraceRecord[] = [];
    let tail = Atomics.load(words, RING_TAIL);
    for (; tail !== head; tail = (tail + 1) | 0) records.push(this.#recordOf(ring, lane, slotAt(tail)));
    Atomics.store(words, RING_TAIL, tail);
    return records;
  }

  #recordOf({ words, bytes }: TraceRing, lane: number, slot: number): TraceRecord {
    const direction = words[slot + SLOT_DIRECTION]!;
    const fate = words[slot + SLOT_FATE]!;
    const lost = words[slot + SLOT_LOST]!;
    const reason = rowReason(direction, fate, lost, words[slot + SLOT_LOST_ERRNO]!);
    const segments = Math.max(1, words[slot + SLOT_SEGMENTS]!);
    const lengthBytes = words[slot + SLOT_LENGTH]!;
    const at = slotBytesAt(slot);
    const wireBytes = words[slot + SLOT_WIRE_BYTES]!;
    const head = Uint8Array.from(bytes.subarray(at, at + keptBytes(direction, lengthBytes, wireBytes)));
    const inbound = direction === INBOUND;
    return {
      lane,
      time: this.#dateOf(words[slot + SLOT_NOW_MILLIS]!),
      direction: inbound ? 'inbound' : 'outbound',
      reason: reason === 0 ? null : (dropReasonName(reason) as DropReasonName),
      segments,
      lostSegments: fate < 0 ? segments : lost,
      nextHop: (fate > 0 && this.#nextHops.endpointOf(fate)) || null,
      outerSource: inbound ? formatAddress(this.#underlay, words, slot + SLOT_SOURCE) : null,
      lengthBytes,
      wireBytes,
      flow: this.#flowOf(head),
      head,
    };
  }

  #flowOf(head: Uint8Array): TraceFlow | null {
    const flow = this.#flow;
    readInnerFlow(head, 0, head.length, flow);
    const family = flow[FLOW_FAMILY];
    if (family !== 4 && family !== 6) return null;
    return {
      family,
      source: formatAddress(family, flow, FLOW_SOURCE),
      destination: formatAddress(family, flow, FLOW_DESTINATION),
      protocol: flow[FLOW_PROTOCOL]!,
      sourcePort: flow[FLOW_SOURCE_PORT]!,
      destinationPort: flow[FLOW_DESTINATION_PORT]!,
    };
  }
}

function canonical(address: string): string {
  const { family, words } = parseAddress(address);
  return formatAddress(family, words);
}

function traceBusy(): SelvageError {
  return new SelvageError(
    'ERR_TRACE_BUSY',
    'another trace of this daemon is on: end it (Ctrl-C in its terminal), then try again',
  );
}

/** The clocks may part by this much, by rounding alone, before the time of day was set. */
const MOST_DRIFT_MILLIS = 10;

/**
 * The lanes stamp with CLOCK_MONOTONIC_COARSE, modulo 2^32 ms; `process.hrtime` reads the same clock, precisely. The distance
 * to the time of day is kept, so that the rounding of either clock does not turn the order of two reads.
 */
function laneClock(): (nowMillis: number) => Date {
  let distance = NaN;
  return (nowMillis) => {
    const monotonic = Math.floor(Number(process.hrtime.bigint() / 1000n) / 1000);
    const present = Date.now() - monotonic;
    if (!(Math.abs(present - distance) <= MOST_DRIFT_MILLIS)) distance = present;
    const age = ((monotonic | 0) - nowMillis) | 0;
    return new Date(distance + monotonic - age);
  };
}
