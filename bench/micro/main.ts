/**
 * Micro-benchmarks: what single steps of the data path cost. Run with `node dist/bench/micro/main.js --help`.
 */
import { writeFile } from 'node:fs/promises';
import { cpus, loadavg, release } from 'node:os';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { checksumCases } from './checksum_cases.js';
import { crossingCases } from './crossing_cases.js';
import { decisionCases } from './decision_cases.js';
import { lookupCases } from './lookup_cases.js';
import { type Effort, measureGroup, type MicroRow } from './measure.js';
import type { MicroCase } from './micro_case.js';

/** What to run, and where the result goes besides standard output. */
export interface MicroOptions {
  /** File for the rows as JSON. */
  readonly json?: string | undefined;
  /** A tenth of the time, for a first look. */
  readonly quick?: boolean | undefined;
  /** Only cases whose name holds this text. */
  readonly filter?: string | undefined;
}

const CASES = [...checksumCases, ...lookupCases, ...decisionCases, ...crossingCases];
const FULL: Effort = { rounds: 5, roundSeconds: 0.4, minSamples: 6, sampleSeconds: 0.02 };
const QUICK: Effort = { rounds: 2, roundSeconds: 0.1, minSamples: 3, sampleSeconds: 0.01 };

const USAGE = `Usage: node dist/bench/micro/main.js [--quick] [--filter TEXT] [--json FILE]

  --quick         a tenth of the time
  --filter TEXT   only cases whose name holds TEXT
  --json FILE     write the rows to FILE as well
`;

/**
 * Runs the cases group by group and prints a table, the rows of a group as soon as they are known.
 *
 * @throws Error when the filter leaves no case, or the file cannot be written
 */
export async function runMicro(options: MicroOptions): Promise<void> {
  const { filter } = options;
  const chosen = filter === undefined ? CASES : CASES.filter(({ name }) => name.includes(filter));
  if (chosen.length === 0) throw new Error(`no case has "${filter}" in its name`);
  const effort = options.quick === true ? QUICK : FULL;
  const nameWidth = Math.max(...chosen.map(({ name }) => name.length));
  print(`${'case'.padEnd(nameWidth)}  ${'time (median)'.padStart(20)}  ${'±'.padStart(6)}  samples  rate`);
  const rows: MicroRow[] = [];
  for (const group of groupsOf(chosen)) {
    const measured = measureGroup(group, effort);
    for (const row of measured) print(rowText(row, nameWidth));
    rows.push(...measured);
  }
  printGrowth(rows);
  if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(report(rows), null, 2)}\n`);
}

/** Cases whose names start alike, up to the colon. */
function groupsOf(cases: readonly MicroCase[]): MicroCase[][] {
  const groups = new Map<string, MicroCase[]>();
  for (const micro of cases) {
    const key = micro.name.slice(0, micro.name.indexOf(':'));
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [micro]);
    else group.push(micro);
  }
  return [...groups.values()];
}

function rowText(row: MicroRow, nameWidth: number): string {
  const rate = row.gigabytesPerSecond > 0 ? `${row.gigabytesPerSecond.toFixed(1)} GB/s` : '';
  return [
    row.name.padEnd(nameWidth),
    `${timeText(row.nanosMedian)}/${row.unit}`.padStart(20),
    `${row.spreadPercent.toFixed(1)} %`.padStart(6),
    String(row.samples).padStart(7),
    rate,
  ]
    .join('  ')
    .trimEnd();
}

function timeText(nanos: number): string {
  if (nanos >= 1e6) return `${(nanos / 1e6).toFixed(1)} ms`;
  if (nanos >= 1e4) return `${(nanos / 1e3).toFixed(1)} us`;
  return `${nanos.toFixed(nanos < 100 ? 1 : 0)} ns`;
}

/** The promise about lookups is a ratio, so the ratio is printed. */
function printGrowth(rows: readonly MicroRow[]): void {
  for (const family of ['IPv4', 'IPv6']) {
    const lookups = rows.filter(({ name }) => name.startsWith(`lookup: ${family}`));
    const [first, last] = [lookups[0], lookups.at(-1)];
    if (first === undefined || last === undefined || first === last) continue;
    const ratio = last.nanosMedian / first.nanosMedian;
    print(`\n${last.name} takes ${ratio.toFixed(2)} times as long as ${first.name}`);
  }
}

function report(rows: readonly MicroRow[]): unknown {
  return {
    node: process.version,
    kernel: release(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cpus: cpus().length,
    loadAverage: loadavg()[0],
    date: new Date().toISOString(),
    rows,
  };
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      help: { type: 'boolean', short: 'h' },
      quick: { type: 'boolean' },
      filter: { type: 'string' },
      json: { type: 'string' },
    },
  });
  if (values.help === true) print(USAGE.trimEnd());
  else await runMicro(values);
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  main().catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  });
}
