import { setTimeout as sleep } from 'node:timers/promises';

import t, { type Test } from 'tap';

import { HostPresence } from '../../src/lease/host_presence.js';
import { MemorySpace } from '../../src/lease/store/memory_space.js';
import { until } from '../netns/until.js';
import { HookedStore } from './lease_fixture.js';

const KEY = 'selvage/hosts/192.0.2.1';
const { signal } = new AbortController();

interface Present {
  readonly store: HookedStore;
  readonly presence: HostPresence;
  /** Names of the other host, in the order told. */
  readonly others: (string | undefined)[];
  readonly warnings: string[];
}

function present(t: Test, space: MemorySpace, id: string): Present {
  const store = new HookedStore(space);
  const others: (string | undefined)[] = [];
  const warnings: string[] = [];
  const presence = new HostPresence({
    store,
    publicIp: '192.0.2.1',
    host: { id, name: `name of ${id}` },
    ttlSeconds: 1,
    random: Math.random,
    listener: { onWarning: (reason) => warnings.push(reason), onOther: (name) => others.push(name) },
  });
  t.teardown(async () => {
    await presence.close();
    await store.close();
  });
  return { store, presence, others, warnings };
}

t.test('a claim is prolonged, so that it outlives its time limit many times, without a write', async (t) => {
  const space = new MemorySpace();
  const a = present(t, space, 'a');
  t.equal(await a.presence.claim(signal), undefined);
  const { revision } = space.get(KEY)!;
  await sleep(3000);
  t.equal(space.get(KEY)?.revision, revision);
  await a.presence.close();
  t.equal(space.get(KEY), undefined, 'and taken back at close');
});

t.test('a host that was killed is gone after its time limit', async (t) => {
  const space = new MemorySpace();
  space.put(KEY, '{"host":"dead","name":"the dead"}', 1);
  const a = present(t, space, 'a');
  t.equal(await a.presence.claim(signal), 'the dead');
  await until('the claim', async () => (await a.presence.claim(signal)) === undefined);
  t.strictSame(a.others, ['the dead', undefined]);
});

t.test('of many claims at once one succeeds', async (t) => {
  const space = new MemorySpace();
  const all = Array.from({ length: 10 }, (_, n) => present(t, space, `h${n}`));
  const outcomes = await Promise.all(all.map(({ presence }) => presence.claim(signal)));
  t.equal(outcomes.filter((other) => other === undefined).length, 1);
});

t.test('a claim that ended while the store was away is made again', async (t) => {
  const space = new MemorySpace();
  const a = present(t, space, 'a');
  await a.presence.claim(signal);
  a.store.disconnect();
  await until('it to run out', () => space.get(KEY) === undefined);
  a.store.reconnect();
  await until('it to be back', () => space.get(KEY) !== undefined);
  t.strictSame(a.warnings, [], 'being away is told elsewhere');
  t.strictSame(a.others, []);
});

t.test('another host that claimed it meanwhile is told, and told again when it goes', async (t) => {
  const space = new MemorySpace();
  const a = present(t, space, 'a');
  const b = present(t, space, 'b');
  await a.presence.claim(signal);
  a.store.disconnect();
  await until('b to have it', async () => (await b.presence.claim(signal)) === undefined);
  a.store.reconnect();
  await until('a to notice', () => a.others.length === 1);
  await b.presence.close();
  await until('a to have it', () => a.others.length === 2);
  t.strictSame(a.others, ['name of b', undefined]);
  t.match(space.get(KEY)?.value, /"host":"a"/);
});

t.test('the name of another host is cut to what a log can show', async (t) => {
  const space = new MemorySpace();
  space.put(KEY, JSON.stringify({ host: 'b', name: `\u001b[2J${'x'.repeat(100)}` }), 0);
  const a = present(t, space, 'a');
  await a.presence.claim(signal);
  t.strictSame(a.others, [`?[2J${'x'.repeat(60)}`]);
});

t.test('a claim that waits ends with its signal', async (t) => {
  const a = present(t, new MemorySpace(), 'a');
  const stop = new AbortController();
  const claiming = t.rejects(a.presence.claim(stop.signal), { message: 'enough' });
  stop.abort(new Error('enough'));
  await claiming;
});
