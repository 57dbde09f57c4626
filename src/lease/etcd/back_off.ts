/** Bounds of the wait, as of flanneld's own watch loop. */
const FIRST_MILLIS = 100;
const MOST_MILLIS = 5_000;
/** Doublings after which the wait is at its most anyway. */
const MOST_DOUBLINGS = 6;

/**
 * Waits between attempts that fail, with full jitter: hosts that lost one server together do not come back together.
 */
export class BackOff {
  readonly #random: () => number;
  #failures = 0;

  /** @param random yields numbers from 0 to below 1 */
  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** Counts a failure. @returns milliseconds to wait before the next attempt */
  fail(): number {
    const most = Math.min(MOST_MILLIS, FIRST_MILLIS * 2 ** Math.min(this.#failures, MOST_DOUBLINGS));
    this.#failures++;
    return this.#random() * most;
  }

  /** An attempt worked. */
  reset(): void {
    this.#failures = 0;
  }
}
