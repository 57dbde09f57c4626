import Benchmark from 'benchmark';

import type { MicroCase } from './micro_case.js';

/** How long to measure. */
export interface Effort {
  /** Most seconds of one case, calibration not counted. */
  readonly maxSeconds: number;
  /** Fewest samples of one case. */
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
  /** Relative margin of error of the mean, percent, at 95 % confidence. */
  readonly errorPercent: number;
  readonly samples: number;
  /** 10^9 bytes per second at the median; 0 where bytes are not the point. */
  readonly gigabytesPerSecond: number;
}

/** Where results go: exported and never constant, so that no compiler may leave out what led to it. */
export let sink = 0;

/**
 * Times one case with the benchmark package, on this thread.
 *
 * The median of the samples is reported, as a busy machine makes the mean say more about its other users.
 *
 * @throws whatever the case throws
 */
export function measure(micro: MicroCase, effort: Effort): MicroRow {
  const ready = micro.prepare();
  try {
    const benchmark = new Benchmark(
      micro.name,
      () => {
        sink = (sink + ready.run()) | 0;
      },
      { maxTime: effort.maxSeconds, minSamples: effort.minSamples, minTime: effort.sampleSeconds },
    );
    benchmark.run({ async: false });
    if (benchmark.error !== undefined) throw benchmark.error as unknown;
    return toRow(micro, benchmark.stats);
  } finally {
    ready.close();
  }
}

function toRow(micro: MicroCase, stats: Benchmark.Stats): MicroRow {
  const nanos = stats.sample.map((seconds) => (seconds * 1e9) / micro.unitsPerRun).sort((a, b) => a - b);
  const nanosMedian = medianOf(nanos);
  return {
    name: micro.name,
    unit: micro.unit,
    nanosMedian,
    nanosMin: nanos[0]!,
    nanosMax: nanos.at(-1)!,
    errorPercent: stats.rme,
    samples: nanos.length,
    gigabytesPerSecond: micro.bytesPerUnit / nanosMedian,
  };
}

function medianOf(sorted: readonly number[]): number {
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
