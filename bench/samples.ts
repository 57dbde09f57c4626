/** What the rounds of a bench came to, for one figure. */
export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** Rounds that yielded a figure. */
  readonly rounds: number;
}

/** Digits that are kept of a figure; nothing measured here repeats itself more closely. */
const DIGITS = 5;

/** Figures as they come in, one for each round, by a name of their own. */
export class Samples {
  readonly #byName = new Map<string, number[]>();

  add(name: string, value: number): void {
    const list = this.#byName.get(name);
    if (list === undefined) this.#byName.set(name, [value]);
    else list.push(value);
  }

  /** Undefined when no round yielded a figure. */
  summary(name: string): Summary | undefined {
    const values = this.#byName.get(name);
    if (values === undefined) return undefined;
    return {
      median: rounded(median(values)),
      min: rounded(Math.min(...values)),
      max: rounded(Math.max(...values)),
      rounds: values.length,
    };
  }
}

/** The middle value, or the mean of the two middle ones; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)] ?? NaN;
  const lower = sorted[Math.ceil(sorted.length / 2) - 1] ?? NaN;
  return (lower + upper) / 2;
}

/** The value that so large a part of all is not above; NaN of none. */
export function percentile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? NaN;
}

function rounded(value: number): number {
  return Number(value.toPrecision(DIGITS));
}
