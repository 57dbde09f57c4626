import { setTimeout as sleep } from 'node:timers/promises';

import t, { type Test } from 'tap';

import { SelvageError } from '../../src/errors.js';
import type { StoreEvent } from '../../src/lease/store/lease_store.js';
import { MemorySpace } from '../../src/lease/store/memory_space.js';
import { parseIpv4Prefix } from '../../src/ipv4_prefix.js';
import { PeerTable } from '../../src/lease/peer_table.js';
import { until } from '../netns/until.js';
import { DAY_SECONDS, type Host, keyOf, makeHost, putConfig, putLease, valueOf } from './lease_fixture.js';

const IP = '192.0.2.1';
const OWN_SUBNET = '10.1.5.0/24';

async function following(
  t: Test,
  options: Partial<Parameters<typeof makeHost>[2]> = {},
): Promise<{ space: MemorySpace; host: Host }> {
  const space = new MemorySpace();
  putConfig(space);
  putLease(space, '10.1.14.0/24', '192.0.2.14');
  const previous = { ipv4: OWN_SUBNET };
  const host = makeHost(t, space, { publicIp: IP, previous, ...options });
  await host.open();
  return { space, host };
}

t.test('a lease that comes, changes its public IP and goes changes one route each time', async (t) => {
  const { space, host } = await following(t);
  putLease(space, '10.1.8.0/24', '192.0.2.8');
  await host.routes('10.1.8.0/24', '192.0.2.8');
  putLease(space, '10.1.8.0/24', '192.0.2.88');
  await host.routes('10.1.8.0/24', '192.0.2.88');
  space.remove(keyOf('10.1.8.0/24'));
  await host.routes('10.1.8.0/24', undefined);
  t.strictSame(host.calls, [
    [{ kind: 'set', peer: { subnet: '10.1.8.0/24', publicIp: '192.0.2.8' } }],
    [{ kind: 'set', peer: { subnet: '10.1.8.0/24', publicIp: '192.0.2.88' } }],
    [{ kind: 'delete', subnet: '10.1.8.0/24' }],
  ]);
});

t.test('a renewal of another host changes nothing', async (t) => {
  const { space, host } = await following(t);
  putLease(space, '10.1.14.0/24', '192.0.2.14');
  await until('it to be seen', () => host.source.state.revision === space.revision);
  t.strictSame(host.calls, []);
});

t.test('what is not routed to: each told once, and counted', async (t) => {
  const rows: [key: string, value: string, reason: RegExp][] = [
    ['subnets/10.1.8.0', valueOf('192.0.2.8'), /names no subnet/],
    ['subnets/10.1.8.1-24', valueOf('192.0.2.8'), /names no subnet/],
    ['subnetsx', valueOf('192.0.2.8'), /names no subnet/],
    [keyOf('10.1.8.0/24'), 'garbage', /./],
    [keyOf('10.1.8.0/24'), '{"PublicIPv6":null}', /PublicIP is missing/],
    [keyOf('10.1.8.0/24'), valueOf('224.0.0.1'), /no address at which others reach a host/],
    [
      keyOf('10.1.8.0/24'),
      '{"PublicIP":"192.0.2.8","BackendType":"VXLAN"}',
      /its backend is "vxlan", not udp/,
    ],
    [keyOf('10.2.8.0/24'), valueOf('192.0.2.8'), /outside the network 10\.1\.0\.0\/16/],
    [keyOf('10.1.8.0/24'), valueOf(IP), /own public IP 192\.0\.2\.1/],
    [keyOf('10.1.4.0/22'), valueOf('192.0.2.8'), /overlaps this host's own subnet 10\.1\.5\.0\/24/],
    [`${keyOf('10.1.5.0/24')}&fd00:1::-64`, valueOf('192.0.2.8'), /overlaps this host's own subnet/],
    [
      `${keyOf('10.1.14.0/24')}&fd00:1::-64`,
      valueOf('192.0.2.8'),
      /^subnets\/10\.1\.14\.0-24 has the same subnet/,
    ],
  ];
  const { space, host } = await following(t);
  for (const [key, value, reason] of rows) {
    const before = host.of('skipped').length;
    space.put(key, value, DAY_SECONDS);
    t.match(await host.heard('skipped', before + 1), { key, reason }, `${key} ${value}`);
    space.put(key, value, DAY_SECONDS);
    await until('it to be seen', () => host.source.state.revision === space.revision);
    t.equal(host.of('skipped').length, before + 1, 'told once');
    t.strictSame([...host.peers], [['10.1.14.0/24', '192.0.2.14']], 'and the others stay');
    space.remove(key);
  }
});

t.test('a lease that becomes bad loses its route, and gets it back', async (t) => {
  const { space, host } = await following(t);
  space.put(keyOf('10.1.14.0/24'), '{}', DAY_SECONDS);
  await host.routes('10.1.14.0/24', undefined);
  t.equal(host.of('skipped').length, 1);
  t.match(host.source.state, { skipped: 1, leases: 0 });
  putLease(space, '10.1.14.0/24', '192.0.2.14');
  await host.routes('10.1.14.0/24', '192.0.2.14');
  t.match(host.source.state, { skipped: 0, leases: 1 });
});

t.test('backend type udp, in any case, is routed to', async (t) => {
  const { space, host } = await following(t);
  space.put(keyOf('10.1.8.0/24'), '{"PublicIP":"192.0.2.8","BackendType":"UDP"}', DAY_SECONDS);
  await host.routes('10.1.8.0/24', '192.0.2.8');
});

t.test('a lease inside another one is routed to as well; one that overlaps ours is not', async (t) => {
  const { space, host } = await following(t);
  putLease(space, '10.1.14.128/25', '192.0.2.15');
  putLease(space, '10.1.5.128/25', '192.0.2.16');
  await host.routes('10.1.14.128/25', '192.0.2.15');
  t.match(await host.heard('skipped'), { reason: "it overlaps this host's own subnet 10.1.5.0/24" });
  t.notOk(host.peers.has('10.1.5.128/25'));
});

t.test('of two keys with one subnet the older has it, and the other after it', async (t) => {
  const { space, host } = await following(t);
  space.put(`${keyOf('10.1.14.0/24')}&fd00:1::-64`, valueOf('192.0.2.8'), DAY_SECONDS);
  await host.heard('skipped');
  space.remove(keyOf('10.1.14.0/24'));
  await host.routes('10.1.14.0/24', '192.0.2.8');
});

t.test('an outage loses no event, and no route goes away in it', async (t) => {
  const { space, host } = await following(t);
  host.store.disconnect();
  const { connection } = await host.heard('connection', 2);
  t.match(connection, { connected: false, reason: /disconnected/ });
  t.equal(host.source.state.connection.since, connection.since);
  putLease(space, '10.1.8.0/24', '192.0.2.8');
  space.remove(keyOf('10.1.14.0/24'));
  await sleep(300);
  t.strictSame([...host.peers], [['10.1.14.0/24', '192.0.2.14']]);
  t.ok(host.source.state.syncedAt!.getTime() <= connection.since.getTime(), 'as of then');
  host.store.reconnect();
  await host.routes('10.1.8.0/24', '192.0.2.8');
  await host.routes('10.1.14.0/24', undefined);
  t.match((await host.heard('connection', 3)).connection, { connected: true, reason: undefined });
  t.equal(host.source.state.disconnects, 1);
  t.equal(host.of('relisted').length, 0, 'it went on from its cursor');
});

t.test('a store that is away is asked at most a few times a second, and less and less', async (t) => {
  const { host } = await following(t, { random: () => 0.99 });
  host.store.disconnect();
  await host.heard('connection', 2);
  const before = host.store.calls.length;
  await sleep(1500);
  t.ok(host.store.calls.length - before <= 5, 'after 99, 198, 396, 792 ms');
  t.equal(host.of('connection').length, 2, 'told on change only');
});

t.test(
  'a watch cut again during the replay resumes where it was, with nothing lost or told twice',
  async (t) => {
    const { space, host } = await following(t, { random: () => 0 });
    host.store.disconnect();
    await host.heard('connection', 2);
    for (let n = 6; n < 14; n++) putLease(space, `10.1.${n}.0/24`, `192.0.2.${n}`);
    // Each of the next watches delivers two events and is cut.
    const { watch } = host.store;
    let cuts = 0;
    host.store.watch = (prefix, after, listener, signal) => {
      const cut = new AbortController();
      let left = 2;
      return watch(
        prefix,
        after,
        {
          onOpen: () => listener.onOpen(),
          onBatch: (events, revision) => {
            if (cuts < 3 && left-- <= 0) {
              cuts++;
              cut.abort(new SelvageError('ERR_STORE_UNAVAILABLE', 'test: cut'));
              left = Infinity;
            }
            if (!cut.signal.aborted) listener.onBatch(events, revision);
          },
        },
        AbortSignal.any([signal, cut.signal]),
      );
    };
    host.store.reconnect();
    await host.routes('10.1.13.0/24', '192.0.2.13');
    t.equal(cuts, 3);
    t.strictSame(
      host.calls.flat().map((change) => change.kind === 'set' && change.peer.subnet),
      [6, 7, 8, 9, 10, 11, 12, 13].map((n) => `10.1.${n}.0/24`),
    );
  },
);

t.test('after compaction everything is listed, and what differs is told as one snapshot', async (t) => {
  const { space, host } = await following(t);
  host.store.disconnect();
  await host.heard('connection', 2);
  putLease(space, '10.1.14.0/24', '192.0.2.144');
  putLease(space, '10.1.8.0/24', '192.0.2.8');
  space.compact(space.revision);
  host.store.reconnect();
  await host.routes('10.1.14.0/24', '192.0.2.144');
  t.equal(host.peers.get('10.1.8.0/24'), '192.0.2.8');
  t.match(host.calls, [[{ kind: 'snapshot', snapshot: { subnet: OWN_SUBNET } }]]);
  t.match(host.of('relisted'), [{ leases: 3, reason: /gone/ }]);
  t.equal(host.source.state.relists, 1);
  putLease(space, '10.1.9.0/24', '192.0.2.9');
  await host.routes('10.1.9.0/24', '192.0.2.9');
});

t.test('after compaction with nothing changed no route is told', async (t) => {
  const { space, host } = await following(t);
  host.store.disconnect();
  await host.heard('connection', 2);
  putLease(space, '10.1.8.0/24', '192.0.2.8');
  space.remove(keyOf('10.1.8.0/24'));
  space.compact(space.revision);
  host.store.reconnect();
  await host.heard('relisted');
  await host.heard('connection', 3);
  t.strictSame(host.calls, []);
});

t.test('a full list now and then puts right what a watch missed', async (t) => {
  const { space, host } = await following(t, { resyncSeconds: 1 });
  const { watch } = host.store;
  host.store.watch = (prefix, after, listener, signal) =>
    watch(prefix, after, { onOpen: () => listener.onOpen(), onBatch: () => {} }, signal);
  await until('a watch that is deaf', () => host.source.state.relists > 0);
  t.strictSame(host.of('relisted'), [], 'not told, as nothing differed');
  putLease(space, '10.1.8.0/24', '192.0.2.8');
  space.remove(keyOf(OWN_SUBNET));
  await host.routes('10.1.8.0/24', '192.0.2.8');
  t.match(host.of('relisted'), [{ reason: /differed/ }]);
  t.equal((await host.heard('regained')).lease.key, keyOf(OWN_SUBNET), 'our own lease included');
  t.equal(host.source.state.disconnects, 0);
});

t.test('batches that come late or twice are not applied', async (t) => {
  const { space, host } = await following(t);
  const { watch } = host.store;
  let inject: (events: readonly StoreEvent[], revision: bigint) => void = () => {};
  host.store.watch = (prefix, after, listener, signal) => {
    inject = (events, revision) => listener.onBatch(events, revision);
    return watch(prefix, after, listener, signal);
  };
  host.store.disconnect();
  await host.heard('connection', 2);
  host.store.reconnect();
  await host.heard('connection', 3);
  putLease(space, '10.1.8.0/24', '192.0.2.8');
  const old = space.get(keyOf('10.1.8.0/24'))!;
  putLease(space, '10.1.8.0/24', '192.0.2.88');
  await host.routes('10.1.8.0/24', '192.0.2.88');
  inject([{ kind: 'put', entry: old }], old.revision);
  inject([{ kind: 'delete', key: old.key, revision: old.revision }], old.revision);
  t.equal(host.peers.get('10.1.8.0/24'), '192.0.2.88');
  t.equal(host.source.state.revision, space.revision, 'and the cursor does not go back');
});

t.test('a batch with several changes is one call, with one change for each subnet', async (t) => {
  const { host } = await following(t);
  const { watch } = host.store;
  host.store.watch = (prefix, after, listener, signal) => {
    const entry = (subnet: string, publicIp: string, revision: bigint) =>
      ({ key: keyOf(subnet), value: valueOf(publicIp), createdAt: revision, revision, grant: 'x' }) as const;
    setTimeout(() => {
      listener.onBatch(
        [
          { kind: 'put', entry: entry('10.1.8.0/24', '192.0.2.8', 101n) },
          { kind: 'put', entry: entry('10.1.9.0/24', '192.0.2.9', 101n) },
          { kind: 'delete', key: keyOf('10.1.8.0/24'), revision: 102n },
          { kind: 'put', entry: entry('10.1.9.0/24', '192.0.2.99', 103n) },
          { kind: 'delete', key: keyOf('10.1.14.0/24'), revision: 103n },
        ],
        103n,
      );
    }, 10);
    return watch(prefix, after, { onOpen: () => listener.onOpen(), onBatch: () => {} }, signal);
  };
  host.store.disconnect();
  await host.heard('connection', 2);
  host.store.reconnect();
  await host.routes('10.1.14.0/24', undefined);
  t.strictSame(host.calls, [
    [
      { kind: 'set', peer: { subnet: '10.1.9.0/24', publicIp: '192.0.2.99' } },
      { kind: 'delete', subnet: '10.1.14.0/24' },
    ],
  ]);
});

t.test('a refusal is told with its reason, and the source goes on', async (t) => {
  const { space, host } = await following(t, { random: () => 0 });
  host.store.disconnect();
  await host.heard('connection', 2);
  host.store.before = (method) => {
    if (method === 'watch') throw new SelvageError('ERR_STORE_DENIED', 'test: token is gone');
  };
  await until('the refusal', () => host.source.state.connection.reason === 'test: token is gone');
  host.store.reconnect();
  t.match(host.source.state.connection, { connected: false, reason: 'test: token is gone' });
  host.store.before = () => {};
  putLease(space, '10.1.8.0/24', '192.0.2.8');
  await host.routes('10.1.8.0/24', '192.0.2.8');
  t.match(
    host.of('connection').map(({ connection }) => connection.connected),
    [true, false, false, true],
    'away, then refused',
  );
});

t.test('a listener that throws is not the store being away, and is told everything again', async (t) => {
  for (const when of ['live', 'replayed', 'listed'] as const) {
    const { space, host } = await following(t, { random: () => 0 });
    const onChanges = host.onChanges.bind(host);
    let failures = 1;
    host.onChanges = (changes) => {
      if (failures-- > 0) throw new Error('test: boom');
      onChanges(changes);
    };
    if (when !== 'live') {
      host.store.disconnect();
      await host.heard('connection', 2);
    }
    putLease(space, '10.1.8.0/24', '192.0.2.8');
    if (when === 'listed') space.compact(space.revision);
    host.store.reconnect();
    await host.routes('10.1.8.0/24', '192.0.2.8');
    t.match(host.calls, [[{ kind: 'snapshot' }]], `${when}: all of them`);
    t.match(host.of('relisted').at(-1), { reason: 'a listener of the routes failed: test: boom' });
    putLease(space, '10.1.9.0/24', '192.0.2.9');
    await host.routes('10.1.9.0/24', '192.0.2.9');
    t.strictSame(
      host.of('connection').map(({ connection }) => connection.connected),
      when === 'live' ? [true] : [true, false, true],
      `${when}: away as often as the store was`,
    );
  }
});

t.test('a listener that throws at the news of an outage does not end the following', async (t) => {
  const { space, host } = await following(t, { random: () => 0 });
  const onLeaseEvent = host.onLeaseEvent.bind(host);
  host.onLeaseEvent = (event) => {
    onLeaseEvent(event);
    if (event.kind === 'connection') throw new Error('test: boom');
  };
  host.store.disconnect();
  await host.heard('connection', 2);
  putLease(space, '10.1.8.0/24', '192.0.2.8');
  host.store.reconnect();
  await host.routes('10.1.8.0/24', '192.0.2.8');
});

t.test('faults that were told are forgotten in the end: memory is bounded', (t) => {
  let told = 0;
  const view = {
    networks: [parseIpv4Prefix('10.1.0.0/16')],
    host: { underlay: 4, address: IP, value: { publicIp: IP, backendType: '' } } as const,
    ownKey: keyOf(OWN_SUBNET),
    ownSubnets: { ipv4: OWN_SUBNET },
  };
  const table = new PeerTable(view, () => told++);
  const put = (n: number): void => {
    const key = `subnets/bad-${n}`;
    const entry = { key, value: '', createdAt: 1n, revision: 1n, grant: '' };
    table.apply([
      { kind: 'put', entry },
      { kind: 'delete', key, revision: 2n },
    ]);
  };
  for (let n = 0; n < 3_000; n++) put(n);
  t.equal(told, 3_000);
  put(2_999);
  t.equal(told, 3_000, 'a recent one is remembered');
  put(0);
  t.equal(told, 3_001, 'one of long ago is not');
  t.equal(table.leases + table.skipped, 0);
  t.end();
});
