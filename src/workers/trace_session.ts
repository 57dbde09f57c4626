import { setTimeout as sleep } from 'node:timers/promises';

import type { TraceListener, TraceTotals } from './trace_record.js';
import type { TraceReader } from './trace_reader.js';

/** Between looks at the rings: 10,000 records a second then take half of a ring. */
const LOOK_MILLIS = 25;
/** A recording lasts microseconds. A lane that is not back by then has died in it, and its thread with it. */
const LONGEST_RECORDING_MILLIS = 1000;
const LOOK_AGAIN_MILLIS = 1;

/**
 * One trace of a forwarder, from the moment it is on until `close()`. Main thread. The forwarder closes it before its lanes
 * end.
 */
export class TraceSession {
  /** Name of the TUN device. */
  readonly device: string;
  /** Lanes that are traced. */
  readonly lanes: number;
  readonly #reader: TraceReader;
  readonly #listener: TraceListener;
  readonly #timer: NodeJS.Timeout;
  #told = 0;
  #closing: Promise<TraceTotals> | undefined;

  /** @param reader on which a trace was just started; the session's own until it is closed */
  constructor(device: string, reader: TraceReader, listener: TraceListener) {
    this.device = device;
    this.lanes = reader.lanes;
    this.#reader = reader;
    reader.hold();
    this.#listener = listener;
    this.#timer = setInterval(() => this.#look(), LOOK_MILLIS);
    this.#timer.unref();
  }

  /** What became of the frames that matched until the last look. */
  totals(): TraceTotals {
    return this.#reader.totals();
  }

  /**
   * Ends the trace: the listener is shown what was recorded before, and told the end.
   *
   * @returns the totals, exact. Calling it again returns the same promise.
   */
  close(): Promise<TraceTotals> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<TraceTotals> {
    clearInterval(this.#timer);
    this.#reader.stop();
    const deadline = Date.now() + LONGEST_RECORDING_MILLIS;
    // At least once, so that a listener which closes the session is not shown the end in the middle of a look.
    do await sleep(LOOK_AGAIN_MILLIS);
    while (!this.#reader.idle && Date.now() < deadline);
    this.#look();
    const totals = this.#reader.totals();
    this.#reader.letGo();
    this.#listener.onEnd();
    return totals;
  }

  #look(): void {
    this.#reader.read((record) => this.#listener.onRecord(record));
    const totals = this.#reader.totals();
    if (totals.matched === this.#told) return;
    this.#told = totals.matched;
    this.#listener.onTotals(totals);
  }
}
