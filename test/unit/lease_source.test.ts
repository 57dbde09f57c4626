import { setTimeout as sleep } from 'node:timers/promises';

import t from 'tap';

import { SelvageError } from '../../src/errors.js';
import { LeaseSource } from '../../src/lease/lease_source.js';
import { MemorySpace } from '../../src/lease/store/memory_space.js';
import { MemoryStore } from '../../src/lease/store/memory_store.js';
import { until } from '../netns/until.js';
import {
  DAY_SECONDS,
  IPV6_ONLY,
  keyOf,
  makeHost,
  putConfig,
  putLease,
  SIXTEEN,
  valueOf,
} from './lease_fixture.js';

const UNAVAILABLE = new SelvageError('ERR_STORE_UNAVAILABLE', 'test: no answer');
const DENIED = new SelvageError('ERR_STORE_DENIED', 'test: permission denied');

t.test('the first snapshot has network, own subnet, port and the others', async (t) => {
  const space = new MemorySpace();
  putConfig(space);
  putLease(space, '10.1.3.0/24', '192.0.2.3');
  const host = makeHost(t, space, { publicIp: '192.0.2.1' });
  const first = await host.open();
  t.match(first, {
    network: '10.1.0.0/16',
    port: 8285,
    peers: [{ subnet: '10.1.3.0/24', publicIp: '192.0.2.3' }],
  });
  const entry = space.get(keyOf(first.subnet!))!;
  t.equal(
    entry.value,
    '{"PublicIP":"192.0.2.1","PublicIPv6":null}',
    'the value is byte for byte as flanneld writes it',
  );
  t.ok(space.remainingSeconds(entry) > DAY_SECONDS - 60, 'it lives for a day');
  const { state } = host.source;
  t.match(state, { stale: false, leases: 1, skipped: 0, renewals: 0, duplicate: undefined });
  t.equal(state.lease?.key, entry.key);
  t.equal(state.connection.connected, true);
  t.match(host.of('acquired'), [{ how: 'new', lease: { subnets: { ipv4: first.subnet } } }]);
});

t.test('a network with IPv6 has both families in key and snapshot', async (t) => {
  const space = new MemorySpace();
  putConfig(space, '{"Network":"10.1.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:1::/48"}');
  const host = makeHost(t, space, { publicIp: '192.0.2.1', publicIpv6: '2001:DB8:0::1' });
  const first = await host.open();
  t.equal(first.ipv6Network, 'fd00:1::/48');
  const key = `${keyOf(first.subnet!)}&${first.ipv6Subnet!.replace('/', '-')}`;
  t.equal(space.get(key)?.value, '{"PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1"}');
});

t.test(
  'over an IPv6 underlay a host is known by its IPv6 address, and finds the lease that flanneld made',
  async (t) => {
    const space = new MemorySpace();
    putConfig(space);
    putLease(space, '10.1.7.0/24', '192.0.2.1');
    space.put(keyOf('10.1.3.0/24'), valueOf('192.0.2.1', '2001:db8::3'), DAY_SECONDS);
    const options = { publicIp: '192.0.2.1', publicIpv6: '2001:db8::1', underlay: 6 } as const;
    const host = makeHost(t, space, options);
    t.match(await host.open(), {
      subnet: '10.1.7.0/24',
      underlay: 6,
      peers: [{ subnet: '10.1.3.0/24', publicIp: '2001:db8::3' }],
    });
    t.equal(space.get(keyOf('10.1.7.0/24'))?.value, valueOf('192.0.2.1', '2001:db8::1'));
    t.ok(space.get('selvage/hosts/2001:db8::1'), 'presence is claimed under it');
    space.put(keyOf('10.1.7.0/24'), valueOf('192.0.2.1', '2001:db8::66'), DAY_SECONDS);
    t.match(await host.heard('lost'), { reason: 'host 192.0.2.1 2001:db8::66 has taken it' });
  },
);

t.test('in a network of IPv6 alone a lease has IPv6 alone', async (t) => {
  const space = new MemorySpace();
  putConfig(space, IPV6_ONLY);
  const [other, value] = [
    'subnets/0.0.0.0-0&fd00:1:0:3::-64',
    '{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::3"}',
  ];
  space.put(other, value, DAY_SECONDS);
  const host = makeHost(t, space, { publicIp: '192.0.2.1', publicIpv6: '2001:db8::1' });
  const first = await host.open();
  t.strictSame(first, {
    ipv6Network: 'fd00:1::/48',
    ipv6Subnet: first.ipv6Subnet,
    underlay: 6,
    port: 8285,
    peers: [{ subnet: 'fd00:1:0:3::/64', publicIp: '2001:db8::3' }],
  });
  const key = `subnets/0.0.0.0-0&${first.ipv6Subnet!.replace('/', '-')}`;
  t.equal(space.get(key)?.value, '{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::1"}');
  space.remove(key);
  t.match(await host.heard('regained'), { lease: { key } }, 'a lost one is taken again');
  space.put(key, value, DAY_SECONDS);
  t.match(await host.heard('lost', 2), { reason: 'host 2001:db8::3 has taken it' });
});

t.test('a host without an address of the underlay does not start', async (t) => {
  const rows: [config: string, options: Parameters<typeof makeHost>[2]][] = [
    [IPV6_ONLY, { publicIp: '192.0.2.1' }],
    [SIXTEEN, { publicIpv6: '2001:db8::1' }],
    [SIXTEEN, { publicIp: '192.0.2.1', underlay: 6 }],
  ];
  for (const [config, options] of rows) {
    const space = new MemorySpace();
    putConfig(space, config);
    await t.rejects(makeHost(t, space, options).open(), { code: 'ERR_PUBLIC_IP' }, JSON.stringify(options));
    t.strictSame(space.list('subnets').entries, [], 'and leaves nothing behind');
  }
});

t.test(
  'a config that changes its families while a host waits changes the address that it claims',
  async (t) => {
    const space = new MemorySpace();
    putConfig(space, IPV6_ONLY);
    space.put('selvage/hosts/2001:db8::1', '{"host":"other","name":"other"}', DAY_SECONDS);
    const host = makeHost(t, space, { publicIp: '192.0.2.1', publicIpv6: '2001:db8::1' });
    const opening = host.open();
    t.match(await host.heard('duplicatePublicIp'), { publicIp: '2001:db8::1', other: 'other' });
    putConfig(space);
    t.match(await opening, { underlay: 4, network: '10.1.0.0/16' });
    t.equal(host.source.state.duplicate, undefined);
    t.ok(space.get('selvage/hosts/192.0.2.1'));
    await host.source.close();
    t.equal(space.get('selvage/hosts/192.0.2.1'), undefined);
  },
);

t.test('twenty hosts that start at once on sixteen subnets: no two alike, the rest told why', async (t) => {
  const space = new MemorySpace();
  putConfig(space);
  const hosts = Array.from({ length: 20 }, (_, n) => makeHost(t, space, { publicIp: `192.0.2.${n + 1}` }));
  const outcomes = await Promise.allSettled(hosts.map((host) => host.open()));
  const subnets = outcomes.flatMap((outcome) =>
    outcome.status === 'fulfilled' ? [outcome.value.subnet] : [],
  );
  t.equal(new Set(subnets).size, 16);
  t.equal(subnets.length, 16);
  for (const outcome of outcomes) {
    if (outcome.status === 'fulfilled') continue;
    t.match(outcome.reason, { code: 'ERR_OUT_OF_SUBNETS', message: /all 16 subnets/ });
  }
  const holders = hosts.filter((host) => host.snapshot !== undefined);
  for (const host of holders) {
    await until('every host to route to the fifteen others', () => host.peers.size === 15);
    t.notOk(host.peers.has(host.snapshot!.subnet!));
  }
});

t.test('a lost race is run again, as often as it takes', async (t) => {
  const space = new MemorySpace();
  putConfig(space);
  const host = makeHost(t, space, { publicIp: '192.0.2.1' });
  let thief = 0;
  host.store.before = (method, key) => {
    if (method !== 'create' || !key.startsWith('subnets') || thief >= 12) return;
    thief++;
    space.put(key, valueOf(`198.51.100.${thief}`), DAY_SECONDS);
  };
  const first = await host.open();
  t.equal(thief, 12, 'every attempt before was lost');
  t.match(space.get(keyOf(first.subnet!)), { value: valueOf('192.0.2.1') });
});

t.test(
  'the lease of this public IP is taken again, with a new day and what we say of ourselves',
  async (t) => {
    const space = new MemorySpace();
    putConfig(space);
    space.put(keyOf('10.1.7.0/24'), '{"PublicIP":"192.0.2.1","BackendType":"vxlan"}', 100);
    const host = makeHost(t, space, { publicIp: '192.0.2.1', previous: { ipv4: '10.1.9.0/24' } });
    t.equal((await host.open()).subnet, '10.1.7.0/24');
    t.equal(host.of('acquired')[0]?.how, 'reused');
    const entry = space.get(keyOf('10.1.7.0/24'))!;
    t.equal(entry.value, valueOf('192.0.2.1'));
    t.ok(space.remainingSeconds(entry) > DAY_SECONDS - 60);
  },
);

t.test('the previous subnet is taken when it is free', async (t) => {
  const space = new MemorySpace();
  putConfig(space);
  const host = makeHost(t, space, { publicIp: '192.0.2.1', previous: { ipv4: '10.1.9.0/24' } });
  t.equal((await host.open()).subnet, '10.1.9.0/24');
  t.equal(host.of('acquired')[0]?.how, 'previous');
});

t.test(
  'a reservation is kept: never given a time limit, not even written when its value is right',
  async (t) => {
    const space = new MemorySpace();
    putConfig(space);
    putLease(space, '10.1.7.0/24', '192.0.2.1', 0);
    const before = space.get(keyOf('10.1.7.0/24'));
    const host = makeHost(t, space, { publicIp: '192.0.2.1' });
    t.equal((await host.open()).subnet, '10.1.7.0/24');
    t.strictSame(space.get(keyOf('10.1.7.0/24')), before);
    t.match(host.source.state.lease, { reserved: true, expiresAt: undefined });
    await host.source.close();

    space.put(keyOf('10.1.7.0/24'), '{"PublicIP": "192.0.2.1"}', 0);
    const again = makeHost(t, space, { publicIp: '192.0.2.1' });
    await again.open();
    t.match(
      space.get(keyOf('10.1.7.0/24')),
      { value: valueOf('192.0.2.1'), grant: '' },
      'another spelling is put right',
    );
  },
);

t.test('a lease of this host that the config no longer allows is given up for one that fits', async (t) => {
  const space = new MemorySpace();
  putConfig(space);
  putLease(space, '10.1.200.0/24', '192.0.2.1');
  const host = makeHost(t, space, { publicIp: '192.0.2.1' });
  await host.open();
  t.equal(space.get(keyOf('10.1.200.0/24')), undefined);
  t.match(host.of('warning'), [{ reason: /removed subnets\/10\.1\.200\.0-24/ }]);
});

t.test('a lease to be given up that somebody writes meanwhile is looked at again', async (t) => {
  const space = new MemorySpace();
  putConfig(space);
  putLease(space, '10.1.200.0/24', '192.0.2.1');
  const host = makeHost(t, space, { publicIp: '192.0.2.1' });
  host.store.before = (method, key) => {
    if (method === 'remove' && key.startsWith('subnets')) putLease(space, '10.1.200.0/24', '192.0.2.1', 0);
  };
  await host.open();
  t.match(space.get(keyOf('10.1.200.0/24')), { grant: '' }, 'an operator has just reserved it');
  t.match(host.of('warning'), [{ reason: /reservation subnets\/10\.1\.200\.0-24 .* does not fit/ }]);
});

t.test('a reservation that the config does not allow is kept, told, and not used', async (t) => {
  const space = new MemorySpace();
  putConfig(space);
  putLease(space, '10.1.200.0/24', '192.0.2.1', 0);
  const host = makeHost(t, space, { publicIp: '192.0.2.1' });
  t.not((await host.open()).subnet, '10.1.200.0/24');
  t.ok(space.get(keyOf('10.1.200.0/24')));
  t.match(host.of('warning'), [{ reason: /reservation subnets\/10\.1\.200\.0-24 .* does not fit/ }]);
  t.strictSame([...host.peers], [], 'frames to it would come back to this host');
});

t.test('of two leases that overlap and were made at once, the first stays', async (t) => {
  const space = new MemorySpace();
  putConfig(space);
  const host = makeHost(t, space, { publicIp: '192.0.2.1', previous: { ipv4: '10.1.4.0/24' } });
  let done = false;
  host.store.before = (method, key) => {
    if (done || method !== 'create' || !key.startsWith('subnets')) return;
    done = true;
    // A host with SubnetLen 22: another key, the same addresses.
    putLease(space, '10.1.4.0/22', '192.0.2.2');
  };
  const first = await host.open();
  t.notMatch(first.subnet, /^10\.1\.[4-7]\./);
  t.equal(space.get(keyOf('10.1.4.0/24')), undefined, 'the later one was taken back');
  t.equal(host.peers.get('10.1.4.0/22'), '192.0.2.2');
});

t.test('an overlap that came after ours does not move us', async (t) => {
  const space = new MemorySpace();
  putConfig(space);
  const host = makeHost(t, space, { publicIp: '192.0.2.1', previous: { ipv4: '10.1.4.0/24' } });
  host.store.after = (method, key) => {
    if (method === 'create' && key.startsWith('subnets')) putLease(space, '10.1.4.0/22', '192.0.2.2');
  };
  t.equal((await host.open()).subnet, '10.1.4.0/24');
  t.equal(host.peers.size, 0, 'and it is not routed to, as it covers our subnet');
  t.match(host.of('skipped'), [{ key: 'subnets/10.1.4.0-22', reason: /overlaps this host's own subnet/ }]);
});

t.test('config: waited for while it is absent or wrong, each reason told once', async (t) => {
  const space = new MemorySpace();
  const host = makeHost(t, space, { publicIp: '192.0.2.1' });
  const opening = host.open();
  t.match((await host.heard('waiting')).reason, /^flannel config not found in memory: write key "config"/);
  putConfig(space, '{"Network":"10.1.0.0/16","SubnetLen":31}');
  t.match((await host.heard('waiting', 2)).reason, /^SubnetLen must be less than \/31/);
  putConfig(space, '[');
  t.match((await host.heard('waiting', 3)).reason, /^not valid JSON at .*; correct key "config" in memory$/);
  putConfig(space);
  await opening;
  t.equal(host.of('waiting').length, 3);
  t.equal(host.source.config?.port, 8285);
});

t.test('config: named by the whole key where the store has a prefix', async (t) => {
  const space = new MemorySpace();
  const host = makeHost(t, space, { publicIp: '192.0.2.1' });
  Object.assign(host.store, { keyBase: '/coreos.com/network/' });
  const opening = host.open();
  const { reason } = await host.heard('waiting');
  t.match(reason, /^flannel config not found in memory: write key "\/coreos\.com\/network\/config", /);
  putConfig(space, '[');
  t.match(
    (await host.heard('waiting', 2)).reason,
    /; correct key "\/coreos\.com\/network\/config" in memory$/,
  );
  putConfig(space);
  await opening;
});

t.test('another backend ends the opening, and nothing is left behind', async (t) => {
  const space = new MemorySpace();
  putConfig(space, '{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan"}}');
  const host = makeHost(t, space, { publicIp: '192.0.2.1' });
  await t.rejects(host.open(), { code: 'ERR_BACKEND_TYPE' });
  t.strictSame(space.list('selvage').entries, []);
  await t.rejects(host.open(), { code: 'ERR_CLOSED' }, 'a source is opened once');
});

t.test('a store that is away or refuses at the start is waited for', async (t) => {
  for (const fault of [UNAVAILABLE, DENIED]) {
    const space = new MemorySpace();
    putConfig(space);
    // No wait between attempts: this is about going on, not about the time it takes.
    const host = makeHost(t, space, { publicIp: '192.0.2.1', random: () => 0 });
    let faults = 5;
    host.store.before = (method) => {
      if (method === 'get' && faults-- > 0) throw fault;
    };
    await host.open();
    t.match(host.of('waiting'), [{ reason: fault.message }], 'told once');
    t.match(host.of('connection'), [{ connection: { connected: true } }]);
  }
});

t.test('close ends an opening that waits, and nothing is heard after it', async (t) => {
  const space = new MemorySpace();
  const host = makeHost(t, space, { publicIp: '192.0.2.1' });
  const opening = t.rejects(host.open(), { code: 'ERR_CLOSED' });
  await host.heard('waiting');
  await host.source.close();
  await opening;
  const heard = host.order.length;
  putConfig(space);
  await sleep(1500); // longer than the wait for a config
  t.equal(host.order.length, heard);
  t.strictSame(space.list('subnets').entries, []);
});

t.test('close keeps the lease and takes back the presence; later changes are not heard', async (t) => {
  const space = new MemorySpace();
  putConfig(space);
  const host = makeHost(t, space, { publicIp: '192.0.2.1', host: { id: 'a', name: 'alpha' } });
  const { subnet } = await host.open();
  t.match(JSON.parse(space.get('selvage/hosts/192.0.2.1')!.value), { host: 'a', name: 'alpha' });
  await host.source.close();
  await host.source.close();
  t.ok(space.get(keyOf(subnet!)));
  t.equal(space.get('selvage/hosts/192.0.2.1'), undefined);
  const heard = host.order.length;
  putLease(space, '10.1.14.0/24', '192.0.2.9');
  space.remove(keyOf(subnet!));
  await sleep(300);
  t.equal(host.order.length, heard);
});

t.test('close leaves no timer behind, whatever the source was at', async (t) => {
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const before = timers();
  const space = new MemorySpace();
  putConfig(space);
  const path = `${t.testdir()}/routes.json`;
  const follows = makeHost(t, space, { publicIp: '192.0.2.1', snapshotFile: path });
  const away = makeHost(t, space, { publicIp: '192.0.2.2' });
  const waits = makeHost(t, space, { publicIp: '192.0.2.1' });
  const { subnet } = await follows.open();
  await away.open();
  const waiting = t.rejects(waits.open(), { code: 'ERR_CLOSED' });
  away.store.disconnect();
  space.remove(keyOf(subnet!));
  await waits.heard('waiting');
  await away.heard('connection', 2);
  t.ok(timers() > before);
  await Promise.all([follows, away, waits].map(({ source }) => source.close()));
  await waiting;
  t.equal(timers(), before);
});

t.test('close waits no longer than a second for a store that is away', async (t) => {
  const space = new MemorySpace();
  putConfig(space);
  const host = makeHost(t, space, { publicIp: '192.0.2.1' });
  await host.open();
  host.store.disconnect();
  await host.source.close();
  t.ok(space.get('selvage/hosts/192.0.2.1'), 'it runs out by itself');
});

t.test('two hosts with one public IP: the second waits until the first is gone', async (t) => {
  const space = new MemorySpace();
  putConfig(space);
  const first = makeHost(t, space, { publicIp: '192.0.2.1', host: { id: 'a', name: 'alpha' } });
  const second = makeHost(t, space, { publicIp: '192.0.2.1', host: { id: 'b', name: 'beta' } });
  const { subnet } = await first.open();
  const opening = second.open();
  const told = await second.heard('duplicatePublicIp');
  t.match(told, { publicIp: '192.0.2.1', other: 'alpha' });
  t.equal(second.source.state.duplicate, 'alpha');
  t.match(await second.heard('waiting'), { reason: /host alpha is present/ });
  t.equal(space.list('subnets').entries.length, 1);
  await first.source.close();
  t.equal((await opening).subnet, subnet, 'then it has its lease, as flanneld would');
  t.equal(second.of('duplicatePublicIp').length, 1, 'told once');
  t.equal(second.source.state.duplicate, undefined);
});

t.test('a host that was killed takes its own presence over at once', async (t) => {
  const space = new MemorySpace();
  putConfig(space);
  space.put('selvage/hosts/192.0.2.1', '{"host":"a","name":"alpha","since":"2020-01-01T00:00:00Z"}', 60);
  const host = makeHost(t, space, { publicIp: '192.0.2.1', host: { id: 'a', name: 'alpha' } });
  await host.open();
  t.strictSame(host.of('duplicatePublicIp'), []);
  t.notMatch(space.get('selvage/hosts/192.0.2.1')!.value, /2020/);
});

t.test('a presence that names no host is taken over', async (t) => {
  for (const value of ['', '{', 'null', '{"host":7}', '{"host":""}']) {
    const space = new MemorySpace();
    putConfig(space);
    space.put('selvage/hosts/192.0.2.1', value, 0);
    const host = makeHost(t, space, { publicIp: '192.0.2.1' });
    await host.open();
    t.match(space.get('selvage/hosts/192.0.2.1')!.value, /"host":"id-/, value);
  }
});

t.test('a store that refuses the presence is a warning, and stops nothing', async (t) => {
  const space = new MemorySpace();
  putConfig(space);
  const host = makeHost(t, space, { publicIp: '192.0.2.1' });
  host.store.before = (_, key) => {
    if (key.startsWith('selvage/')) throw DENIED;
  };
  await host.open();
  t.match(host.of('warning'), [{ reason: /^cannot write selvage\/hosts\/192\.0\.2\.1.*permission denied$/ }]);
});

t.test('options out of range are refused', (t) => {
  const store = new MemoryStore();
  const host = { id: 'a', name: 'a' };
  const rows = [
    { publicIp: '10.1' },
    { publicIp: '224.0.0.1' },
    { publicIp: '127.0.0.1' },
    { publicIp: '2001:db8::1' },
    { publicIpv6: 'fe80::1' },
    { publicIpv6: '::1' },
    {},
    { publicIp: '192.0.2.1', publicIpv6: '192.0.2.1' },
    { publicIp: '192.0.2.1', renewMarginSeconds: 0 },
    { publicIp: '192.0.2.1', renewMarginSeconds: 86_341 },
    { publicIp: '192.0.2.1', renewMarginSeconds: NaN },
    { publicIp: '192.0.2.1', resyncSeconds: 0 },
  ];
  for (const row of rows) {
    t.throws(() => new LeaseSource({ store, host, ...row }), { code: 'ERR_OPTION' }, JSON.stringify(row));
  }
  t.end();
});

t.test('ten thousand leases: one list, all routed', async (t) => {
  const space = new MemorySpace();
  putConfig(space, SIXTEEN.replace('10.1.0.0/16', '10.0.0.0/8').replace('10.1.15.0', '10.255.0.0'));
  for (let n = 0; n < 10_000; n++) {
    putLease(space, `10.${100 + (n >> 8)}.${n & 255}.0/24`, `172.16.${n >> 8}.${n & 255}`);
  }
  const host = makeHost(t, space, { publicIp: '192.0.2.1' });
  t.equal((await host.open()).peers.length, 10_000);
  t.equal(
    host.store.calls.filter(({ method }) => method === 'list').length,
    2,
    'and one more after the create',
  );
});
