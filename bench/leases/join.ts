import { setTimeout as sleep } from 'node:timers/promises';

import type { BenchLab } from './bench_lab.js';
import { percentile } from '../samples.js';
import type { LeaseFigures } from './figures.js';
import type { LabProgram } from './lab_program.js';
import { FIRST_FREE } from './made_leases.js';
import { type Change, CHANGES, type ChurnCost, type HostMessage, type InForce } from './messages.js';

export interface JoinOptions {
  readonly leases: number;
  readonly lanes: number;
  /** Each its own, 0..99. */
  readonly round: number;
  readonly churnSeconds: number;
}

const CHANGES_PER_SECOND = 50;
/** After the last change, for what has not reached the lanes; one that takes longer is a fault. */
const SETTLE_MILLIS = 1_000;

/**
 * A host joins the network, and follows its changes; beside it, the load as flanneld does it.
 *
 * @returns the figures in a few words
 */
export async function measureJoin(
  bench: BenchLab,
  figures: LeaseFigures,
  options: JoinOptions,
): Promise<string> {
  const { leases, lanes } = options;
  const flanneld = await bench.startAtEtcd(leases, { work: 'flanneld' }).told('flanneld');
  const host = bench.startHost(leases, lanes);
  try {
    const load = await host.told('loaded');
    if (load.routes < leases) throw new Error(`only ${load.routes} of ${leases} leases became routes`);
    figures.add(leases, 'load-total', load.totalMillis);
    figures.add(leases, 'load-list', load.listMillis);
    figures.add(leases, 'load-list-wait', load.listIdleMillis);
    figures.add(leases, 'load-requests', load.requests);
    figures.add(leases, 'load-lists', load.lists);
    figures.add(leases, 'load-sent', load.sentBytes / 1024);
    figures.add(leases, 'flanneld-load', flanneld.millis);
    figures.add(leases, 'flanneld-ratio', flanneld.millis / load.listMillis);
    return `${load.totalMillis.toFixed(0)} ms, ${await measureChurn(bench, figures, host, options)}`;
  } finally {
    await host.stop();
  }
}

async function measureChurn(
  bench: BenchLab,
  figures: LeaseFigures,
  host: LabProgram<HostMessage>,
  { leases, round, churnSeconds }: JoinOptions,
): Promise<string> {
  const changes = churnSeconds * CHANGES_PER_SECOND;
  host.child.kill('SIGUSR2');
  await host.told('measuring');
  const work = {
    work: 'churn',
    changes,
    perSecond: CHANGES_PER_SECOND,
    firstFree: FIRST_FREE + round * Math.ceil(changes / CHANGES.length),
  } as const;
  const churned = await bench.startAtEtcd(leases, work).told('churned');
  await sleep(SETTLE_MILLIS);
  host.child.kill('SIGUSR2');
  const cost = await host.told('cost');
  const steps = stepsOf(churned.changes, cost);
  // On a busy machine the writer may hear of its own change after the host.
  const millis = steps.map(
    ([change, step]) => step.atMillis - Math.min(change.atMillis, step.arrivedAtMillis),
  );
  const inside = steps.map(([, step]) => step.atMillis - step.arrivedAtMillis);
  const [p50, p99, longest] = [percentile(millis, 0.5), percentile(millis, 0.99), Math.max(...millis)];
  figures.add(leases, 'change-p50', p50);
  figures.add(leases, 'change-p99', p99);
  figures.add(leases, 'change-max', longest);
  figures.add(leases, 'change-inside-p99', percentile(inside, 0.99));
  figures.add(leases, 'change-cpu', (1000 * cost.cpuSeconds) / changes);
  figures.add(leases, 'change-tables', cost.tables / changes);
  figures.add(leases, 'memory', cost.residentMebibytes);
  return `a change p50 ${p50.toFixed(1)}, p99 ${p99.toFixed(1)}, max ${longest.toFixed(1)} ms`;
}

/** The changes that make a difference to the routes, and the step that each was part of. */
function stepsOf(
  changes: readonly Change[],
  { inForce }: ChurnCost,
): (readonly [change: Change, step: InForce])[] {
  return changes
    .filter(({ kind }) => kind !== 'renewed')
    .map((change) => {
      const step = inForce.find(({ revision }) => revision >= change.revision);
      if (step === undefined) throw new Error(`a change (${change.kind}) did not reach the lanes`);
      return [change, step] as const;
    });
}
