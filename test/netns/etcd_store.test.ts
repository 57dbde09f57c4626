/**
 * `EtcdStore` against a real etcd-server: what the contract of a store means there. Its keys are read back with etcdctl.
 */
import { fileURLToPath } from 'node:url';

import t from 'tap';

import { Child } from './child.js';
import { BASE, errorOf, FOREVER, openStore, startEtcd, WatchRecord } from './etcd_stores.js';
import { until } from './until.js';

const KEY = 'subnets/10.1.1.0-24';
const STORE_MODULE = fileURLToPath(new URL('../../src/lease/etcd/open_etcd_store.js', import.meta.url));

t.setTimeout(120_000);

t.test('entries', async (t) => {
  const server = await startEtcd(t);
  const store = await openStore(t, { endpoints: [server.endpoint] });

  await t.test(
    'create writes the bytes of the value below the prefix, bound to a lease of that time',
    async (t) => {
      const value = '{"PublicIP":"192.0.2.1","PublicIPv6":null}';
      const entry = await store.create(KEY, value, 100, FOREVER);
      const stored = await server.get(BASE + KEY);
      t.match(entry, {
        key: KEY,
        value,
        createdAt: BigInt(stored?.createRevision ?? 0),
        grant: stored?.lease,
      });
      t.equal(stored?.value, value);
      const left = await server.etcdctl(['lease', 'timetolive', stored?.lease ?? '', '--write-out=json']);
      t.match(left.stdout, /"granted-ttl":100\b/);
      t.strictSame(await store.get(KEY, FOREVER), entry);
    },
  );

  await t.test('create leaves an entry that is there, and no lease of its own', async (t) => {
    const before = await server.leases();
    t.equal(await store.create(KEY, 'x', 100, FOREVER), undefined);
    t.not((await server.get(BASE + KEY))?.value, 'x');
    await until('the lease to be revoked', async () => (await server.leases()).length === before.length);
    t.strictSame(await server.leases(), before);
  });

  await t.test('replace binds the entry to a new lease and revokes the old one', async (t) => {
    const entry = await store.get(KEY, FOREVER);
    if (entry === undefined) throw new Error('the entry has gone');
    const next = await store.replace(entry, 'next', 100, FOREVER);
    const stored = await server.get(BASE + KEY);
    t.match(next, { value: 'next', createdAt: entry.createdAt, revision: BigInt(stored?.modRevision ?? 0) });
    t.equal(stored?.lease, next?.grant);
    await until('the old lease to go', async () => !(await server.leases()).includes(entry.grant));
    t.equal(
      await store.replace(entry, 'late', 100, FOREVER),
      undefined,
      'not over a write that came between',
    );
    t.equal((await server.get(BASE + KEY))?.value, 'next');
    t.equal(
      await store.prolong(entry, FOREVER),
      false,
      'the entry that was replaced has no time limit any more',
    );
    t.equal(await store.remainingSeconds(entry, FOREVER), 0);
  });

  await t.test('a lease that other keys are bound to is not revoked', async (t) => {
    const entry = await store.create('shared', 'a', 100, FOREVER);
    if (entry === undefined) throw new Error('not made');
    await server.put('/operators/key', 'stays', entry.grant);
    const next = await store.replace(entry, 'b', 100, FOREVER);
    t.ok(next !== undefined && (await store.remove(next, FOREVER)));
    await until('the new lease to go', async () => !(await server.leases()).includes(next?.grant ?? ''));
    t.ok(await server.get('/operators/key'), 'the lease with a key of somebody else goes on');
  });

  await t.test('replace makes an entry without end, and one with an end again', async (t) => {
    const entry = await store.create('reserved', 'r', 100, FOREVER);
    const reserved = entry && (await store.replace(entry, 'r', 0, FOREVER));
    if (reserved === undefined) throw new Error('not replaced');
    t.equal((await server.get(`${BASE}reserved`))?.lease, '');
    t.equal(await store.remainingSeconds(reserved, FOREVER), Infinity);
    t.equal(await store.prolong(reserved, FOREVER), true);
    const limited = await store.replace(reserved, 'r', 100, FOREVER);
    t.equal((await server.get(`${BASE}reserved`))?.lease, limited?.grant);
  });

  await t.test('prolong starts the time anew without a write, until the entry has gone', async (t) => {
    const entry = await store.create('short', 's', 3, FOREVER);
    if (entry === undefined) throw new Error('not made');
    await until('a second to pass', async () => (await store.remainingSeconds(entry, FOREVER)) < 3);
    t.equal(await store.prolong(entry, FOREVER), true);
    t.strictSame(await store.get('short', FOREVER), entry);
    await until('the entry to expire', async () => (await store.get('short', FOREVER)) === undefined);
    t.equal(await store.prolong(entry, FOREVER), false);
    t.equal(await store.remainingSeconds(entry, FOREVER), 0);
  });

  await t.test('remove removes what nobody wrote since, once', async (t) => {
    const entry = await store.create('gone', 'g', 100, FOREVER);
    if (entry === undefined) throw new Error('not made');
    await server.put(`${BASE}gone`, 'changed', entry.grant);
    t.equal(await store.remove(entry, FOREVER), false);
    const changed = await store.get('gone', FOREVER);
    t.equal(changed && (await store.remove(changed, FOREVER)), true);
    t.equal(await server.get(`${BASE}gone`), undefined);
    t.equal(changed && (await store.remove(changed, FOREVER)), false);
    await until('the lease to go', async () => !(await server.leases()).includes(entry.grant));
  });

  await t.test('bytes that are no UTF-8 come as U+FFFD', async (t) => {
    const child = new Child(
      ['sh', '-c', `printf 'a\\377b' | etcdctl --endpoints=${server.endpoint} put ${BASE}odd`],
      {
        env: { ETCDCTL_API: '3' },
      },
    );
    t.equal((await child.result(20)).code, 0);
    t.equal((await store.get('odd', FOREVER))?.value, 'a\ufffdb');
  });

  await t.test('list is in order of key, holds one prefix only and tells the revision', async (t) => {
    await server.putAll([
      [`${BASE}list/b`, '2'],
      [`${BASE}list/a`, '1'],
      [`${BASE}lisu`, '3'],
      ['/coreos.com/networks/list/c', '4'],
    ]);
    const { entries, revision } = await store.list('list', FOREVER);
    t.strictSame(
      entries.map(({ key }) => key),
      ['list/a', 'list/b'],
    );
    t.equal(revision, BigInt(await server.revision()));
  });

  await t.test('prefixes are joined as Go does', async (t) => {
    const doubled = await openStore(t, { endpoints: [server.endpoint], prefix: '/coreos.com//network/' });
    t.strictSame(await doubled.list('list', FOREVER), await store.list('list', FOREVER));
    const bare = await openStore(t, { endpoints: [server.endpoint], prefix: 'bare' });
    await bare.create('k', 'v', 0, FOREVER);
    t.equal((await server.get('bare/k'))?.value, 'v');
  });
});

t.test('10,000 leases come in one list', async (t) => {
  const server = await startEtcd(t);
  const store = await openStore(t, { endpoints: [server.endpoint] });
  const entries = Array.from({ length: 10_000 }, (_, i) => {
    const subnet = `subnets/10.${100 + (i >> 8)}.${i & 255}.0-24`;
    return [BASE + subnet, `{"PublicIP":"10.0.${i >> 8}.${i & 255}","PublicIPv6":null}`] as const;
  });
  await server.putAll(entries);
  const startedAt = performance.now();
  const listing = await store.list('subnets/', FOREVER);
  t.comment(`${Math.round(performance.now() - startedAt)} ms`);
  t.strictSame(
    listing.entries.map(({ key, value }) => [BASE + key, value]),
    entries.slice().sort(([a], [b]) => (a < b ? -1 : 1)),
  );
});

t.test('watch', async (t) => {
  const server = await startEtcd(t, { flags: ['--experimental-watch-progress-notify-interval=200ms'] });
  const store = await openStore(t, { endpoints: [server.endpoint] });

  await t.test(
    'begins behind the revision given, and keeps the changes of one revision together',
    async (t) => {
      await server.put(`${BASE}subnets/a`, '1');
      const { revision } = await store.list('subnets/', FOREVER);
      await server.etcdctl(['txn'], { input: `\nput ${BASE}subnets/b 2\nput ${BASE}subnets/c 3\n\n\n` });
      await server.del(`${BASE}subnets/a`);
      const batches: string[] = [];
      const stop = new AbortController();
      const end = store.watch(
        'subnets/',
        revision,
        {
          onOpen: () => batches.push('open'),
          onBatch: (events, at) => {
            if (events.length > 0) batches.push(`${events.map(({ kind }) => kind).join()} to ${at}`);
          },
        },
        stop.signal,
      );
      const all = ['open', `put,put,delete to ${revision + 2n}`];
      const single = ['open', `put,put to ${revision + 1n}`, `delete to ${revision + 2n}`];
      await until('the events', () => batches.join().includes('delete'));
      t.ok([all.join(), single.join()].includes(batches.join()), batches.join());
      stop.abort(new Error('enough'));
      await t.rejects(end, { message: 'enough' });
    },
  );

  await t.test('tells the revision also when it is that of other keys', async (t) => {
    const { revision } = await store.list('', FOREVER);
    const record = await new WatchRecord(t, store, revision, 'subnets/').untilOpen();
    await server.put('/elsewhere', '1');
    await until('the progress', () => record.revision > revision);
    t.strictSame(record.events, []);
  });

  await t.test('tells that an entry expired', async (t) => {
    const { revision } = await store.list('', FOREVER);
    const record = await new WatchRecord(t, store, revision).untilOpen();
    await store.create('brief', 'b', 1, FOREVER);
    await until('the entry to go', () => record.keys.includes('-brief'));
    t.strictSame(record.keys, ['brief', '-brief']);
  });

  await t.test('of revisions that were compacted ends with ERR_STORE_COMPACTED', async (t) => {
    const { revision } = await store.list('', FOREVER);
    for (const value of ['1', '2', '3']) await server.put(`${BASE}k`, value);
    await server.compact(await server.revision());
    const end = await new WatchRecord(t, store, revision).untilEnd();
    t.match(end, {
      code: 'ERR_STORE_COMPACTED',
      message: /^etcd http:\S+: the changes before revision \d+ have been compacted$/,
    });
    const fresh = await store.list('', FOREVER);
    const record = await new WatchRecord(t, store, fresh.revision).untilOpen();
    await server.put(`${BASE}k`, '4');
    await until('the event', () => record.keys.length === 1);
  });

  await t.test('from a revision that the store never had ends with ERR_STORE_COMPACTED', async (t) => {
    const { revision } = await store.list('', FOREVER);
    const end = await new WatchRecord(t, store, revision + 1000n).untilEnd();
    t.match(end, { code: 'ERR_STORE_COMPACTED', message: /went back in time/ });
  });

  await t.test('delivers a backlog that takes several responses in order', async (t) => {
    const { revision } = await store.list('', FOREVER);
    const count = 1_500; // etcd sends 1,000 revisions at a time
    for (let at = 0; at < count; at += 100) {
      const names = Array.from({ length: 100 }, (_, i) => `many/${at + i}`);
      await Promise.all(names.map((name) => store.create(name, '', 0, FOREVER)));
    }
    const record = new WatchRecord(t, store, revision, 'many/');
    await until('all events', () => record.events.length >= count);
    const revisions = record.events.map((event) => (event.kind === 'put' ? event.entry.revision : 0n));
    t.strictSame(
      revisions,
      revisions.slice().sort((a, b) => (a < b ? -1 : 1)),
    );
    t.equal(new Set(record.keys).size, count);
    t.equal(record.revision, revisions.at(-1));
  });
});

t.test('close', async (t) => {
  const server = await startEtcd(t);

  await t.test('ends a watch and refuses calls with ERR_CLOSED', async (t) => {
    const store = await openStore(t, { endpoints: [server.endpoint] });
    const record = await new WatchRecord(t, store, 0n).untilOpen();
    await store.close();
    t.equal((await record.untilEnd()).code, 'ERR_CLOSED');
    t.equal((await errorOf(store.get('k', FOREVER))).code, 'ERR_CLOSED');
    await store.close();
  });

  await t.test('lets the process end by itself', async (t) => {
    const program = `
      const { openEtcdStore } = await import(${JSON.stringify(STORE_MODULE)});
      const store = await openEtcdStore({ endpoints: [${JSON.stringify(server.endpoint)}] });
      const signal = new AbortController().signal;
      const entry = await store.create('exit', 'x', 100, signal);
      const opened = new Promise((onOpen) => {
        store.watch('', 0n, { onOpen, onBatch() {} }, signal).catch((error) => console.log(error.code));
      });
      await opened;
      await store.replace(entry, 'y', 100, signal);
      await store.close();`;
    const child = new Child([process.execPath, '--input-type=module', '--eval', program]);
    const result = await child.result(20);
    t.match(result, { code: 0, stdout: /^ERR_CLOSED\n$/, stderr: /^$/ });
    t.equal((await server.leases()).length, 1, 'the revocation under way was let finish');
  });
});

t.test('a call ends with the reason of its signal', async (t) => {
  const server = await startEtcd(t);
  const store = await openStore(t, { endpoints: [server.endpoint] });
  const stop = new AbortController();
  server.pause();
  const calls: Promise<unknown>[] = [
    store.get('k', stop.signal),
    store.list('', stop.signal),
    store.create('k', 'v', 10, stop.signal),
    store.watch('', 0n, { onOpen() {}, onBatch() {} }, stop.signal),
  ];
  const ends = Promise.all(calls.map((call) => t.rejects(call, { message: 'called off' })));
  stop.abort(new Error('called off'));
  await ends;
  await t.rejects(store.get('k', stop.signal), { message: 'called off' });
  server.resume();
});
