/**
 * Following leases over connections that break: `LeaseSource` on `EtcdStore`, a proxy that cuts, and a real etcd-server.
 *
 * ```text
 *  LeaseSource - EtcdStore --- proxy --- etcd-server --- etcdctl, and another EtcdStore that writes
 * ```
 */
import t, { type Test } from 'tap';

import type { EtcdStore } from '../../src/lease/etcd/etcd_store.js';
import type { LeaseEvent } from '../../src/lease/lease_event.js';
import { formatLeaseKey } from '../../src/lease/lease_key.js';
import { LeaseSource } from '../../src/lease/lease_source.js';
import type { RouteChange } from '../../src/lease/route_source.js';
import { seededRandom } from '../reference/seeded_random.js';
import { TEST_SEED } from '../unit/test_seed.js';
import { leaseKey, leaseValue, PREFIX } from './flannel_network.js';
import type { EtcdServer } from './etcd_server.js';
import { FOREVER, openStore, startEtcd } from './etcd_stores.js';
import { TcpProxy } from './tcp_proxy.js';
import { until } from './until.js';

const SECONDS = 30;
const OWN_SUBNET = '10.1.1.0/24';
const SUBNETS = 200;
const EVENTS = 2_400;
const ROUNDS = 25;

t.setTimeout(120_000);

t.test('compaction while disconnected: listed anew, and exact', async (t) => {
  const { etcd, proxy, follower, writer } = await open(t);
  for (let i = 0; i < 20; i++) await writer.put(i);
  await follower.untilEqualTo(etcd);
  proxy.block();
  for (const i of [0, 1, 2]) await writer.remove(i);
  for (const i of [3, 20, 21]) await writer.put(i);
  await etcd.compact(await etcd.revision());
  await writer.put(22); // and one that is not compacted
  proxy.unblock();
  await follower.untilEqualTo(etcd);
  t.equal(follower.source.state.relists, 1, 'by one list');
  t.match(follower.events.find(({ kind }) => kind === 'relisted')?.reason, /have been compacted/);
  t.notOk(follower.peers.has(subnetOf(0)), 'what was deleted meanwhile is gone');
  await writer.put(23);
  await writer.remove(3);
  await follower.untilEqualTo(etcd);
  t.equal(follower.source.state.relists, 1, 'and from then on events are enough');
  t.strictSame(follower.faults, []);
});

t.test('a watch that is cut again and again while it catches up loses nothing', async (t) => {
  const { etcd, proxy, follower, writer, random } = await open(t);
  for (let i = 0; i < SUBNETS; i++) await writer.put(i);
  await follower.untilEqualTo(etcd);
  const { disconnects } = follower.source.state;
  proxy.block();
  const started = performance.now();
  for (let done = 0; done < EVENTS; done += SUBNETS) {
    await Promise.all(Array.from({ length: SUBNETS }, (_, i) => writer.change(i)));
  }
  t.comment(`${EVENTS} writes took ${Math.round(performance.now() - started)} ms`);
  // Catching up comes in messages of up to 1,000 events, some 100 kB: many connections end within one.
  const first = [1_000, 20_000, 50_000];
  proxy.cutAfter(() => first.shift() ?? 1_000 + Math.floor(random() * 300_000));
  proxy.unblock();
  await follower.untilEqualTo(etcd);
  t.ok(proxy.cuts >= 3, `${proxy.cuts} connections were cut (TEST_SEED=${TEST_SEED})`);
  t.equal(follower.source.state.relists, 0, 'without a list');
  t.ok(follower.source.state.disconnects > disconnects, 'and the cuts were noticed');
  t.strictSame(follower.faults, [], 'no event is applied after a later one of its key');
});

t.test('random changes, cuts and compactions end in what etcd holds', async (t) => {
  const { etcd, proxy, follower, writer, random } = await open(t);
  const draw = (below: number): number => Math.floor(random() * below);
  const calm = async (): Promise<void> => {
    proxy.unblock();
    proxy.cutAfter(() => Infinity);
    await until('the store to answer', () => follower.source.state.connection.connected, SECONDS);
  };
  for (let round = 0; round < ROUNDS; round++) {
    // Otherwise one trouble meets another.
    if (draw(3) > 0) await calm();
    const trouble = draw(5);
    if (trouble === 0) proxy.cut();
    if (trouble === 1 || trouble === 2) proxy.block();
    if (trouble === 3) proxy.cutAfter(() => 200 + draw(20_000));
    // Different ones: of two writers of one lease, the one with the lesser public IP might be the later.
    const from = draw(SUBNETS);
    await Promise.all(Array.from({ length: 40 }, (_, i) => writer.change((from + 3 * i) % SUBNETS)));
    if (trouble === 2) await etcd.compact((await etcd.revision()) - draw(5));
  }
  await calm();
  await follower.untilEqualTo(etcd);
  const { relists, disconnects } = follower.source.state;
  t.ok(disconnects > 0, `${disconnects} disconnects, ${relists} lists anew (TEST_SEED=${TEST_SEED})`);
  t.strictSame(follower.faults, [], 'and no lease went back on the way');
});

t.test('the changes of one transaction are told together, and so make one table', async (t) => {
  const { etcd, follower } = await open(t);
  const { calls } = follower;
  await etcd.putAll(
    Array.from({ length: SUBNETS }, (_, i) => [leaseKey(subnetOf(i)), leaseValue('192.0.2.7')]),
  );
  await follower.untilEqualTo(etcd);
  t.equal(follower.calls, calls + 1, `${SUBNETS} new leases`);
  const keys = Array.from({ length: 100 }, (_, i) => leaseKey(subnetOf(i)));
  const lines = keys.map((key, i) =>
    i % 2 === 0 ? `del ${key}` : `put ${key} ${JSON.stringify(leaseValue('192.0.2.8'))}`,
  );
  await etcd.etcdctl(['txn'], { input: `\n${lines.join('\n')}\n\n\n` });
  await follower.untilEqualTo(etcd);
  t.equal(follower.calls, calls + 2, '50 that went and 50 that changed');
});

/** A network of its own, a source that follows it through a proxy, and somebody who writes past the proxy. */
async function open(t: Test) {
  const etcd = await startEtcd(t);
  await etcd.put(`${PREFIX}/config`, '{"Network":"10.0.0.0/8"}');
  const proxy = await TcpProxy.start(etcd.port);
  t.teardown(() => proxy.close());
  const store = await openStore(t, { endpoints: [`http://127.0.0.1:${proxy.port}`] });
  const follower = await Follower.open(t, store);
  const random = seededRandom(TEST_SEED);
  const writer = new Writer(await openStore(t, { endpoints: [etcd.endpoint] }), random);
  return { etcd, proxy, follower, writer, random };
}

/** The n-th subnet here. */
function subnetOf(i: number): string {
  return `10.2.${i}.0/24`;
}

/** Writes leases of other hosts. Each write has a public IP of its own, greater than those before. */
class Writer {
  readonly #store: EtcdStore;
  readonly #random: () => number;
  #writes = 0;

  constructor(store: EtcdStore, random: () => number) {
    this.#store = store;
    this.#random = random;
  }

  async put(i: number): Promise<void> {
    const key = formatLeaseKey({ ipv4: subnetOf(i) });
    for (;;) {
      const present = await this.#store.get(key, FOREVER);
      const value = leaseValue(publicIpOf(++this.#writes));
      const written =
        present === undefined
          ? await this.#store.create(key, value, 0, FOREVER)
          : await this.#store.replace(present, value, 0, FOREVER);
      if (written !== undefined) return;
    }
  }

  async remove(i: number): Promise<void> {
    const present = await this.#store.get(formatLeaseKey({ ipv4: subnetOf(i) }), FOREVER);
    if (present !== undefined) await this.#store.remove(present, FOREVER);
  }

  /** Mostly writes. */
  change(i: number): Promise<void> {
    return this.#random() < 0.3 ? this.remove(i) : this.put(i);
  }
}

function publicIpOf(write: number): string {
  return `172.${16 + (write >> 16)}.${(write >> 8) & 255}.${write & 255}`;
}

function writeOf(publicIp: string): number {
  const [, b = 0, c = 0, d = 0] = publicIp.split('.').map(Number);
  return ((b - 16) << 16) | (c << 8) | d;
}

/** A lease source, and the peers that what it told comes to. */
class Follower {
  readonly peers = new Map<string, string>();
  readonly events: Extract<LeaseEvent, { reason: string }>[] = [];
  /** Changes that cannot be right, whatever connections do. */
  readonly faults: string[] = [];
  /** Calls with changes. */
  calls = 0;
  readonly source: LeaseSource;
  readonly #newest = new Map<string, number>();

  private constructor(store: EtcdStore) {
    const host = { id: 'b7a1e2c4-0000-4000-8000-000000000001', name: 'follower' };
    const previous = { ipv4: OWN_SUBNET };
    this.source = new LeaseSource({ store, publicIp: '192.0.2.1', host, previous });
  }

  static async open(t: Test, store: EtcdStore): Promise<Follower> {
    const follower = new Follower(store);
    t.teardown(() => follower.source.close());
    await follower.source.open({
      onChanges: (changes) => follower.#take(changes),
      onError: (error) => follower.faults.push(error.message),
      onEnd: (error) => follower.faults.push(error.message),
      onLeaseEvent: (event) => {
        if ('reason' in event) follower.events.push(event);
      },
    });
    return follower;
  }

  /** Waits until the peers are exactly the leases that etcd holds. */
  async untilEqualTo(etcd: EtcdServer): Promise<void> {
    const listed = await etcd.list(`${PREFIX}/subnets/`);
    const leases = listed
      .filter(({ key }) => key !== leaseKey(OWN_SUBNET))
      .map(({ key, value }) => {
        const { PublicIP: publicIp } = JSON.parse(value) as { PublicIP: string };
        return `${key.slice(PREFIX.length + '/subnets/'.length).replace('-', '/')} ${publicIp}`;
      });
    const wanted = leases.sort().join('\n');
    const present = (): string =>
      [...this.peers]
        .map(([subnet, publicIp]) => `${subnet} ${publicIp}`)
        .sort()
        .join('\n');
    await until(`the ${leases.length} leases`, () => present() === wanted, SECONDS);
  }

  #take(changes: readonly RouteChange[]): void {
    this.calls++;
    for (const change of changes) {
      if (change.kind === 'delete') {
        if (!this.peers.delete(change.subnet)) this.faults.push(`${change.subnet} was deleted twice`);
      } else if (change.kind === 'set') this.#set(change.peer.subnet, change.peer.publicIp);
      else {
        this.peers.clear();
        for (const { subnet, publicIp } of change.snapshot.peers) this.#set(subnet, publicIp, true);
      }
    }
  }

  #set(subnet: string, publicIp: string, again = false): void {
    const newest = this.#newest.get(subnet) ?? 0;
    const write = writeOf(publicIp);
    if (write < newest || (write === newest && !again)) {
      this.faults.push(`${subnet}: write ${write} was told after ${newest}`);
    }
    this.#newest.set(subnet, write);
    this.peers.set(subnet, publicIp);
  }
}
