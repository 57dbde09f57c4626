import { once } from 'node:events';
import { createServer } from 'node:http2';
import type { AddressInfo } from 'node:net';

import { connectNodeAdapter } from '@connectrpc/connect-node';
import t, { type Test } from 'tap';

import { Lease } from '../../src/lease/etcd/gen/rpc_pb.js';
import { openEtcdStore } from '../../src/lease/etcd/open_etcd_store.js';

const KEY = 'subnets/10.1.1.0-24';
/** Lease.Remaining of a leader whose lessor was not promoted yet: the longest duration of Go. */
const FOR_EVER = 9_223_372_036n;

/** An etcd that tells these times to live, one after the other. @returns its endpoint */
async function startTelling(t: Test, seconds: bigint[]): Promise<string> {
  const keys = [Buffer.from(`/coreos.com/network/${KEY}`)];
  const server = createServer(
    connectNodeAdapter({
      routes: (router) =>
        router.service(Lease, {
          leaseTimeToLive: ({ ID }) => ({ ID, TTL: seconds.shift() ?? -1n, grantedTTL: 86_400n, keys }),
        }),
    }),
  );
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.teardown(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

t.test('a leader that was just elected, and says that a grant never ends, is asked again', async (t) => {
  const told = [FOR_EVER, 3_600n];
  const store = await openEtcdStore({ endpoints: [await startTelling(t, told)] });
  t.teardown(() => store.close());
  const entry = { key: KEY, value: '', createdAt: 1n, revision: 1n, grant: '1f' };
  t.equal(await store.remainingSeconds(entry, new AbortController().signal), 3_600);
  t.strictSame(told, []);
});
