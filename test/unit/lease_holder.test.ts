import { setTimeout as sleep } from 'node:timers/promises';

import t, { type Test } from 'tap';

import { SelvageError } from '../../src/errors.js';
import { MemorySpace } from '../../src/lease/store/memory_space.js';
import { until } from '../netns/until.js';
import { DAY_SECONDS, type Host, keyOf, makeHost, putConfig, putLease, valueOf } from './lease_fixture.js';

const SUBNET = '10.1.5.0/24';
const KEY = keyOf(SUBNET);
const IP = '192.0.2.1';
const UNAVAILABLE = new SelvageError('ERR_STORE_UNAVAILABLE', 'test: no answer');

/** A host that holds 10.1.5.0/24, with a peer. */
async function holding(
  t: Test,
  options: Partial<Parameters<typeof makeHost>[2]> = {},
): Promise<{ space: MemorySpace; host: Host }> {
  const space = new MemorySpace();
  putConfig(space);
  putLease(space, '10.1.14.0/24', '192.0.2.14');
  const host = makeHost(t, space, { publicIp: IP, previous: { ipv4: SUBNET }, ...options });
  await host.open();
  return { space, host };
}

/** Waits until the host has seen everything in the space. */
async function caughtUp(space: MemorySpace, host: Host): Promise<void> {
  await until('the host to have seen the last revision', () => host.source.state.revision === space.revision);
}

t.test('a lease that was deleted is made again: lost, then regained', async (t) => {
  const { space, host } = await holding(t);
  space.remove(KEY);
  const { lease } = await host.heard('regained');
  t.equal(lease.subnets.ipv4, SUBNET);
  t.match(host.of('lost'), [{ reason: /deleted/, lease: { key: KEY } }]);
  t.strictSame(host.order.slice(-2), ['lost', 'regained']);
  t.match(space.get(KEY), { value: valueOf(IP) });
  t.equal(host.calls.length, 0, 'routes did not change');
  t.equal(host.source.state.lease?.key, KEY);
});

t.test('between loss and regaining the state has no lease', async (t) => {
  const { space, host } = await holding(t);
  host.store.before = (method, key) => {
    if (method === 'create' && key === KEY) throw UNAVAILABLE;
  };
  space.remove(KEY);
  await host.heard('lost');
  t.equal(host.source.state.lease, undefined);
  await host.heard('waiting');
  host.store.before = () => {};
  await host.heard('regained');
});

t.test('a lease that expires is lost as well', async (t) => {
  // The margin leaves nothing to renew before the end comes, and the store refuses the renewals anyhow.
  const { space, host } = await holding(t);
  host.store.before = (method) => {
    if (method === 'replace') throw UNAVAILABLE;
  };
  putLease(space, SUBNET, IP, 1);
  await host.heard('regained');
  t.match(host.of('renewalFailed'), [{ reason: 'test: no answer' }], 'a series of failures is told once');
});

t.test('with exitOnLeaseLoss the source ends, as flanneld does', async (t) => {
  const { space, host } = await holding(t, { exitOnLeaseLoss: true });
  space.remove(KEY);
  await until('the end', () => host.ended !== undefined);
  t.match(host.ended, { code: 'ERR_LEASE_LOST', message: /10\.1\.5\.0\/24 was lost/ });
  t.strictSame(host.order.slice(-2), ['lost', 'end']);
  await sleep(300);
  t.equal(space.get(KEY), undefined, 'and does not come back');
});

t.test('a lease taken by another host is left to it, and this one moves', async (t) => {
  const { space, host } = await holding(t);
  space.remove(KEY);
  putLease(space, SUBNET, '192.0.2.66');
  const { from, to } = await host.heard('moved');
  t.equal(from.key, KEY);
  t.not(to.key, KEY);
  t.match(host.snapshot, { subnet: to.subnets.ipv4, network: '10.1.0.0/16' });
  await host.routes(SUBNET, '192.0.2.66');
  t.equal(host.peers.get('10.1.14.0/24'), '192.0.2.14');
  t.notOk(host.peers.has(to.subnets.ipv4!), 'the new subnet is kept apart');
  t.strictSame(host.order.slice(2), ['lost', 'moved', 'changes'], 'after connection and acquired');
  t.equal(space.get(KEY)?.value, valueOf('192.0.2.66'));
  t.equal(host.source.state.lease?.key, to.key);
});

t.test('a public IP written into our lease means the same', async (t) => {
  const { space, host } = await holding(t);
  putLease(space, SUBNET, '192.0.2.66');
  await host.heard('moved');
  t.match(host.of('lost'), [{ reason: 'host 192.0.2.66 has taken it' }]);
  await host.routes(SUBNET, '192.0.2.66');
});

t.test('after a move the new lease is held like the first', async (t) => {
  const { space, host } = await holding(t);
  putLease(space, SUBNET, '192.0.2.66');
  const { to } = await host.heard('moved');
  space.remove(to.key);
  t.equal((await host.heard('regained')).lease.key, to.key);
  space.remove(KEY);
  await host.routes(SUBNET, undefined);
});

t.test('a host without a subnet after a loss waits for one', async (t) => {
  const { space, host } = await holding(t);
  for (let n = 0; n < 16; n++) if (n !== 5) putLease(space, `10.1.${n}.0/24`, `192.0.2.${n + 30}`);
  putLease(space, SUBNET, '192.0.2.66');
  t.match(await host.heard('waiting'), { reason: /^out of subnets: all 16 subnets/ });
  t.equal(host.ended, undefined);
  space.remove(keyOf('10.1.8.0/24'));
  t.equal((await host.heard('moved')).to.key, keyOf('10.1.8.0/24'));
});

t.test('a storm of deletions is answered with back-off', async (t) => {
  const { space, host } = await holding(t, { random: () => 0.99 });
  host.store.after = (method, key) => {
    if (method === 'create' && key === KEY) space.remove(KEY);
  };
  space.remove(KEY);
  await host.heard('regained', 3);
  await sleep(1000);
  const times = host.of('lost').length;
  t.ok(times >= 3 && times < 8, `lost ${times} times: 99, 198, 396, 792, 1584 ms apart`);
  host.store.after = () => {};
});

t.test('an operator makes the lease a reservation and takes that back', async (t) => {
  const { space, host } = await holding(t);
  putLease(space, SUBNET, IP, 0);
  t.match(await host.heard('adopted'), {
    reason: 'an operator reserved it',
    lease: { reserved: true, expiresAt: undefined },
  });
  await caughtUp(space, host);
  t.equal(space.get(KEY)?.grant, '', 'it gets no time limit');
  putLease(space, SUBNET, IP, 1000);
  t.match(await host.heard('adopted', 2), { reason: 'an operator ended its reservation' });
  await host.heard('renewed');
  t.ok(
    space.remainingSeconds(space.get(KEY)!) > DAY_SECONDS - 60,
    'renewed, as less than the margin was left',
  );
  t.strictSame(host.of('duplicatePublicIp'), []);
  t.strictSame(host.of('lost'), []);
});

t.test('a reservation that is deleted is made again, with a time limit', async (t) => {
  const { space, host } = await holding(t);
  putLease(space, SUBNET, IP, 0);
  await host.heard('adopted');
  space.remove(KEY);
  t.match(await host.heard('regained'), { lease: { reserved: false } });
});

t.test('a lease is renewed when its margin is reached: a write with a new day', async (t) => {
  const { space, host } = await holding(t);
  putLease(space, SUBNET, IP, 3_601);
  const { revision } = space.get(KEY)!;
  const { lease } = await host.heard('renewed');
  t.ok(space.get(KEY)!.revision > revision);
  t.ok(space.remainingSeconds(space.get(KEY)!) > DAY_SECONDS - 60);
  t.ok(lease.expiresAt!.getTime() - Date.now() > (DAY_SECONDS - 60) * 1000);
  t.equal(host.source.state.renewals, 1);
});

t.test('a host without presence that renews our lease is told once, and not fought', async (t) => {
  const { space, host } = await holding(t);
  putLease(space, SUBNET, IP);
  t.match(await host.heard('duplicatePublicIp'), { publicIp: IP, other: /such as flanneld/ });
  t.match(host.source.state.duplicate, /such as flanneld/);
  const { revision } = space.get(KEY)!;
  putLease(space, SUBNET, IP);
  await caughtUp(space, host);
  await sleep(300);
  t.equal(space.get(KEY)!.revision, revision + 1n, 'what it wrote stands');
  t.equal(host.of('duplicatePublicIp').length, 1);
  t.strictSame(host.of('lost'), []);
});

t.test('a renewal that finds the lease as it was says that the other host has gone', async (t) => {
  const { space, host } = await holding(t);
  putLease(space, SUBNET, IP, 3_601);
  await host.heard('duplicatePublicIp');
  await host.heard('renewed');
  t.equal(host.source.state.duplicate, undefined);
  putLease(space, SUBNET, IP);
  await host.heard('duplicatePublicIp', 2);
});

t.test("a renewal whose answer was lost is ours, not another host's", async (t) => {
  const { space, host } = await holding(t, { random: () => 0 });
  putLease(space, SUBNET, IP, 0);
  await host.heard('adopted');
  let lost = 0;
  host.store.after = (method, key) => {
    if (method !== 'replace' || key !== KEY || lost > 0) return;
    lost++;
    throw UNAVAILABLE;
  };
  putLease(space, SUBNET, IP, 1000);
  await host.heard('renewed');
  t.equal(lost, 1);
  await caughtUp(space, host);
  t.strictSame(host.of('duplicatePublicIp'), []);
});

t.test('a lost compare-and-swap of a renewal is settled by reading', async (t) => {
  const { space, host } = await holding(t);
  putLease(space, SUBNET, IP, 0);
  await host.heard('adopted');
  let done = false;
  host.store.before = (method, key) => {
    if (method !== 'replace' || key !== KEY || done) return;
    done = true;
    putLease(space, SUBNET, '192.0.2.66');
  };
  putLease(space, SUBNET, IP, 1000);
  await host.heard('moved');
  t.equal(space.get(KEY)?.value, valueOf('192.0.2.66'), 'the other host keeps it');
});

t.test('a value that others cannot read is put right', async (t) => {
  const { space, host } = await holding(t);
  for (const value of ['garbage', `{"PublicIP":"${IP}","BackendType":"vxlan"}`]) {
    const before = host.of('adopted').length;
    space.put(KEY, value, DAY_SECONDS);
    await host.heard('adopted', before + 1);
    t.equal(space.get(KEY)?.value, valueOf(IP), value);
  }
  space.put(KEY, '{"PublicIP": "192.0.2.1"}', 0);
  await host.heard('adopted', 3);
  t.match(space.get(KEY), { value: valueOf(IP), grant: '' }, 'of a reservation without a time limit');
  t.strictSame(host.of('lost'), []);
});

t.test('rubbish without a time limit makes no reservation', async (t) => {
  const { space, host } = await holding(t);
  space.put(KEY, 'garbage', 0);
  await host.heard('adopted');
  t.not(space.get(KEY)?.grant, '', 'it ends again, unless it is renewed');
  t.match(host.source.state.lease, { reserved: false });
});

t.test('a lease deleted while the store is away is noticed when it is back', async (t) => {
  for (const compact of [false, true]) {
    const { space, host } = await holding(t);
    host.store.disconnect();
    await host.heard('connection', 2);
    space.remove(KEY);
    putLease(space, '10.1.13.0/24', '192.0.2.13');
    if (compact) space.compact(space.revision);
    await sleep(50);
    t.strictSame(host.of('lost'), [], 'being away is not a loss');
    host.store.reconnect();
    t.equal((await host.heard('regained')).lease.key, KEY);
    await host.routes('10.1.13.0/24', '192.0.2.13');
    t.equal(host.of('relisted').length, compact ? 1 : 0);
  }
});

t.test('a renewal that waits for the store is done when it is back', async (t) => {
  const { space, host } = await holding(t, { random: () => 0.999 });
  putLease(space, SUBNET, IP, 0);
  await host.heard('adopted');
  let away = true;
  host.store.before = (method) => {
    if (method === 'replace' && away) throw UNAVAILABLE;
  };
  putLease(space, SUBNET, IP, 1000);
  await host.heard('renewalFailed');
  host.store.disconnect();
  await host.heard('connection', 2);
  away = false;
  host.store.reconnect();
  await host.heard('renewed');
});

t.test('our own writes are no news, whichever comes first, the event or the answer', async (t) => {
  const { space, host } = await holding(t);
  host.store.after = async (method) => {
    if (method === 'replace') await sleep(100);
  };
  putLease(space, SUBNET, IP, 0);
  await host.heard('adopted');
  putLease(space, SUBNET, IP, 1000);
  await host.heard('renewed');
  await caughtUp(space, host);
  await sleep(200);
  t.strictSame(host.of('duplicatePublicIp'), []);
  t.equal(host.of('renewed').length, 1);
});

t.test('a wall clock that jumps changes nothing but dates', async (t) => {
  const { space, host } = await holding(t);
  const now = Date.now;
  t.teardown(() => (Date.now = now));
  for (const jump of [-10, 10]) {
    Date.now = () => now() + jump * DAY_SECONDS * 1000;
    putLease(space, '10.1.13.0/24', `192.0.2.${100 + jump}`);
    await host.routes('10.1.13.0/24', `192.0.2.${100 + jump}`);
    await sleep(100);
  }
  t.strictSame(host.of('renewed'), []);
  t.strictSame(host.of('lost'), []);
});
