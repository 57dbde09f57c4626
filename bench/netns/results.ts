import type { PathName } from '../../test/netns/peers.js';
import { type Summary, Samples } from '../samples.js';
import { LOADS, type LoadName, type Matrix, type ScenarioName } from './matrix.js';

/** One row of the result: what the JSON file holds. */
export interface BenchRow extends Summary {
  readonly path: PathName;
  readonly scenario: ScenarioName;
  readonly load: LoadName;
  readonly unit: string;
}

/** Figures as they come in, one per round. */
export class Results {
  readonly #samples = new Samples();

  add(scenario: ScenarioName, path: PathName, load: LoadName, value: number): void {
    this.#samples.add(keyOf(scenario, path, load), value);
  }

  /** Undefined when no round yielded a figure. */
  row(scenario: ScenarioName, path: PathName, load: LoadName): BenchRow | undefined {
    const summary = this.#samples.summary(keyOf(scenario, path, load));
    return summary && { path, scenario, load, unit: LOADS[load].unit, ...summary };
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

function keyOf(scenario: ScenarioName, path: PathName, load: LoadName): string {
  return `${scenario} ${path} ${load}`;
}
