import { messageOf } from '../../src/errors.js';
import type { Lab } from '../../test/netns/lab.js';
import { ping, tcp, udpFlood } from '../../test/netns/loads.js';
import { endedBySignal } from '../../test/netns/open_labs.js';
import { createPath, type OverlayPath, type PathName } from '../../test/netns/peers.js';
import { bitRate, count, median } from './format.js';
import { Progress } from './progress.js';

/** Figures of one path, a value of each per round; or why there are none. */
interface Row {
  readonly title: string;
  readonly path: OverlayPath;
  readonly gbitPerSecond: number[];
  readonly packetsPerSecond: number[];
  readonly roundTripMillis: number[];
  failure: string;
}

const TITLES: readonly (readonly [PathName, string])[] = [
  ['selvage', 'selvage'],
  ['vxlan', 'kernel VXLAN'],
  ['host-gw', 'plain routing'],
];
const PINGS = 500;

/**
 * Measures the paths in turn, round by round, so that a slow minute of the machine falls on all of them.
 *
 * @param seconds of each load
 * @returns the table, as lines
 * @throws Error when selvage itself cannot be measured; another path that fails is shown with the reason
 */
export async function compare(lab: Lab, rounds: number, seconds: number): Promise<string[]> {
  const rows = TITLES.map(([name, title]): Row => {
    const figures = { gbitPerSecond: [], packetsPerSecond: [], roundTripMillis: [] };
    return { title, path: createPath(lab, name), ...figures, failure: '' };
  });
  for (let round = 1; round <= rounds; round++) {
    for (const row of rows)
      if (row.failure === '') await measure(lab, row, seconds, `round ${round} of ${rounds}`);
  }
  return table(rows);
}

async function measure(lab: Lab, row: Row, seconds: number, round: string): Promise<void> {
  const progress = new Progress(`${round}: ${row.title.padEnd(13)}`, 2 * seconds);
  try {
    await row.path.start();
    await load(lab, row, seconds, progress);
  } catch (error) {
    if (row.path.name === 'selvage' || endedBySignal()) {
      throw new Error(`${row.title}: ${messageOf(error)}\n${row.path.output()}`, { cause: error });
    }
    row.failure = reasonOf(error);
    progress.done(`not to be had: ${row.failure}`);
  } finally {
    if (!endedBySignal()) await row.path.stop();
  }
}

async function load(lab: Lab, row: Row, seconds: number, progress: Progress): Promise<void> {
  const { p50Millis } = await ping(lab, { count: PINGS });
  const { gbitPerSecond } = await tcp(lab, {
    seconds,
    progressPerSecond: progress.perSecond,
    onProgress: (now) => progress.show(now.elapsedSeconds, `TCP ${bitRate(now.perSecond)}`),
  });
  const { packetsPerSecond } = await udpFlood(lab, {
    seconds,
    progressPerSecond: progress.perSecond,
    onProgress: (now) => progress.show(seconds + now.elapsedSeconds, `UDP ${count(now.perSecond)} /s`),
  });
  row.roundTripMillis.push(p50Millis);
  row.gbitPerSecond.push(gbitPerSecond);
  row.packetsPerSecond.push(packetsPerSecond);
  const figures = [
    bitRate(gbitPerSecond * 1e9),
    `${count(packetsPerSecond)} /s`,
    `${p50Millis.toFixed(3)} ms`,
  ];
  progress.done(figures.map((text) => text.padStart(14)).join(''));
}

/** The line that says why: of a failed command, what it printed rather than its name. */
function reasonOf(error: unknown): string {
  const lines = messageOf(error)
    .split('\n')
    .map((line) => line.trim());
  return lines.find((line) => /^(Error|RTNETLINK)/.test(line)) ?? lines[0] ?? 'no reason given';
}

function table(rows: readonly Row[]): string[] {
  const base = rows.find((row) => row.path.name === 'vxlan' && row.failure === '');
  const heads = ['TCP, 1 stream', '64-byte UDP delivered', 'round trip, median'];
  return [
    `  ${''.padEnd(14)}${heads.map((head) => head.padStart(24)).join('')}`,
    ...rows.map(
      (row) => `  ${row.title.padEnd(14)}${row.failure === '' ? cells(row, base) : `  ${row.failure}`}`,
    ),
    '',
    base === undefined
      ? '  (no ratios without kernel VXLAN)'
      : '  (x: ratio to kernel VXLAN; more is better but for the round trip)',
  ];
}

function cells(row: Row, base: Row | undefined): string {
  const cell = (pick: (row: Row) => number[], format: (value: number) => string): string => {
    const value = median(pick(row));
    const ratio = base === undefined ? '' : `${(value / median(pick(base))).toFixed(2)}x`;
    return format(value).padStart(16) + ratio.padStart(8);
  };
  return [
    cell(
      (each) => each.gbitPerSecond,
      (value) => bitRate(value * 1e9),
    ),
    cell(
      (each) => each.packetsPerSecond,
      (value) => `${count(value)} /s`,
    ),
    cell(
      (each) => each.roundTripMillis,
      (value) => `${value.toFixed(3)} ms`,
    ),
  ].join('');
}
