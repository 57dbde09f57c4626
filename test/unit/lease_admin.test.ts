import t, { type Test } from 'tap';

import { listLeases, MOST_TIMED_LEASES, showLease } from '../../src/lease/lease_admin.js';
import { releaseLease, reserveLease } from '../../src/lease/lease_reservation.js';
import type { StoreEntry } from '../../src/lease/store/lease_store.js';
import { MemorySpace } from '../../src/lease/store/memory_space.js';
import { MemoryStore } from '../../src/lease/store/memory_store.js';

const DAY_SECONDS = 86_400;
const CONFIG =
  '{"Network": "10.1.0.0/16", "SubnetLen": 24, "SubnetMin": "10.1.1.0", "SubnetMax": "10.1.9.0"}';
const DUAL_CONFIG =
  '{"Network": "10.1.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00::/48", "IPv6SubnetLen": 64}';
const signal = new AbortController().signal;

function valueOf(publicIp: string): string {
  return `{"PublicIP":"${publicIp}","PublicIPv6":null}`;
}

/** A store with a network config and leases of these subnets, `10.1.2.0-24` say, by public IP; no TTL when it ends in `!`. */
async function openStore(
  t: Test,
  leases: Readonly<Record<string, string>> = {},
  config = CONFIG,
): Promise<MemoryStore> {
  const store = new MemoryStore();
  t.teardown(() => store.close());
  await store.create('config', config, 0, signal);
  for (const [subnet, publicIp] of Object.entries(leases)) {
    const ttlSeconds = publicIp.endsWith('!') ? 0 : DAY_SECONDS;
    await store.create(`subnets/${subnet}`, valueOf(publicIp.replace('!', '')), ttlSeconds, signal);
  }
  return store;
}

/** Everything that stands below `subnets`, with R for reserved. */
async function stateOf(store: MemoryStore): Promise<Record<string, string>> {
  const { entries } = await store.list('subnets', signal);
  return Object.fromEntries(
    entries.map(({ key, value, grant }) => [key, `${grant === '' ? 'R ' : ''}${value}`]),
  );
}

/** Two clients of one space; `meddle` is done by the other once, just before the first write of this one. */
class MeddledStore extends MemoryStore {
  meddle: (() => Promise<unknown>) | undefined;

  override async replace(...args: Parameters<MemoryStore['replace']>): Promise<StoreEntry | undefined> {
    await this.#meddle();
    return await super.replace(...args);
  }

  override async create(...args: Parameters<MemoryStore['create']>): Promise<StoreEntry | undefined> {
    await this.#meddle();
    return await super.create(...args);
  }

  override async remove(...args: Parameters<MemoryStore['remove']>): Promise<boolean> {
    await this.#meddle();
    return await super.remove(...args);
  }

  async #meddle(): Promise<void> {
    const { meddle } = this;
    this.meddle = undefined;
    await meddle?.();
  }
}

async function openMeddled(t: Test): Promise<{ store: MeddledStore; other: MemoryStore }> {
  const space = new MemorySpace();
  const [store, other] = [new MeddledStore(space), new MemoryStore(space)];
  t.teardown(() => Promise.all([store.close(), other.close()]));
  await other.create('config', CONFIG, 0, signal);
  return { store, other };
}

t.test(
  'a list has every lease in the order of subnets, reservations without end, malformed entries last',
  async (t) => {
    const store = await openStore(t, { '10.1.10.0-24': '192.0.2.1', '10.1.9.0-24': '192.0.2.2!' });
    await store.create('subnets/10.1.1.0-24', '{"PublicIP":', 0, signal);
    await store.create('subnets/rubbish', valueOf('192.0.2.3'), 0, signal);
    const records = await listLeases(store, {}, signal);
    t.match(records, [
      {
        key: 'subnets/10.1.9.0-24',
        lease: { reserved: true },
        problem: undefined,
        remainingSeconds: Infinity,
      },
      { key: 'subnets/10.1.10.0-24', lease: { value: { publicIp: '192.0.2.1' }, reserved: false } },
      { key: 'subnets/10.1.1.0-24', lease: undefined, problem: String },
      { key: 'subnets/rubbish', lease: undefined, problem: /the key names no subnet/ },
    ]);
    t.equal(records.length, 4);
    const left = records[1]?.remainingSeconds ?? -1;
    t.ok(left > DAY_SECONDS - 600 && left <= DAY_SECONDS, `${left} s left`);
  },
);

t.test('the time left of very many leases is asked only on demand, and of few at once', async (t) => {
  let asked = 0;
  let underWay = 0;
  let most = 0;
  class CountingStore extends MemoryStore {
    override async remainingSeconds(): Promise<number> {
      asked++;
      most = Math.max(most, ++underWay);
      await new Promise((resolve) => setImmediate(resolve));
      underWay--;
      return 7;
    }
  }
  const store = new CountingStore();
  t.teardown(() => store.close());
  for (let n = 0; n <= MOST_TIMED_LEASES; n++) {
    await store.create(`subnets/10.${n >> 8}.${n & 255}.0-24`, valueOf('192.0.2.1'), DAY_SECONDS, signal);
  }
  t.equal((await listLeases(store, {}, signal)).length, MOST_TIMED_LEASES + 1);
  t.equal(asked, 0);
  const timed = await listLeases(store, { times: true }, signal);
  t.equal(asked, MOST_TIMED_LEASES + 1);
  t.ok(timed.every(({ remainingSeconds }) => remainingSeconds === 7));
  t.ok(most > 1 && most <= 16, `${most} at once`);
  await listLeases(store, { times: false }, signal);
  t.equal(asked, MOST_TIMED_LEASES + 1);
});

t.test('a lease is found by subnet of either family, by key and by public IP', async (t) => {
  const store = await openStore(t, {
    '10.1.2.0-24&fd00:0:0:2::-64': '192.0.2.1',
    '10.1.3.0-24': '192.0.2.1',
    '10.1.20.0-24': '192.0.2.10',
  });
  const names = [
    '10.1.2.0/24',
    'fd00:0:0:2::/64',
    'subnets/10.1.2.0-24&fd00:0:0:2::-64',
    '10.1.2.0-24&fd00:0:0:2::-64',
  ];
  for (const name of names) {
    const found = await showLease(store, name, signal);
    t.strictSame(
      found.map(({ key }) => key),
      ['subnets/10.1.2.0-24&fd00:0:0:2::-64'],
      name,
    );
  }
  const ofHost = await showLease(store, '192.0.2.1', signal);
  t.strictSame(
    ofHost.map(({ lease }) => lease?.subnets.ipv4),
    ['10.1.2.0/24', '10.1.3.0/24'],
  );
  await t.rejects(showLease(store, '10.1.4.0/24', signal), {
    code: 'ERR_LEASE_NOT_FOUND',
    message: /"10\.1\.4\.0\/24" \(memory has 3;/,
  });
});

t.test("reserving a host's lease takes off its time limit and leaves its value as it is", async (t) => {
  const store = await openStore(t, { '10.1.2.0-24': '192.0.2.1', '10.1.3.0-24': '192.0.2.1' });
  const reservation = await reserveLease(store, { subnet: '10.1.2.0/24' }, signal);
  t.match(reservation, {
    how: 'kept',
    lease: { key: 'subnets/10.1.2.0-24', reserved: true },
    others: [{ key: 'subnets/10.1.3.0-24' }],
  });
  const after = {
    'subnets/10.1.2.0-24': `R ${valueOf('192.0.2.1')}`,
    'subnets/10.1.3.0-24': valueOf('192.0.2.1'),
  };
  t.strictSame(await stateOf(store), after);
  const before = (await store.list('subnets', signal)).revision;
  t.match(await reserveLease(store, { subnet: '10.1.2.0/24', publicIp: '192.0.2.1' }, signal), {
    how: 'already',
  });
  t.equal(
    (await store.list('subnets', signal)).revision,
    before,
    'nothing is written for what is so already',
  );
});

t.test('a free subnet is reserved for a named host, spelled as flanneld spells it', async (t) => {
  const store = await openStore(t, { '10.1.2.0-24': '192.0.2.7' });
  const reservation = await reserveLease(store, { subnet: '10.1.9.0/24', publicIp: '192.0.2.7' }, signal);
  t.match(reservation, {
    how: 'created',
    lease: { subnets: { ipv4: '10.1.9.0/24' }, value: { publicIp: '192.0.2.7' }, reserved: true },
    others: [{ key: 'subnets/10.1.2.0-24' }],
  });
  t.equal((await stateOf(store))['subnets/10.1.9.0-24'], `R ${valueOf('192.0.2.7')}`);
});

t.test('a subnet that the network does not give, or that nobody is named for, is not reserved', async (t) => {
  const store = await openStore(t, { '10.1.2.0-24': '192.0.2.1', '10.1.3.0-24': '192.0.2.3!' });
  const rows: [string, string | undefined, string, RegExp][] = [
    ['10.1.5.0/24', undefined, 'ERR_OPTION', /^publicIp: nobody has 10\.1\.5\.0\/24; name the host/],
    [
      '10.1.5.0/25',
      '192.0.2.5',
      'ERR_OPTION',
      /^subnet: 10\.1\.5\.0\/25 is none .*10\.1\.1\.0\/24 to 10\.1\.9\.0\/24/,
    ],
    ['10.1.10.0/24', '192.0.2.5', 'ERR_OPTION', /is none of the network's subnets/],
    ['10.1.0.0/24', '192.0.2.5', 'ERR_OPTION', /is none of the network's subnets/],
    ['10.1.5.1/24', '192.0.2.5', 'ERR_OPTION', /^subnet: .*10\.1\.5\.0\/24/],
    ['10.1.5.0/24,fd00::/64', '192.0.2.5', 'ERR_OPTION', /the network has no IPv6/],
    ['10.1.5.0/24', 'eth0', 'ERR_OPTION', /^publicIp: "eth0"/],
    ['10.1.5.0/24', '224.0.0.1', 'ERR_OPTION', /^publicIp: 224\.0\.0\.1 is not the address of one host/],
    ['10.1.5.0/24', '127.0.0.1', 'ERR_OPTION', /^publicIp: 127\.0\.0\.1 .* that others can reach$/],
    ['10.1.2.0/24', '192.0.2.5', 'ERR_LEASE_CONFLICT', /is leased to 192\.0\.2\.1: release it first/],
    ['10.1.3.0/24', '192.0.2.5', 'ERR_LEASE_CONFLICT', /is reserved for 192\.0\.2\.3: release it first/],
  ];
  const before = await stateOf(store);
  for (const [subnet, publicIp, code, message] of rows) {
    const question = { subnet, ...(publicIp === undefined ? {} : { publicIp }) };
    await t.rejects(reserveLease(store, question, signal), { code, message }, message.source);
  }
  t.strictSame(await stateOf(store), before, 'and nothing was written');
});

t.test('what overlaps another lease is not reserved, a malformed value included', async (t) => {
  const store = await openStore(t, { '10.1.2.128-25': '192.0.2.1' });
  await store.create('subnets/10.1.3.0-28', 'rubbish', 0, signal);
  for (const [subnet, holder] of [
    ['10.1.2.0/24', '192.0.2.1'],
    ['10.1.3.0/24', 'a malformed entry'],
  ] as const) {
    await t.rejects(reserveLease(store, { subnet, publicIp: '192.0.2.9' }, signal), {
      code: 'ERR_LEASE_CONFLICT',
      message: new RegExp(`^${subnet} overlaps .*, which ${holder} has$`),
    });
  }
});

t.test('in a network with IPv6 a reservation has both subnets', async (t) => {
  const store = await openStore(t, { '10.1.2.0-24&fd00:0:0:2::-64': '192.0.2.2' }, DUAL_CONFIG);
  const publicIp = '192.0.2.3';
  await t.rejects(reserveLease(store, { subnet: '10.1.3.0/24', publicIp }, signal), {
    code: 'ERR_OPTION',
    message: /the network has IPv6: add one/,
  });
  await t.rejects(reserveLease(store, { subnet: '10.1.3.0/24,fd00:0:1::/64', publicIp }, signal), {
    code: 'ERR_OPTION',
    message: /fd00:0:1::\/64 is none of/,
  });
  await t.rejects(reserveLease(store, { subnet: '10.1.3.0/24,fd00:0:0:2::/64', publicIp }, signal), {
    code: 'ERR_LEASE_CONFLICT',
  });
  await reserveLease(store, { subnet: '10.1.3.0/24,fd00:0:0:3::/64', publicIp }, signal);
  t.ok('subnets/10.1.3.0-24&fd00:0:0:3::-64' in (await stateOf(store)));
  t.match(await reserveLease(store, { subnet: '10.1.2.0/24' }, signal), { how: 'kept' });
});

t.test(
  'in a network of IPv6 alone leases are listed, reserved and released by their IPv6 subnet',
  async (t) => {
    const config = '{"EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "fd00::/48"}';
    const store = await openStore(t, {}, config);
    const [key, value] = [
      'subnets/0.0.0.0-0&fd00:0:0:a::-64',
      '{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::a"}',
    ];
    await store.create(key, value, DAY_SECONDS, signal);
    const publicIp = '2001:DB8::9';
    await t.rejects(reserveLease(store, { subnet: '10.1.3.0/24,fd00:0:0:9::/64', publicIp }, signal), {
      code: 'ERR_OPTION',
      message: /the network has no IPv4: leave 10\.1\.3\.0\/24 out/,
    });
    t.match(await reserveLease(store, { subnet: 'fd00:0:0:9::/64', publicIp }, signal), { how: 'created' });
    t.match(await reserveLease(store, { subnet: 'fd00:0:0:a::/64' }, signal), { how: 'kept' });
    t.strictSame(await stateOf(store), {
      'subnets/0.0.0.0-0&fd00:0:0:9::-64': 'R {"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::9"}',
      [key]: `R ${value}`,
    });
    const keys = (await listLeases(store, {}, signal)).map((record) => record.key);
    t.strictSame(keys, ['subnets/0.0.0.0-0&fd00:0:0:9::-64', key]);
    t.match(await showLease(store, '2001:db8::a', signal), [{ key }]);
    t.match(await releaseLease(store, { subnet: 'fd00:0:0:a::/64' }, signal), { how: 'timed', key });
  },
);

t.test('a reservation may name the addresses of both families', async (t) => {
  const store = await openStore(t, {}, DUAL_CONFIG);
  const subnet = 'fd00:0:0:3::/64,10.1.3.0/24';
  const reserve = (publicIp: string): Promise<unknown> => reserveLease(store, { subnet, publicIp }, signal);
  await t.rejects(reserve('192.0.2.3,192.0.2.4'), { message: /at most one IPv4 and one IPv6 address/ });
  await t.rejects(reserve('192.0.2.3,fe80::1'), {
    message: /^publicIp: fe80::1 is not the address of one host/,
  });
  t.match(await reserve('192.0.2.3,2001:db8::3'), { how: 'created' });
  t.strictSame(await stateOf(store), {
    'subnets/10.1.3.0-24&fd00:0:0:3::-64': 'R {"PublicIP":"192.0.2.3","PublicIPv6":"2001:db8::3"}',
  });
  t.match(await reserve('2001:db8::3'), { how: 'already' });
  await t.rejects(reserve('192.0.2.3,2001:db8::4'), {
    code: 'ERR_LEASE_CONFLICT',
    message: /^10\.1\.3\.0\/24 fd00:0:0:3::\/64 is reserved for 192\.0\.2\.3 2001:db8::3: release it first/,
  });
  await t.rejects(reserveLease(store, { subnet: 'fd00:0:0:4::/64', publicIp: '192.0.2.4' }, signal), {
    message: /the network has IPv4: add one of .*, as in 10\.1\.2\.0\/24,fd00:0:0:4::\/64/,
  });
});

t.test('a list has leases of IPv6 alone behind those with IPv4, in the order of subnets', async (t) => {
  const names = [
    '0.0.0.0-0&fd00:0:0:a::-64',
    '255.0.0.0-24',
    '0.0.0.0-0&fd00:0:0:9::-64',
    '10.1.2.0-24&fd00::-64',
  ];
  const store = await openStore(t, Object.fromEntries(names.map((name) => [name, '192.0.2.1'])));
  const keys = (await listLeases(store, {}, signal)).map(({ key }) => key.slice('subnets/'.length));
  t.strictSame(keys, [names[3], names[1], names[2], names[0]]);
});

t.test('without a network config nothing free is reserved', async (t) => {
  const store = new MemoryStore();
  t.teardown(() => store.close());
  await t.rejects(reserveLease(store, { subnet: '10.1.3.0/24', publicIp: '192.0.2.3' }, signal), {
    code: 'ERR_NETWORK_CONFIG',
    message: /memory has no network config: write key "config", or correct --etcd-prefix$/,
  });
});

t.test('releasing a reservation gives its host a day to renew it', async (t) => {
  const store = await openStore(t, { '10.1.2.0-24': '192.0.2.1!' });
  t.match(await releaseLease(store, { subnet: '10.1.2.0/24' }, signal), {
    how: 'timed',
    key: 'subnets/10.1.2.0-24',
    lease: { value: { publicIp: '192.0.2.1' } },
  });
  t.strictSame(await stateOf(store), { 'subnets/10.1.2.0-24': valueOf('192.0.2.1') });
  const [record] = await showLease(store, '10.1.2.0/24', signal);
  const left = record?.remainingSeconds ?? -1;
  t.ok(left > DAY_SECONDS - 600 && left <= DAY_SECONDS, `${left} s left`);
});

t.test('a lease that is no reservation is removed only by force', async (t) => {
  const store = await openStore(t, { '10.1.2.0-24': '192.0.2.1' });
  await store.create('subnets/rubbish', '?', 0, signal);
  await t.rejects(releaseLease(store, { subnet: '10.1.2.0/24' }, signal), {
    code: 'ERR_LEASE_IN_USE',
    message: /leased to 192\.0\.2\.1, which may be alive.*--force/,
  });
  await t.rejects(releaseLease(store, { subnet: 'rubbish' }, signal), {
    code: 'ERR_LEASE_IN_USE',
    message: /malformed.*--force/,
  });
  await t.rejects(releaseLease(store, { subnet: '10.1.4.0/24', force: true }, signal), {
    code: 'ERR_LEASE_NOT_FOUND',
  });
  t.match(await releaseLease(store, { subnet: '10.1.2.0/24', force: true }, signal), {
    how: 'removed',
    lease: { value: { publicIp: '192.0.2.1' } },
  });
  t.match(await releaseLease(store, { subnet: 'rubbish', force: true }, signal), {
    how: 'removed',
    key: 'subnets/rubbish',
    lease: undefined,
  });
  t.strictSame(await stateOf(store), {});
});

t.test('a name that fits two leases changes neither', async (t) => {
  const store = await openStore(t, { '10.1.2.0-24': '192.0.2.1!', '10.1.2.0-24&fd00::-64': '192.0.2.2!' });
  const before = await stateOf(store);
  for (const change of [reserveLease, releaseLease]) {
    const changed: Promise<unknown> = change(store, { subnet: '10.1.2.0/24' }, signal);
    await t.rejects(changed, {
      code: 'ERR_LEASE_CONFLICT',
      message:
        /names 2 leases; name one by its key: subnets\/10\.1\.2\.0-24, subnets\/10\.1\.2\.0-24&fd00::-64$/,
    });
  }
  t.strictSame(await stateOf(store), before);
  await releaseLease(store, { subnet: '10.1.2.0-24&fd00::-64', force: true }, signal);
  t.strictSame(Object.keys(await stateOf(store)), ['subnets/10.1.2.0-24']);
});

t.test('a host that renews in between does not lose its renewal: it is read and judged again', async (t) => {
  const { store, other } = await openMeddled(t);
  const first = await other.create('subnets/10.1.2.0-24', valueOf('192.0.2.1'), DAY_SECONDS, signal);
  store.meddle = () => other.replace(first!, valueOf('192.0.2.1'), DAY_SECONDS, signal);
  t.match(await reserveLease(store, { subnet: '10.1.2.0/24' }, signal), { how: 'kept' });
  const [reserved] = (await other.list('subnets', signal)).entries;
  store.meddle = () => other.replace(reserved!, valueOf('192.0.2.1'), DAY_SECONDS, signal);
  await t.rejects(
    releaseLease(store, { subnet: '10.1.2.0/24' }, signal),
    { code: 'ERR_LEASE_IN_USE' },
    'it was released by another operator meanwhile',
  );
});

t.test('a subnet that a host takes in between stays with it', async (t) => {
  const { store, other } = await openMeddled(t);
  const publicIp = '192.0.2.9';
  store.meddle = () => other.create('subnets/10.1.2.0-24', valueOf('192.0.2.1'), DAY_SECONDS, signal);
  await t.rejects(reserveLease(store, { subnet: '10.1.2.0/24', publicIp }, signal), {
    code: 'ERR_LEASE_CONFLICT',
    message: /is leased to 192\.0\.2\.1/,
  });
  store.meddle = () => other.create('subnets/10.1.3.128-25', valueOf('192.0.2.1'), DAY_SECONDS, signal);
  await t.rejects(reserveLease(store, { subnet: '10.1.3.0/24', publicIp }, signal), {
    code: 'ERR_LEASE_CONFLICT',
    message: /10\.1\.3\.0\/24 overlaps subnets\/10\.1\.3\.128-25/,
  });
  t.strictSame(Object.keys(await stateOf(other)), ['subnets/10.1.2.0-24', 'subnets/10.1.3.128-25']);
});

t.test('a key whose bytes are no UTF-8 cannot be written here, and the way out is told', async (t) => {
  // As in etcd: the key as it is read is another one than the key that is there.
  class LossyStore extends MemoryStore {
    readonly keyBase = '/net/';

    override replace(): Promise<undefined> {
      return Promise.resolve(undefined);
    }

    override remove(): Promise<boolean> {
      return Promise.resolve(false);
    }
  }
  const store = new LossyStore();
  t.teardown(() => store.close());
  await store.create('subnets/bad\uFFFD', 'rubbish', 0, signal);
  await store.create('subnets/\uFFFD10.1.2.0-24', valueOf('192.0.2.1'), 0, signal);
  await store.create('subnets/\uFFFD10.1.3.0-24', valueOf('192.0.2.1'), DAY_SECONDS, signal);
  const told = {
    code: 'ERR_LEASE_CONFLICT',
    message:
      /bytes that are no UTF-8.* etcdctl del with its bytes .*etcdctl get --prefix --keys-only -w json \/net\/subnets' /,
  };
  await t.rejects(releaseLease(store, { subnet: 'bad\uFFFD', force: true }, signal), told);
  await t.rejects(releaseLease(store, { subnet: '10.1.2.0/24' }, signal), told, 'whatever it was called');
  await t.rejects(reserveLease(store, { subnet: '10.1.3.0/24' }, signal), told);
});

t.test('a key that has U+FFFD itself is removed like any other', async (t) => {
  const store = await openStore(t);
  await store.create('subnets/bad\uFFFD', 'rubbish', 0, signal);
  t.match(await releaseLease(store, { subnet: 'bad\uFFFD', force: true }, signal), { how: 'removed' });
});

t.test('an entry that changes all the time is given up', async (t) => {
  class BusyStore extends MemoryStore {
    override replace(): Promise<undefined> {
      return Promise.resolve(undefined);
    }
  }
  const store = new BusyStore();
  t.teardown(() => store.close());
  await store.create('subnets/10.1.2.0-24', valueOf('192.0.2.1'), 0, signal);
  await t.rejects(releaseLease(store, { subnet: '10.1.2.0/24' }, signal), {
    code: 'ERR_LEASE_CONFLICT',
    message: /^10\.1\.2\.0\/24 is being changed by others all the time/,
  });
});
