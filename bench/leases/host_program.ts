/**
 * One host of the network: an agent with a real forwarder, in a namespace of the lab. It joins, tells how long that took, and
 * then, between one SIGUSR2 and the next, measures what changes cost it. SIGTERM ends it.
 */
import { type Agent, createAgent, openEtcdStore } from '../../src/index.js';
import { residentMebibytes } from '../netns/resident_memory.js';
import { threadTimes } from '../profile/thread_times.js';
import { monotonicMillis } from './clock.js';
import { readEtcdCounters } from './etcd_counters.js';
import { type ChurnCost, type HostInput, type InForce, inputOf, tell } from './messages.js';
import { RecordingStore } from './recording_store.js';

const input = inputOf<HostInput>();

/** Changes between two signals. */
class Measurement {
  readonly inForce: InForce[] = [];
  readonly #agent: Agent;
  readonly #tables: number;
  readonly #cpuSeconds: number;

  constructor(agent: Agent) {
    this.#agent = agent;
    // Last, as the counters of 10,000 peers cost more than a change.
    this.#tables = generationOf(agent);
    this.#cpuSeconds = mainThreadSeconds();
  }

  result(): ChurnCost {
    const cpuSeconds = mainThreadSeconds() - this.#cpuSeconds;
    return {
      kind: 'cost',
      cpuSeconds,
      tables: generationOf(this.#agent) - this.#tables,
      residentMebibytes: residentMebibytes(process.pid),
      inForce: this.inForce,
    };
  }
}

async function main(): Promise<void> {
  let measurement: Measurement | undefined;
  const before = await readEtcdCounters(input.endpoint);
  const startedAtMillis = monotonicMillis();
  const etcd = await openEtcdStore({ endpoints: [input.endpoint], prefix: input.prefix });
  const store = new RecordingStore(etcd, (revision, arrivedAtMillis) => {
    const { inForce } = measurement ?? {};
    if (inForce === undefined) return;
    void agent.settled().then(() => {
      inForce.push({ revision: Number(revision), arrivedAtMillis, atMillis: monotonicMillis() });
    });
  });
  const agent = await createAgent({
    source: { kind: 'store', store, networkName: input.prefix },
    underlay: { iface: [input.iface] },
    forwarder: { lanes: input.lanes },
    stateDirectory: input.stateDirectory,
  });
  await agent.start();
  const totalMillis = monotonicMillis() - startedAtMillis;
  const after = await readEtcdCounters(input.endpoint);
  // Before the bench is told: its signals would end a program that does not expect them.
  process.on('SIGUSR2', () => {
    if (measurement === undefined) {
      measurement = new Measurement(agent);
      tell({ kind: 'measuring' });
    } else {
      tell(measurement.result());
      measurement = undefined;
    }
  });
  process.once('SIGTERM', () => void agent.close().then(() => store.close()));
  const [list] = store.lists;
  tell({
    kind: 'loaded',
    routes: agent.stats()?.routes.count ?? 0,
    totalMillis,
    listMillis: list?.millis ?? NaN,
    listIdleMillis: list?.idleMillis ?? NaN,
    lists: store.lists.length,
    requests: after.requests - before.requests,
    sentBytes: after.sentBytes - before.sentBytes,
  });
}

function generationOf(agent: Agent): number {
  return agent.stats()?.routes.generation ?? 0;
}

function mainThreadSeconds(): number {
  const main = threadTimes(process.pid).find(({ tid }) => tid === process.pid);
  return (main?.userSeconds ?? 0) + (main?.systemSeconds ?? 0);
}

await main();
