import Benchmark from 'benchmark';

import type { MicroCase, PreparedCase } from './micro_case.js';

/** How long to measure. */
export interface Effort {
  /** Turns that each case of a group gets. */
  readonly rounds: number;
  /** Most seconds of one turn, calibration not counted. */
  readonly roundSeconds: number;
  /** Fewest samples of one turn. */
  readonly minSamples: number;
  /** Seconds of one sample; longer samples see less of the clock and more of the machine. */
  readonly sampleSeconds: number;
}

/** One row of the result. Times are nanoseconds per unit. */
export interface MicroRow {
  readonly name: string;
  readonly unit: string;
  readonly nanosMedian: number;
  readonly nanosMin: number;
  readonly nanosMax: number;
  /** Half of the range that the middle half of the samples lies in, as a percentage of the median. */
  readonly spreadPercent: number;
  readonly samples: number;
  /** 10^9 bytes per second at the median; 0 where bytes are not the point. */
  readonly gigabytesPerSecond: number;
}

/** Where results go: exported and never constant, so that no compiler may leave out what led to it. */
export let sink = 0;

/**
 * Times cases that will be compared, with the benchmark package, on this thread. They take turns, so that a machine that
 * grows busy meanwhile is not taken for a difference between them.
 *
 * Medians are reported, because on a shared machine the mean says more about its other users.
 *
 * @throws whatever a case throws
 */
export function measureGroup(cases: readonly MicroCase[], effort: Effort): MicroRow[] {
  const ready: PreparedCase[] = [];
  const nanos = cases.map((): number[] => []);
  try {
    for (const micro of cases) ready.push(micro.prepare());
    for (let round = 0; round < effort.rounds; round++) {
      cases.forEach((micro, i) => {
        for (const seconds of takeSamples(micro.name, ready[i]!, effort)) {
          nanos[i]!.push((seconds * 1e9) / micro.unitsPerRun);
        }
      });
    }
  } finally {
    for (const one of ready) one.close();
  }
  return cases.map((micro, i) => toRow(micro, nanos[i]!));
}

/** Seconds of a run, one number per sample. */
function takeSamples(name: string, ready: PreparedCase, effort: Effort): readonly number[] {
  const run = (): void => {
    sink = (sink + ready.run()) | 0;
  };
  const { roundSeconds: maxTime, minSamples, sampleSeconds: minTime } = effort;
  const benchmark = new Benchmark(name, run, { maxTime, minSamples, minTime });
  benchmark.run({ async: false });
  if (benchmark.error !== undefined) throw benchmark.error as unknown;
  return benchmark.stats.sample as number[];
}

function toRow(micro: MicroCase, nanos: readonly number[]): MicroRow {
  const sorted = [...nanos].sort((a, b) => a - b);
  const nanosMedian = quantile(sorted, 0.5);
  return {
    name: micro.name,
    unit: micro.unit,
    nanosMedian,
    nanosMin: sorted[0]!,
    nanosMax: sorted.at(-1)!,
    spreadPercent: ((quantile(sorted, 0.75) - quantile(sorted, 0.25)) / 2 / nanosMedian) * 100,
    samples: sorted.length,
    gigabytesPerSecond: micro.bytesPerUnit / nanosMedian,
  };
}

/** Between the two samples that a quantile falls between, in proportion. */
function quantile(sorted: readonly number[], fraction: number): number {
  const position = (sorted.length - 1) * fraction;
  const below = sorted[Math.floor(position)]!;
  const above = sorted[Math.ceil(position)]!;
  return below + (above - below) * (position - Math.floor(position));
}
