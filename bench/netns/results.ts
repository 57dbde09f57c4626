import type { PathName } from '../../test/netns/peers.js';
import { LOADS, type LoadName, type Matrix, type ScenarioName } from './matrix.js';

/** One row of the result: what the JSON file holds. */
export interface BenchRow {
  readonly path: PathName;
  readonly scenario: ScenarioName;
  readonly load: LoadName;
  readonly unit: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** Rounds that yielded a figure. */
  readonly rounds: number;
}

/** Digits that are kept of a figure; no load repeats itself more closely. */
const DIGITS = 5;

/** Figures as they come in, one per round. */
export class Results {
  readonly #samples = new Map<string, number[]>();

  add(scenario: ScenarioName, path: PathName, load: LoadName, value: number): void {
    const key = keyOf(scenario, path, load);
    const list = this.#samples.get(key);
    if (list === undefined) this.#samples.set(key, [value]);
    else list.push(value);
  }

  /** Undefined when no round yielded a figure. */
  row(scenario: ScenarioName, path: PathName, load: LoadName): BenchRow | undefined {
    const samples = this.#samples.get(keyOf(scenario, path, load));
    if (samples === undefined) return undefined;
    return {
      path,
      scenario,
      load,
      unit: LOADS[load].unit,
      median: rounded(median(samples)),
      min: rounded(Math.min(...samples)),
      max: rounded(Math.max(...samples)),
      rounds: samples.length,
    };
  }

  /** All rows there are, by scenario, load and path. */
  rows({ scenarios, loads, paths }: Matrix): BenchRow[] {
    const rows = scenarios.flatMap((scenario) =>
      loads.flatMap((load) => paths.map((path) => this.row(scenario, path, load))),
    );
    return rows.filter((row) => row !== undefined);
  }

  /** Median of `path` over median of `base`; undefined when either is missing. */
  ratio(scenario: ScenarioName, load: LoadName, path: PathName, base: PathName): number | undefined {
    const above = this.row(scenario, path, load);
    const below = this.row(scenario, base, load);
    return above === undefined || below === undefined ? undefined : above.median / below.median;
  }
}

/** The middle value, or the mean of the two middle ones; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)] ?? NaN;
  const lower = sorted[Math.ceil(sorted.length / 2) - 1] ?? NaN;
  return (lower + upper) / 2;
}

function keyOf(scenario: ScenarioName, path: PathName, load: LoadName): string {
  return `${scenario} ${path} ${load}`;
}

function rounded(value: number): number {
  return Number(value.toPrecision(DIGITS));
}
