import { setTimeout as sleep } from 'node:timers/promises';
import { MessageChannel, type MessagePort } from 'node:worker_threads';

import type { Piscina } from 'piscina';

import { messageOf, SelvageError } from '../errors.js';
import { ControlWords, NOT_RUNNING } from './control_words.js';
import type { LaneFault, LaneTask } from './lane_task.js';

/** The part of a task that stays the same when its lane is started again. */
export type LaneSettings = Omit<LaneTask, 'tables'>;

/** What a supervisor tells of its lane. Must not throw. */
export interface LaneListener {
  /** The lane died; it starts again after `restartInMillis`. */
  onLaneDown(lane: number, error: Error, restartInMillis: number): void;
  /** The lane cannot go on, and starting it again would not help. */
  onLaneFatal(lane: number, error: Error): void;
}

/** A crash is rare, so the first restart is at once; a lane that dies again and again must not eat a core. */
const FIRST_BACK_OFF_MILLIS = 10;
const LAST_BACK_OFF_MILLIS = 5000;
/** A thread that is started again loads its modules in a fraction of a second; on a busy machine in a few. */
const LONGEST_RESTART_MILLIS = 5000;
/** A lane that lived this long had recovered from the last crash. */
const HEALTHY_MILLIS = 10_000;

/**
 * Keeps one lane running.
 *
 * | from     | to       | who moves it                                            |
 * |----------|----------|---------------------------------------------------------|
 * | idle     | running  | {@link LaneSupervisor.start}                            |
 * | running  | back-off | the thread died or the loop threw; the pool starts a new thread, but not the task |
 * | back-off | running  | this supervisor, after a delay that doubles              |
 * | running, back-off | ended | the control word STOP, with a wake signal         |
 *
 * Forbidden: ended to running (the descriptors are closed by then), and two tasks of one lane at a time (both would read
 * one TUN queue, and a flow would be reordered).
 */
export class LaneSupervisor {
  readonly #pool: Piscina;
  readonly #settings: LaneSettings;
  readonly #listener: LaneListener;
  readonly #stopping = new AbortController();
  #tables: MessagePort | undefined;
  #newestTable: SharedArrayBuffer;
  #ended: Promise<void> = Promise.resolve();
  #restarts = 0;
  #starting = false;

  constructor(pool: Piscina, settings: LaneSettings, firstTable: SharedArrayBuffer, listener: LaneListener) {
    this.#pool = pool;
    this.#settings = settings;
    this.#newestTable = firstTable;
    this.#listener = listener;
  }

  /** True from {@link start} until the lane's first run ended; whether it forwards yet is in the control words. */
  get starting(): boolean {
    return this.#starting;
  }

  /** Times the lane was started again. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Starts the lane and keeps it running. Call once. */
  start(): void {
    this.#starting = true;
    this.#ended = this.#keepRunning();
  }

  /** Posts a table to the lane. The caller announces its generation afterwards, and wakes the lane. */
  post(table: SharedArrayBuffer): void {
    this.#newestTable = table;
    this.#tables?.postMessage(table);
  }

  /**
   * Resolves once the lane has ended. The caller has set STOP and woken it.
   *
   * A thread that dies before it takes its task up leaves the pool with a task that nobody runs and nobody ends, so a lane that
   * does not forward is waited for only as long as one takes to come up.
   */
  async stopped(): Promise<void> {
    this.#stopping.abort();
    const isForwarding =
      new ControlWords(this.#settings.control).observed(this.#settings.lane) !== NOT_RUNNING;
    if (isForwarding) await this.#ended;
    else await Promise.race([this.#ended, sleep(LONGEST_RESTART_MILLIS, undefined, { ref: false })]);
  }

  async #keepRunning(): Promise<void> {
    let backOff = FIRST_BACK_OFF_MILLIS;
    while (!this.#stopping.signal.aborted) {
      const startedAt = Date.now();
      const error = await this.#runOnce();
      if (error === undefined || this.#stopping.signal.aborted) return;
      if (error instanceof SelvageError && error.code === 'ERR_TUN_GONE') {
        this.#listener.onLaneFatal(this.#settings.lane, error);
        return;
      }
      if (Date.now() - startedAt > HEALTHY_MILLIS) backOff = FIRST_BACK_OFF_MILLIS;
      this.#listener.onLaneDown(this.#settings.lane, error, backOff);
      await sleep(backOff, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
      backOff = Math.min(backOff * 2, LAST_BACK_OFF_MILLIS);
      this.#restarts++;
    }
  }

  /** @returns why the lane ended, or undefined when it was told to */
  async #runOnce(): Promise<Error | undefined> {
    const { port1, port2 } = new MessageChannel();
    port1.unref();
    port1.postMessage(this.#newestTable);
    this.#tables = port1;
    const task: LaneTask = { ...this.#settings, tables: port2 };
    try {
      const fault = (await this.#pool.run(task, { transferList: [port2] })) as LaneFault | undefined;
      return fault === undefined ? undefined : new SelvageError(fault.code, fault.message);
    } catch (thrown) {
      return thrown instanceof Error ? thrown : new SelvageError('ERR_LANE_DIED', messageOf(thrown));
    } finally {
      this.#starting = false;
      // A thread that was killed could not say itself that it forwards no more.
      new ControlWords(this.#settings.control).observe(this.#settings.lane, NOT_RUNNING);
      this.#tables = undefined;
      port1.close();
    }
  }
}
