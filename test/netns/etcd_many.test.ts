/**
 * A network of 10,000 leases, those of three real hosts among them, and beside them what is no lease.
 */
import { readFileSync } from 'node:fs';

import t, { type Test } from 'tap';

import { type AgentStatus, readAgentRoutes } from '../../src/index.js';
import { CheckedLoad } from './checked_load.js';
import { answers, SECONDS, untilHealthy, untilStatus } from './daemon_checks.js';
import type { EtcdServer } from './etcd_server.js';
import { leaseKey, leaseValue, PREFIX, startNetwork } from './flannel_network.js';
import { Scenario } from './scenario.js';
import type { SelvageDaemon } from './selvage.js';
import { until } from './until.js';

const LEASES = 10_000;
const CHANGED_AT_ONCE = 1_000;

/** Keys and values that are not routed to, and what is said about each. */
const MALFORMED: readonly [name: string, value: string, says: RegExp][] = [
  ['nonsense', leaseValue('192.0.2.1'), /names no subnet/],
  ['10.200.300.0-24', leaseValue('192.0.2.1'), /names no subnet/],
  ['10.200.1.0', leaseValue('192.0.2.1'), /names no subnet/],
  ['10.200.1.1-24', leaseValue('192.0.2.1'), /names no subnet/],
  ['10.200.2.0-24', 'not JSON', /JSON/],
  ['10.200.3.0-24', '', /JSON/],
  ['10.200.4.0-24', '{}', /PublicIP/],
  ['10.200.5.0-24', leaseValue('192.0.2.256'), /192\.0\.2\.256/],
  ['10.200.6.0-24', '{"PublicIP":"192.0.2.1","BackendType":"vxlan"}', /vxlan/],
  ['172.16.5.0-24', leaseValue('192.0.2.1'), /outside the network/],
];

t.setTimeout(120_000);

t.test(`a network of ${LEASES} leases`, async (t) => {
  const scenario = await Scenario.open(t, { hosts: 3, controlPlane: true, packages: ['nftables'] });
  const { lab } = scenario;
  const etcd = await startNetwork(lab);
  // Room for them, beside the lab's own.
  await etcd.put(`${PREFIX}/config`, '{"Network":"10.0.0.0/8"}');
  await etcd.putAll(
    Array.from({ length: LEASES }, (_, i) => [leaseKey(subnetOf(i)), leaseValue(publicIpOf(i))]),
  );
  for (const [name, value] of MALFORMED) await etcd.put(`${PREFIX}/subnets/${name}`, value);
  const started = performance.now();
  const daemon = await scenario.start(0, { etcd: etcd.endpoint });
  t.comment(`ready ${Math.round(performance.now() - started)} ms after the start, ${residentOf(daemon)}`);
  await scenario.start(1, { etcd: etcd.endpoint });
  await lab.setPodMtu(1472);

  await t.test('is loaded whole, and a real host among them is reached', async (t) => {
    await untilRoutes(daemon, LEASES + 1);
    t.match((await untilHealthy(daemon)).source, { stale: false, relists: 0 });
    await until('pod2 to answer', () => answers(lab.pod(0), lab.pod(1).address), SECONDS);
    t.match(await routeOf(daemon, '10.1.2.0/24'), { nextHop: lab.host(1).publicIp });
    for (const i of [0, LEASES / 2, LEASES - 1]) {
      t.match(await routeOf(daemon, subnetOf(i)), { nextHop: publicIpOf(i) }, `${subnetOf(i)} is there`);
    }
  });

  await t.test('what is no lease among them is skipped, with one warning for each', async (t) => {
    for (const [name, , says] of MALFORMED) {
      const key = `subnets/${name}`;
      const lines = daemon.log.filter((line) => line['key'] === key);
      t.equal(lines.length, 1, `${key}: one line`);
      t.match(lines[0], { level: 'warn', msg: says });
      t.match(lines[0]?.msg, /^lease not routed to: /, lines[0]?.msg ?? '');
    }
    const { source } = await daemon.status();
    t.match(source, { skipped: MALFORMED.length });
  });

  await t.test('one change among them reaches the lanes', (t) => oneChange(t, daemon, etcd));

  await t.test(`${CHANGED_AT_ONCE} that change at once lose not one packet of the others`, async (t) => {
    const load = await CheckedLoad.start(lab);
    for (let turn = 1; turn <= 3; turn++) {
      const changed = Array.from({ length: CHANGED_AT_ONCE }, (_, i) => i);
      await etcd.putAll(changed.map((i) => [leaseKey(subnetOf(i)), leaseValue(publicIpOf(i + turn))]));
      await until(
        'the last of them',
        async () =>
          (await routeOf(daemon, subnetOf(CHANGED_AT_ONCE - 1)))?.nextHop ===
          publicIpOf(CHANGED_AT_ONCE - 1 + turn),
      );
      await untilRoutes(daemon, LEASES + 1);
    }
    await load.assertWhole(t);
    t.comment(residentOf(daemon));
  });

  await t.test('a host that joins is reached from all the others', async (t) => {
    await scenario.start(2, { etcd: etcd.endpoint });
    await lab.setPodMtu(1472);
    await until('pod3 to answer pod1', () => answers(lab.pod(0), lab.pod(2).address), SECONDS);
    await until('pod3 to answer pod2', () => answers(lab.pod(1), lab.pod(2).address), SECONDS);
    await untilRoutes(daemon, LEASES + 2);
    t.match(await routeOf(daemon, '10.1.3.0/24'), { nextHop: lab.host(2).publicIp });
  });
});

async function oneChange(t: Test, daemon: SelvageDaemon, etcd: EtcdServer): Promise<void> {
  const subnet = subnetOf((LEASES / 3) | 0);
  const { generation } = forwarderOf(await daemon.status()).routes;
  const from = daemon.log.length;
  await etcd.put(leaseKey(subnet), leaseValue('192.0.2.99'));
  await daemon.logged(({ msg }) => msg === 'routes changed', SECONDS, from);
  const status = await untilRoutes(daemon, LEASES + 1);
  t.equal(forwarderOf(status).routes.generation, generation + 1, 'in one table');
  t.match(await routeOf(daemon, subnet), { nextHop: '192.0.2.99' }, 'a public IP that changed');
  await etcd.del(leaseKey(subnet));
  await untilRoutes(daemon, LEASES);
  t.equal(await routeOf(daemon, subnet), undefined, 'a lease that went');
  await etcd.put(leaseKey(subnet), leaseValue('192.0.2.98'));
  await untilRoutes(daemon, LEASES + 1);
  t.match(await routeOf(daemon, subnet), { nextHop: '192.0.2.98' }, 'and one that came');
}

/** Waits until every lane forwards by the newest table, and that has so many routes. */
function untilRoutes(daemon: SelvageDaemon, count: number): Promise<AgentStatus> {
  return untilStatus(`${count} routes in every lane`, daemon, (status) => {
    const { routes, lanes } = forwarderOf(status);
    return routes.count === count && lanes.every(({ generation }) => generation === routes.generation);
  });
}

function forwarderOf({ forwarder }: AgentStatus): NonNullable<AgentStatus['forwarder']> {
  if (forwarder === null) throw new Error('the daemon does not forward');
  return forwarder;
}

async function routeOf(daemon: SelvageDaemon, subnet: string) {
  return (await readAgentRoutes(daemon.files.socket)).find(({ prefix }) => prefix === subnet);
}

function subnetOf(i: number): string {
  return `10.${20 + (i >> 8)}.${i & 255}.0/24`;
}

function publicIpOf(i: number): string {
  return `198.18.${(i >> 8) & 255}.${i & 255}`;
}

/** For people: what it takes depends on Node and its collector. */
function residentOf({ pid }: SelvageDaemon): string {
  const kib = Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  return `${Math.round(kib / 1024)} MiB resident`;
}
