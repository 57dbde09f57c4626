/** What a test's action has changed in the counters of several daemons. */

import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';

import type { ForwarderStats } from '../../src/index.js';
import { differences } from './differences.js';
import type { SelvageDaemon } from './selvage.js';
import { until } from './until.js';

/** Longer than a lane that has lost its CPU usually waits for it. */
const BETWEEN_LOOKS_MILLIS = 50;

export type Direction = 'outbound' | 'inbound';

/** Counters that changed, by how much, for each daemon; of sizes and bursts nothing is said. */
export type Change = Record<Direction, Partial<Record<string, number>>[]>;

/** Runs `action` to its end and tells what every daemon has counted meanwhile. */
export async function changeOf(
  daemons: readonly SelvageDaemon[],
  action: () => Promise<void>,
): Promise<Change> {
  const before = await settledStats(daemons);
  await action();
  const after = await settledStats(daemons);
  const change = (direction: Direction): Partial<Record<string, number>>[] =>
    after.map((stats, i) => essence(differences(before[i]![direction], stats[direction])));
  return { outbound: change('outbound'), inbound: change('inbound') };
}

/**
 * Lanes count a burst after they have sent it, so what a test has seen arrive may not be counted yet: waits until nothing
 * changes from one look to the next.
 */
async function settledStats(daemons: readonly SelvageDaemon[]): Promise<ForwarderStats[]> {
  const read = (): Promise<ForwarderStats[]> => Promise.all(daemons.map((daemon) => daemon.stats()));
  let last = await read();
  return await until('the counters to settle', async () => {
    await sleep(BETWEEN_LOOKS_MILLIS);
    const previous = last;
    last = await read();
    const isSettled = last.every(({ outbound, inbound }, i) => {
      const was = previous[i]!;
      return isDeepStrictEqual([outbound, inbound], [was.outbound, was.inbound]);
    });
    return isSettled && last;
  });
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
