/**
 * `EtcdStore` when servers, connections and answers get lost.
 */
import t, { type Test } from 'tap';

import type { EtcdServer } from './etcd_server.js';
import { BASE, errorOf, FOREVER, openStore, startEtcd, WatchRecord } from './etcd_stores.js';
import { freePorts } from './free_port.js';
import { TcpProxy } from './tcp_proxy.js';
import { until } from './until.js';

const KEY = 'subnets/10.1.1.0-24';

t.setTimeout(180_000);

async function deadEndpoint(): Promise<string> {
  const [port] = await freePorts(1);
  return `http://127.0.0.1:${port}`;
}

async function startProxy(t: Test, server: EtcdServer): Promise<TcpProxy> {
  const proxy = await TcpProxy.start(server.port);
  t.teardown(() => proxy.close());
  return proxy;
}

t.test('servers', async (t) => {
  await t.test(
    'a dead one is passed over by calls and watches, wherever it stands in the list',
    async (t) => {
      const server = await startEtcd(t);
      const dead = await deadEndpoint();
      for (const endpoints of [
        [dead, server.endpoint],
        [server.endpoint, dead],
      ]) {
        for (let i = 0; i < 4; i++) {
          // Where a store begins is random: four of them begin at the dead one with near certainty.
          const store = await openStore(t, { endpoints });
          await new WatchRecord(t, store, 0n).untilOpen();
          await store.list('', FOREVER);
        }
      }
      t.pass('all were served');
    },
  );

  await t.test('one that stands still is passed over within the deadline of the call', async (t) => {
    const [still, live] = await Promise.all([startEtcd(t), startEtcd(t)]);
    await live.put(`${BASE}k`, 'live');
    still.pause();
    const options = { endpoints: [still.endpoint, live.endpoint], requestTimeoutMillis: 2_000 };
    for (let i = 0; i < 4; i++) {
      const store = await openStore(t, options);
      t.equal((await store.get('k', FOREVER))?.value, 'live');
      await new WatchRecord(t, store, 0n).untilOpen();
    }
  });

  await t.test('when the one in use dies, the other takes over', async (t) => {
    const servers = await Promise.all([startEtcd(t), startEtcd(t)]);
    const store = await openStore(t, { endpoints: servers.map(({ endpoint }) => endpoint) });
    const record = await new WatchRecord(t, store, 0n).untilOpen();
    await store.create('which', 'w', 0, FOREVER);
    const used = (await servers[0].get(`${BASE}which`)) === undefined ? servers[1] : servers[0];
    await used.kill();
    t.equal((await record.untilEnd()).code, 'ERR_STORE_UNAVAILABLE');
    await store.list('', FOREVER);
    await new WatchRecord(t, store, 0n).untilOpen();
    t.pass('calls and watches go on');
  });

  await t.test('when all are dead, the error names each with its cause', async (t) => {
    const [one, two] = [await deadEndpoint(), await deadEndpoint()];
    const store = await openStore(t, { endpoints: [one, two] });
    const error = await errorOf(store.list('', FOREVER));
    const cause = 'connection refused: is etcd running, and is etcd-endpoints right\\?';
    t.match(error, {
      code: 'ERR_STORE_UNAVAILABLE',
      message: new RegExp(`^etcd ${one}: ${cause}; ${two}: ${cause}$`),
    });
    t.equal(store.name, `etcd ${one},${two}`);
    t.equal((await new WatchRecord(t, store, 0n).untilEnd()).code, 'ERR_STORE_UNAVAILABLE');
  });

  await t.test('an address without a listener and a name that does not exist are told apart', async (t) => {
    const store = await openStore(t, { endpoints: ['http://etcd.invalid:2379'] });
    const error = await errorOf(store.list('', FOREVER));
    t.match(error, {
      code: 'ERR_STORE_UNAVAILABLE',
      message: /etcd\.invalid:2379: (no such host|the name cannot)/,
    });
  });

  await t.test('IPv6 addresses and names are endpoints', async (t) => {
    const six = await startEtcd(t, { address: '::1' });
    const store = await openStore(t, { endpoints: [six.endpoint] });
    t.match(six.endpoint, /^http:\/\/\[::1\]:/);
    await store.create('k', 'six', 0, FOREVER);
    t.equal((await six.get(`${BASE}k`))?.value, 'six');
    const four = await startEtcd(t);
    // Where localhost is ::1 as well, that address is refused and the next one is tried.
    const named = await openStore(t, { endpoints: [`localhost:${four.port}`] });
    await named.create('k', 'four', 0, FOREVER);
    t.equal((await four.get(`${BASE}k`))?.value, 'four');
  });
});

t.test('lost answers', async (t) => {
  const server = await startEtcd(t);

  /** Runs `write` through a proxy that cuts it once etcd's revision has moved on: carried out, and not answered. */
  async function losingAnswer<T>(
    t: Test,
    write: (store: Awaited<ReturnType<typeof openStore>>) => Promise<T>,
  ): Promise<T> {
    const proxy = await startProxy(t, server);
    const store = await openStore(t, { endpoints: [`http://127.0.0.1:${proxy.port}`] });
    await store.list('', FOREVER); // the connection stands
    const revision = await server.revision();
    const cut = proxy.cutWhen(async () => (await server.revision()) > revision);
    const result = await write(store);
    await cut;
    return result;
  }

  await t.test('of create: the entry is recognised as ours', async (t) => {
    const entry = await losingAnswer(t, (store) => store.create(KEY, 'v', 100, FOREVER));
    const stored = await server.get(BASE + KEY);
    t.match(entry, {
      key: KEY,
      value: 'v',
      createdAt: BigInt(stored?.createRevision ?? 0),
      grant: stored?.lease,
    });
    t.strictSame(await server.leases(), [stored?.lease], 'and it has the only lease');
  });

  await t.test('of create without end: the entry is recognised as ours', async (t) => {
    const entry = await losingAnswer(t, (store) => store.create('reserved', 'r', 0, FOREVER));
    t.match(entry, {
      value: 'r',
      grant: '',
      createdAt: BigInt((await server.get(`${BASE}reserved`))?.createRevision ?? 0),
    });
  });

  await t.test('of replace: the entry is recognised as ours', async (t) => {
    const store = await openStore(t, { endpoints: [server.endpoint] });
    const old = await store.get(KEY, FOREVER);
    const entry = await losingAnswer(t, async (losing) => old && losing.replace(old, 'w', 100, FOREVER));
    const stored = await server.get(BASE + KEY);
    t.match(entry, {
      value: 'w',
      createdAt: old?.createdAt,
      revision: BigInt(stored?.modRevision ?? 0),
      grant: stored?.lease,
    });
    await until('the old lease to go', async () => !(await server.leases()).includes(old?.grant ?? ''));
  });

  await t.test('of remove: it was removed', async (t) => {
    const store = await openStore(t, { endpoints: [server.endpoint] });
    const old = await store.get(KEY, FOREVER);
    t.equal(await losingAnswer(t, async (losing) => old && losing.remove(old, FOREVER)), true);
    t.equal(await server.get(BASE + KEY), undefined);
  });

  await t.test('an entry of somebody else is not taken for ours after a lost answer', async (t) => {
    const proxy = await startProxy(t, server);
    const store = await openStore(t, { endpoints: [`http://127.0.0.1:${proxy.port}`] });
    await server.put(`${BASE}theirs`, 'same');
    const cut = proxy.cutWhen(() => Promise.resolve(true));
    t.equal(await store.create('theirs', 'same', 0, FOREVER), undefined);
    await cut;
  });

  await t.test('create that is not known to have been done leaves nothing behind', async (t) => {
    const key = `${BASE}never`;
    const before = await server.leases();
    type Loss = (proxy: TcpProxy) => Promise<void>;
    const rows: [lost: string, loss: Loss][] = [
      [
        'the answer to the transaction',
        (proxy) => proxy.blockWhen(async () => (await server.get(key)) !== undefined),
      ],
      [
        'the transaction itself',
        (proxy) => proxy.loseWhen(async () => (await server.leases()).length > before.length),
      ],
    ];
    for (const [what, loss] of rows) {
      const proxy = await startProxy(t, server);
      const endpoints = [`http://127.0.0.1:${proxy.port}`];
      const store = await openStore(t, { endpoints, requestTimeoutMillis: 2_000 });
      await store.list('', FOREVER); // the connection stands
      const lost = loss(proxy);
      const error = await errorOf(store.create('never', 'n', 100, FOREVER));
      proxy.unblock();
      t.match(error, { code: 'ERR_STORE_UNAVAILABLE' }, `${what} is lost`);
      await lost;
      await until('the grant to be revoked', async () => (await server.leases()).length === before.length);
      t.strictSame(await server.leases(), before, 'those of others are as they were');
      t.equal(await server.get(key), undefined, 'no entry');
    }
  });
});

t.test('a watch', async (t) => {
  await t.test(
    'goes on behind the last revision after the server was killed and started again',
    async (t) => {
      const server = await startEtcd(t);
      const store = await openStore(t, { endpoints: [server.endpoint] });
      const first = await new WatchRecord(t, store, 0n).untilOpen();
      await server.put(`${BASE}a`, '1');
      await until('the event', () => first.keys.length === 1);
      await server.kill();
      const end = await first.untilEnd();
      t.match(end, { code: 'ERR_STORE_UNAVAILABLE', message: new RegExp(`^etcd ${server.endpoint}: `) });
      await server.restart();
      await server.put(`${BASE}b`, '2');
      await server.del(`${BASE}a`);
      const second = await new WatchRecord(t, store, first.revision).untilOpen();
      await until('the events', () => second.keys.length === 2);
      t.strictSame(second.keys, ['b', '-a']);
    },
  );

  await t.test('that was compacted while it was away ends with ERR_STORE_COMPACTED', async (t) => {
    const server = await startEtcd(t);
    const proxy = await startProxy(t, server);
    const store = await openStore(t, { endpoints: [`http://127.0.0.1:${proxy.port}`] });
    const first = await new WatchRecord(t, store, 0n).untilOpen();
    await server.put(`${BASE}a`, '1');
    await until('the event', () => first.keys.length === 1);
    proxy.cut();
    t.equal((await first.untilEnd()).code, 'ERR_STORE_UNAVAILABLE');
    await server.del(`${BASE}a`);
    await server.put(`${BASE}b`, '2');
    await server.compact(await server.revision());
    t.equal((await new WatchRecord(t, store, first.revision).untilEnd()).code, 'ERR_STORE_COMPACTED');
  });

  await t.test('notices that the server stands still, and works again when that goes on', async (t) => {
    const server = await startEtcd(t);
    const proxy = await startProxy(t, server);
    const store = await openStore(t, { endpoints: [`http://127.0.0.1:${proxy.port}`] });
    const record = await new WatchRecord(t, store, 0n).untilOpen();
    server.pause();
    const end = await record.untilEnd(30);
    t.match(end, { code: 'ERR_STORE_UNAVAILABLE', message: /PING timed out/ });
    server.resume();
    await until(
      'the server to answer',
      async () => (await server.etcdctl(['endpoint', 'health'], { mayFail: true })).code === 0,
    );
    const next = await new WatchRecord(t, store, 0n).untilOpen();
    await server.put(`${BASE}a`, '1');
    await until('the event', () => next.keys.length === 1);
  });
});
