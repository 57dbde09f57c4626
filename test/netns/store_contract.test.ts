/**
 * The contract of a store (`storeContract` of src/lease/store/store_contract.ts), tried on `EtcdStore` with a real etcd-server.
 */
import t, { type Test } from 'tap';

import { openEtcdStore } from '../../src/lease/etcd/open_etcd_store.js';
import { storeContract, type StoreFixture } from '../../src/lease/store/store_contract.js';
import type { EtcdServer } from './etcd_server.js';
import { startEtcd } from './etcd_stores.js';

/** What everybody may see of here. */
const SPACES = '/contract/';
const CREDENTIALS = { username: 'flannel', password: 'a password' };

t.setTimeout(180_000);
t.jobs = 2; // most of the time is waiting for time limits to pass

t.test('without authentication', { buffered: true }, async (t) => {
  const server = await startEtcd(t);
  await tryRules(t, server, {});
});

t.test('as a user that may read and write its own keys alone', { buffered: true }, async (t) => {
  const server = await startEtcd(t);
  await server.addUser(CREDENTIALS.username, CREDENTIALS.password, SPACES);
  await server.enableAuth();
  await tryRules(t, server, CREDENTIALS);
});

/** Each rule has a prefix of its own. One after the other: a compaction concerns all keys of a server. */
async function tryRules(
  t: Test,
  server: EtcdServer,
  credentials: Partial<typeof CREDENTIALS>,
): Promise<void> {
  let spaces = 0;
  const open = async (): Promise<StoreFixture> => {
    const options = { endpoints: [server.endpoint], prefix: `${SPACES}${++spaces}`, ...credentials };
    const [store, other] = await Promise.all([openEtcdStore(options), openEtcdStore(options)]);
    return {
      store,
      other,
      compact: (revision) => server.compact(Number(revision)),
      close: async () => {
        await Promise.all([store.close(), other.close()]);
      },
    };
  };
  const rules = storeContract(open);
  for (const rule of rules) await t.test(rule.name, () => rule.run());
  t.ok(rules.length > 0 && spaces >= rules.length, `${rules.length} rules were tried`);
}
