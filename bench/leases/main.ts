import { writeFileSync } from 'node:fs';

import type { BenchSettings } from '../options.js';
import { BenchLab } from './bench_lab.js';
import { LeaseFigures } from './figures.js';
import { measureJoin } from './join.js';
import { StepProgress } from './progress.js';
import { figureTable, promiseTable } from './report.js';
import { RestartBench } from './restart.js';

/** Leases of the networks, ascending. */
const SIZES = [100, 1_000, 10_000] as const;
/** Restarts of a round: with etcd there and with etcd away. */
const RESTARTS = ['there', 'away'] as const;
const CHURN_SECONDS = 4;
const QUICK_CHURN_SECONDS = 2;
const QUICK_RESTART_SIZES = [10_000] as const;
/** Restarts differ more than the rest, and there are more rounds of them. */
const MORE_RESTARTS = 2;

/** What leases cost with many of them, and how soon a daemon that was killed forwards again; prints and writes the result. */
export async function benchLeases(settings: BenchSettings): Promise<void> {
  const { quick, rounds, lanes, jsonFile } = settings;
  const bench = await BenchLab.open();
  try {
    const restartSizes: readonly number[] = quick ? QUICK_RESTART_SIZES : [SIZES[0], SIZES.at(-1)!];
    const restartRounds = quick ? rounds : rounds + MORE_RESTARTS;
    const steps = SIZES.length * (1 + rounds) + restartSizes.length * restartRounds * RESTARTS.length;
    const progress = new StepProgress(steps);
    const figures = new LeaseFigures();
    await seedAll(bench, progress);
    for (let round = 0; round < rounds; round++) {
      for (const leases of SIZES) {
        const title = `round ${round + 1}/${rounds}  ${leases} leases`;
        progress.begin(title);
        const churnSeconds = quick ? QUICK_CHURN_SECONDS : CHURN_SECONDS;
        progress.end(title, await measureJoin(bench, figures, { leases, lanes, round, churnSeconds }));
      }
    }
    for (const leases of restartSizes) await restarts(bench, figures, progress, leases, restartRounds);
    progress.close();
    print(report(figures, lanes, rounds));
    if (jsonFile !== undefined) write(jsonFile, figures.rows(SIZES));
  } finally {
    await bench.close();
  }
}

async function seedAll(bench: BenchLab, progress: StepProgress): Promise<void> {
  for (const leases of SIZES) {
    const title = `${leases} leases into etcd`;
    progress.begin(title);
    await bench.seed(leases);
    progress.end(title, 'done');
  }
}

async function restarts(
  bench: BenchLab,
  figures: LeaseFigures,
  progress: StepProgress,
  leases: number,
  rounds: number,
): Promise<void> {
  progress.begin(`restart with ${leases} leases: two daemons join`);
  const restart = await RestartBench.open(bench, leases);
  for (let round = 0; round < rounds; round++) {
    for (const etcd of RESTARTS) {
      const title = `restart ${round + 1}/${rounds}  ${leases} leases, etcd ${etcd}`;
      progress.begin(title);
      progress.end(title, `${(await restart.measure(figures, etcd)).toFixed(0)} ms`);
    }
  }
  await restart.close();
}

function report(figures: LeaseFigures, lanes: number, rounds: number): string[] {
  return [
    '',
    ...figureTable(figures, SIZES),
    '',
    `Medians of ${rounds} round${rounds === 1 ? '' : 's'}, ${lanes} lanes. A fourth of the changes each: a new lease, another public IP, a lease that goes,`,
    'and a renewal that changes nothing, which is left out of the times. A change counts from when etcd first told anybody,',
    'by the answer to the write or by a watch, here or in another process. With a new lease there would be a second list.',
    ...promiseTable(figures, SIZES.at(-1)!),
  ];
}

function write(file: string, rows: readonly object[]): void {
  writeFileSync(file, `[\n${rows.map((row) => `  ${JSON.stringify(row)}`).join(',\n')}\n]\n`);
  print([`wrote ${file}`]);
}

function print(lines: readonly string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`);
}
