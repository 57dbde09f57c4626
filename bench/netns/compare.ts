import { writeFileSync } from 'node:fs';

import type { BenchSettings } from '../options.js';
import { openPaths, type UnavailablePath } from './bench_path.js';
import { chart } from './chart.js';
import { type Matrix, stepsOf } from './matrix.js';
import { Progress, timeText } from './progress.js';
import { scenarioTables, tableNotes, targetTable } from './report.js';
import { type Failure, runMatrix } from './run_matrix.js';

/**
 * Compares the paths and prints and writes the result.
 *
 * @param conditions lines about the machine, for the chart
 * @returns whether everything that was asked for was measured
 * @throws Error when nothing can be measured, or a file cannot be written
 */
export async function compare(settings: BenchSettings, conditions: readonly string[]): Promise<boolean> {
  const { open, unavailable } = await openPaths(settings.paths, settings.lanes);
  for (const { name, reason } of unavailable) print(`path ${name} is unavailable: ${reason}`);
  try {
    const matrix = { ...settings, paths: open.map(({ name }) => name) } satisfies Matrix;
    const steps = stepsOf(matrix).length;
    if (steps === 0) throw new Error('nothing is left to measure');
    print(
      `${steps} measurements of ${settings.seconds} s, about ${timeText(steps * (settings.seconds + 0.1))}`,
    );
    const progress = new Progress(steps, matrix.rounds, matrix.seconds);
    const { results, failures } = await runMatrix(matrix, open, progress);
    progress.close();
    print([...scenarioTables(matrix, results), ...tableNotes(matrix), ...targetTable(results)].join('\n'));
    printShortfalls(unavailable, failures);
    if (settings.jsonFile !== undefined) write(settings.jsonFile, json(results.rows(matrix)));
    if (settings.svgFile !== undefined) write(settings.svgFile, chart(matrix, results, conditions));
    return unavailable.length === 0 && failures.length === 0;
  } finally {
    await Promise.all(open.map((path) => path.close()));
  }
}

/** Said again at the end, where it is seen. */
function printShortfalls(unavailable: readonly UnavailablePath[], failures: readonly Failure[]): void {
  if (unavailable.length + failures.length === 0) return;
  print('\nNot measured:');
  for (const { name, reason } of unavailable) print(`  path ${name}: ${reason}`);
  for (const { step, reason } of failures) {
    print(`  round ${step.round}, ${step.scenario}, ${step.run}, ${step.path}: ${reason}`);
  }
}

function json(rows: readonly object[]): string {
  return `[\n${rows.map((row) => `  ${JSON.stringify(row)}`).join(',\n')}\n]\n`;
}

function write(file: string, content: string): void {
  writeFileSync(file, content);
  print(`wrote ${file}`);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
