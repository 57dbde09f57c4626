import { setTimeout as sleep } from 'node:timers/promises';

/** How long to wait between attempts. */
export interface BackOffOptions {
  /** Bound of the first wait. */
  readonly firstMillis: number;
  /** Bound that the doubling ends at. */
  readonly mostMillis: number;
  /** 0 inclusive to 1 exclusive, as Math.random. */
  readonly random: () => number;
}

/** Node fires a longer timer at once (lib/internal/timers.js TIMEOUT_MAX). */
const LONGEST_TIMER_MILLIS = 0x7fff_ffff;

/**
 * Waits between attempts: a random part of a bound that doubles ("full jitter"), so that hosts that lost a server together
 * do not come back together.
 */
export class BackOff {
  readonly #options: BackOffOptions;
  #boundMillis: number;

  constructor(options: BackOffOptions) {
    this.#options = options;
    this.#boundMillis = options.firstMillis;
  }

  /** Milliseconds to wait now; the next answer comes from twice the bound. */
  next(): number {
    const bound = this.#boundMillis;
    this.#boundMillis = Math.min(bound * 2, this.#options.mostMillis);
    return bound * this.#options.random();
  }

  /** After a success. */
  reset(): void {
    this.#boundMillis = this.#options.firstMillis;
  }
}

/** `millis` give or take a quarter, for what many hosts do at a regular pace. */
export function spread(millis: number, random: () => number): number {
  return millis * (0.75 + random() / 2);
}

/**
 * Waits; at most 24 days.
 *
 * @throws the reason of `signal`, as soon as it aborts
 */
export async function pause(millis: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(millis, undefined, { signal });
  } catch {
    signal.throwIfAborted();
  }
}

/** Lets one task sleep until something happens or is due. A ring while the task is awake ends its next sleep. */
export class Bell {
  #rung = false;
  #wake: (() => void) | undefined;

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  /**
   * Sleeps until the bell rings or the time has passed; may wake early.
   *
   * @param millis Infinity to wait for the bell alone
   * @throws the reason of `signal`, as soon as it aborts
   */
  async wait(millis: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.#rung && millis > 0) await this.#sleep(millis, signal);
    this.#rung = false;
    signal.throwIfAborted();
  }

  #sleep(millis: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#wake?.(), Math.min(millis, LONGEST_TIMER_MILLIS));
      this.#wake = () => {
        this.#wake = undefined;
        clearTimeout(timer);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      const wake = (): void => this.#wake?.();
      signal.addEventListener('abort', wake);
    });
  }
}
