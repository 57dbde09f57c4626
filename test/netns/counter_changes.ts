/** What a test's action has changed in the counters of several daemons. */

import type { ForwarderStats } from '../../src/index.js';
import { differences } from './differences.js';
import type { SelvageDaemon } from './selvage.js';
import { until } from './until.js';

export type Direction = 'outbound' | 'inbound';

/** Counters that changed, by how much, for each daemon; of sizes and bursts nothing is said. */
export type Change = Record<Direction, Partial<Record<string, number>>[]>;

/** Runs `action` to its end and tells what every daemon has counted meanwhile. */
export async function changeOf(
  daemons: readonly SelvageDaemon[],
  action: () => Promise<void>,
): Promise<Change> {
  const read = (): Promise<ForwarderStats[]> => Promise.all(daemons.map((daemon) => daemon.stats()));
  const before = await read();
  await action();
  const after = await read();
  const change = (direction: Direction): Partial<Record<string, number>>[] =>
    after.map((stats, i) => essence(differences(before[i]![direction], stats[direction])));
  return { outbound: change('outbound'), inbound: change('inbound') };
}

/** Waits for a state of a daemon's counters. */
export async function statsWhen(
  daemon: SelvageDaemon,
  isSo: (stats: ForwarderStats) => boolean,
): Promise<ForwarderStats> {
  return until('the counters to be complete', async () => {
    const now = await daemon.stats();
    return isSo(now) && now;
  });
}

function essence(changes: Record<string, number>): Partial<Record<string, number>> {
  const said = (name: string): boolean => !/^(bytes|rows|bursts|superframes)/.test(name);
  return Object.fromEntries(Object.entries(changes).filter(([name]) => said(name)));
}
