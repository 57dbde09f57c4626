/** What a probe of one path found. */
export type ProbeOutcome =
  /** A frame of full size came back. */
  | { readonly kind: 'passes' }
  /** Small frames come back, and none that is larger than this. */
  | { readonly kind: 'blackHole'; readonly largestBytes: number }
  /** Nothing comes back, or nothing can be sent. Says nothing of sizes: the peer may not answer echoes, or be away. */
  | { readonly kind: 'unknown' };

export interface PathProbeOptions {
  /** The size that should pass, bytes of an inner frame. */
  readonly mostBytes: number;
  /** Sends an echo of this size. @returns whether it was sent */
  readonly send: (round: number, bytes: number) => boolean;
  /** Largest echo of this round that came back, bytes; 0 for none. */
  readonly largestEcho: (round: number) => number;
  /** The next number of a round, which no other probe of this path has. */
  readonly nextRound: () => number;
  /** Once, unless it is cancelled first. */
  readonly onEnd: (outcome: ProbeOutcome) => void;
}

/** Passes everywhere: what every host must take in one piece is 576 bytes with all headers (RFC 791 section 3.1). */
const SMALL_BYTES = 128;
/** Sizes that one round of the search asks for at once. */
const SIZES = 8;
/** Lost that often in a row means that a size does not pass (RFC 8899 section 5.1.2, MAX_PROBES). */
const FULL_TRIES = 3;
const SEARCH_TRIES = 2;
const WAIT_MILLIS = 500;
const LOOK_MILLIS = 25;
/** The search ends when it is as close as this. */
const CLOSE_BYTES = 8;

/**
 * Finds out what size of frame comes back from a peer, by echoes: first one of full size. Only when that fails three times
 * the largest size is searched for, eight sizes at a time, beginning with a small one: a search by halves would leave
 * connections stalled for longer. Full size is asked for beside them each time: where it comes back after all, the path was
 * only lossy.
 */
export class PathProbe {
  readonly #options: PathProbeOptions;
  /** Largest size known to pass, 0 for none yet; and smallest known not to. */
  #passing = 0;
  #failing: number;
  #sizes: readonly number[];
  #round = 0;
  #tries = 0;
  #sentAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(options: PathProbeOptions) {
    this.#options = options;
    this.#failing = options.mostBytes + 1;
    this.#sizes = [options.mostBytes];
  }

  start(): void {
    this.#timer = setInterval(() => this.#look(), LOOK_MILLIS).unref();
    if (!this.#ask()) this.#end({ kind: 'unknown' });
  }

  /** Also from within `send`. */
  cancel(): void {
    clearInterval(this.#timer);
    this.#isOver = true;
  }

  #look(): void {
    const largest = this.#options.largestEcho(this.#round);
    const isAll = largest === this.#sizes.at(-1);
    if (!isAll && performance.now() - this.#sentAt < WAIT_MILLIS) return;
    this.#passing = Math.max(this.#passing, largest);
    if (!isAll && this.#tries < (this.#failing > this.#options.mostBytes ? FULL_TRIES : SEARCH_TRIES)) {
      this.#send();
      return;
    }
    this.#judge();
  }

  /** All that the present sizes can tell is known. */
  #judge(): void {
    const { mostBytes } = this.#options;
    if (this.#passing === mostBytes) return this.#end({ kind: 'passes' });
    const isSearch = this.#failing <= mostBytes;
    if (isSearch && this.#passing === 0) return this.#end({ kind: 'unknown' });
    this.#failing = Math.min(this.#sizes.find((size) => size > this.#passing) ?? mostBytes, this.#failing);
    if (isSearch && this.#failing - this.#passing <= CLOSE_BYTES) {
      return this.#end({ kind: 'blackHole', largestBytes: this.#passing });
    }
    this.#sizes = [...sizesBetween(this.#passing, this.#failing), mostBytes];
    this.#ask();
  }

  #ask(): boolean {
    this.#round = this.#options.nextRound();
    this.#tries = 0;
    return this.#send();
  }

  #send(): boolean {
    this.#tries++;
    this.#sentAt = performance.now();
    return this.#sizes.filter((size) => !this.#isOver && this.#options.send(this.#round, size)).length > 0;
  }

  #end(outcome: ProbeOutcome): void {
    if (this.#isOver) return;
    this.cancel();
    this.#options.onEnd(outcome);
  }
}

/** Evenly spaced and ascending, between a size that passes and one that does not; from nothing, a small one first. */
function sizesBetween(passing: number, failing: number): number[] {
  const least = passing === 0 ? SMALL_BYTES : passing;
  const step = (failing - least) / (SIZES + 1);
  const between = Array.from({ length: SIZES }, (_, i) => Math.round(least + step * (i + 1)));
  const sizes = passing === 0 ? [SMALL_BYTES, ...between] : between;
  return [...new Set(sizes)].filter((size) => size > passing && size < failing);
}
