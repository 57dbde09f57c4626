/**
 * What happens at etcd, by a client of its own: leases that are there from the start, leases that change, and the load as
 * flanneld does it.
 */
import { type EtcdStore, openEtcdStore, type StoreEntry } from '../../src/index.js';
import { Churn } from './churn.js';
import { monotonicMillis } from './clock.js';
import { JOINING_KEY, keyOf, LEASE_SECONDS, valueOf } from './made_leases.js';
import { type EtcdInput, inputOf, tell } from './messages.js';

/** Requests at once while seeding. */
const SEEDERS = 32;
const { signal } = new AbortController();

async function seed(store: EtcdStore, leases: number, publicIp: string): Promise<void> {
  const joining = JSON.stringify({ PublicIP: publicIp, PublicIPv6: null });
  await store.create(JOINING_KEY, joining, LEASE_SECONDS, signal);
  let next = 0;
  const seeder = async (): Promise<void> => {
    while (next < leases) {
      const n = next++;
      await store.create(keyOf(n), valueOf(n), LEASE_SECONDS, signal);
    }
  };
  await Promise.all(Array.from({ length: SEEDERS }, seeder));
  tell({ kind: 'seeded' });
}

async function loadAsFlanneld(store: EtcdStore): Promise<void> {
  const startedAtMillis = monotonicMillis();
  const { entries } = await store.list('subnets', signal);
  for (const entry of entries) await store.remainingSeconds(entry, signal);
  tell({ kind: 'flanneld', millis: monotonicMillis() - startedAtMillis, requests: 1 + entries.length });
}

async function churn(store: EtcdStore, input: EtcdInput & { work: 'churn' }): Promise<void> {
  const { entries, revision } = await store.list('subnets/10.1', signal);
  const seeded = entries.filter(isSeeded);
  tell({ kind: 'churned', changes: await new Churn(store, seeded, input).run(revision) });
}

/** The hosts of the lab have leases below 10.128.0.0 and keep them. */
function isSeeded({ key }: StoreEntry): boolean {
  return Number(key.split('.')[1]) >= 128;
}

const input = inputOf<EtcdInput>();
const store = await openEtcdStore({ endpoints: [input.endpoint], prefix: input.prefix });
if (input.work === 'seed') await seed(store, input.leases, input.publicIp);
else if (input.work === 'flanneld') await loadAsFlanneld(store);
else await churn(store, input);
await store.close();
