/**
 * etcd comes and goes, and so do daemons; frames are carried all the while.
 *
 * ```text
 *  pod1 --- host1 ~ selvage ~~~ wires ~~~ selvage ~ host2 --- pod2
 *                                 |
 *                             etcd-server, which is killed, stopped, cut off, replaced
 * ```
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import t, { type Test } from 'tap';

import { readAgentRoutes } from '../../src/index.js';
import { CheckedLoad } from './checked_load.js';
import { cpuSeconds } from './cpu_time.js';
import {
  answers,
  cutOff,
  HEALTH_ARGS,
  probe,
  reconnect,
  SECONDS,
  untilAway,
  untilHealthy,
} from './daemon_checks.js';
import type { EtcdServer } from './etcd_server.js';
import { leaseKey, leaseValue, startNetwork } from './flannel_network.js';
import type { Lab } from './lab.js';
import { Scenario } from './scenario.js';
import { daemonFiles, type SelvageDaemon } from './selvage.js';
import { checkedTcp } from './transfers.js';
import { until } from './until.js';

const CPU_SECONDS = 3;
/** Of one core. A loop that tries again without a pause takes all of it, and a lane that looks too often a good part. */
const IDLE_SHARE = 0.1;
const FOREIGN = '10.1.77.0/24';
const WHILE_AWAY = '10.1.78.0/24';
const TRANSFER = { streams: 2, listenBytes: 10_000_000, connectBytes: 10_000_000 };

t.setTimeout(180_000);

/** Two daemons of a network in etcd, each of which may be replaced. */
class Network {
  readonly scenario: Scenario;
  readonly daemons: SelvageDaemon[] = [];
  etcd: EtcdServer;

  constructor(scenario: Scenario, etcd: EtcdServer) {
    this.scenario = scenario;
    this.etcd = etcd;
  }

  get lab(): Lab {
    return this.scenario.lab;
  }

  get first(): SelvageDaemon {
    return this.daemons[0]!;
  }

  async start(index: number, started: 'ready' | 'spawned' = 'ready'): Promise<SelvageDaemon> {
    const daemon = await this.scenario.start(index, {
      etcd: this.etcd.endpoint,
      extraArgs: HEALTH_ARGS,
      started,
    });
    this.daemons[index] = daemon;
    return daemon;
  }

  async kill(index: number): Promise<void> {
    const { child } = this.daemons[index]!;
    child.kill('SIGKILL');
    await child.exited;
  }

  async untilHealthy(): Promise<void> {
    await Promise.all(this.daemons.map((daemon) => untilHealthy(daemon)));
  }

  /** Subnets that a daemon forwards to, in order. */
  async subnetsOf(index: number): Promise<string[]> {
    const routes = await readAgentRoutes(this.daemons[index]!.files.socket);
    return routes.map(({ prefix }) => prefix).sort();
  }

  /** Waits until a daemon forwards to these and to no others. */
  async untilRoutes(index: number, subnets: readonly string[]): Promise<void> {
    const wanted = [...subnets].sort().join();
    await until(`routes ${wanted}`, async () => (await this.subnetsOf(index)).join() === wanted, SECONDS);
  }

  cutOff(index: number): Promise<void> {
    return cutOff(this.lab.host(index), this.lab.controlPlane.address);
  }

  reconnect(index: number): Promise<void> {
    return reconnect(this.lab.host(index));
  }
}

t.test('a network whose etcd goes away', async (t) => {
  const scenario = await Scenario.open(t, { hosts: 2, controlPlane: true, packages: ['nftables'] });
  const network = new Network(scenario, await startNetwork(scenario.lab));
  await Promise.all([network.start(0), network.start(1)]);
  await network.lab.setPodMtu(1472);
  const steps: [rule: string, step: (t: Test, network: Network) => Promise<void>][] = [
    ['killed and started again: not one packet is lost, and changes arrive after it', killed],
    ['standing still: noticed, and got over', standsStill],
    ['cut off from one host: that one alone says so, and catches up', cutOffFromOne],
    ['away: the daemons are near idle', idle],
    ['there while a daemon is killed: it has its subnet and its routes again', daemonKilled],
    ['cut off while a daemon is killed: it goes on by what it had saved', daemonKilledMeanwhile],
    ['away, and what was saved is of no use: said, and not used', uselessSnapshots],
    ['replaced by one that knows nothing: leases are made again, and old routes go', replaced],
  ];
  for (const [rule, step] of steps) await t.test(rule, (t) => step(t, network));
});

async function killed(t: Test, network: Network): Promise<void> {
  const { lab, etcd, daemons, first } = network;
  const load = await CheckedLoad.start(lab);
  const { connection } = await storeOf(first);
  await etcd.kill();
  const [reason] = await Promise.all(daemons.map(untilAway));
  t.match(reason!.message, /^etcd http:\S+: (connection refused|the server ended)/, 'status says why');
  t.ok(reason!.since !== null && reason!.since >= connection.since, `and since when: ${reason!.since}`);
  const health = await probe(lab.host(0), '/healthz');
  t.match(
    health,
    { code: 200, body: { status: 'degraded', reasons: [{ code: 'storeAway', since: reason!.since }] } },
    '/healthz says the same, and that the process need not be ended',
  );
  t.match(await probe(lab.host(0), '/readyz'), { code: 200, body: { ready: true } });
  await first.logged(({ msg }) => msg.startsWith('the store is away, the routes stay: '), SECONDS);
  await checkedTcp(t, lab.pod(1), lab.pod(0), TRANSFER, 'TCP while etcd is away');

  await etcd.restart();
  await etcd.put(leaseKey(FOREIGN), leaseValue('192.168.100.77'));
  await network.untilRoutes(0, ['10.1.2.0/24', FOREIGN]);
  await network.untilRoutes(1, ['10.1.1.0/24', FOREIGN]);
  await network.untilHealthy();
  t.match(await probe(lab.host(0), '/healthz'), { code: 200, body: { status: 'ok', reasons: [] } });
  await load.assertWhole(t);
  for (const daemon of daemons) {
    const { relists, disconnects } = await storeOf(daemon);
    t.match({ relists, disconnects }, { relists: 0, disconnects: 1 }, 'the watch went on where it was');
  }
}

async function standsStill(t: Test, { lab, etcd, daemons }: Network): Promise<void> {
  const load = await CheckedLoad.start(lab);
  etcd.pause();
  const reasons = await Promise.all(daemons.map(untilAway));
  for (const { message } of reasons) t.match(message, /PING timed out|no answer within/);
  etcd.resume();
  await Promise.all(daemons.map(untilHealthy));
  await load.assertWhole(t);
}

async function cutOffFromOne(t: Test, network: Network): Promise<void> {
  const { lab, etcd, daemons, first } = network;
  const load = await CheckedLoad.start(lab);
  await network.cutOff(0);
  const { message } = await untilAway(first);
  t.match(message, /PING timed out|no answer/);
  t.equal((await daemons[1]!.status()).health.status, 'ok', 'the other one is well');
  await etcd.put(leaseKey(WHILE_AWAY), leaseValue('192.168.100.78'));
  await etcd.del(leaseKey(FOREIGN));
  await network.untilRoutes(1, ['10.1.1.0/24', WHILE_AWAY]);
  t.strictSame(await network.subnetsOf(0), ['10.1.2.0/24', FOREIGN], 'the one cut off keeps what it had');
  await network.reconnect(0);
  await network.untilRoutes(0, ['10.1.2.0/24', WHILE_AWAY]);
  await network.untilHealthy();
  await load.assertWhole(t);
}

async function idle(t: Test, network: Network): Promise<void> {
  await network.etcd.kill();
  await Promise.all(network.daemons.map(untilAway));
  const before = network.daemons.map(({ pid }) => cpuSeconds([pid]));
  const started = performance.now();
  await sleep(CPU_SECONDS * 1000);
  const seconds = (performance.now() - started) / 1000;
  network.daemons.forEach(({ pid }, i) => {
    const share = (cpuSeconds([pid]) - before[i]!) / seconds;
    t.ok(share < IDLE_SHARE, `host${i + 1}: ${(share * 100).toFixed(1)} % of a core`);
  });
  await network.etcd.restart();
  await network.untilHealthy();
}

async function daemonKilled(t: Test, network: Network): Promise<void> {
  const { lab, etcd } = network;
  const before = await etcd.get(leaseKey('10.1.1.0/24'));
  await network.kill(0);
  const started = performance.now();
  const daemon = await network.start(0);
  await until('pod2 to answer again', () => answers(lab.pod(0), lab.pod(1).address), SECONDS);
  t.comment(`traffic flows ${Math.round(performance.now() - started)} ms after the daemon was started`);
  await untilHealthy(daemon);
  t.match(await daemon.status(), { network: { subnet: '10.1.1.0/24' }, source: { stale: false } });
  const after = await etcd.get(leaseKey('10.1.1.0/24'));
  t.match(after, { createRevision: before!.createRevision, value: before!.value }, 'it is the lease it had');
  t.not(after!.lease, before!.lease, 'with its time limit begun anew');
  await network.untilRoutes(0, ['10.1.2.0/24', WHILE_AWAY]);
}

async function daemonKilledMeanwhile(t: Test, network: Network): Promise<void> {
  const { lab, etcd } = network;
  await untilSaved(lab, 0, WHILE_AWAY);
  await network.cutOff(0);
  await network.kill(0);
  await etcd.del(leaseKey(WHILE_AWAY));
  await etcd.put(leaseKey(FOREIGN), leaseValue('192.168.100.77'));
  const daemon = await network.start(0);
  t.strictSame(await network.subnetsOf(0), ['10.1.2.0/24', WHILE_AWAY], 'it has the routes it had');
  t.ok(await answers(lab.pod(0), lab.pod(1).address), 'and forwards by them');
  t.match(await daemon.status(), {
    health: { status: 'degraded' },
    network: { subnet: '10.1.1.0/24' },
    source: { stale: true },
  });
  const codes = (await daemon.status()).health.reasons.map(({ code }) => code);
  t.ok(codes.includes('staleRoutes'), `the reasons: ${codes.join(', ')}`);
  t.match(await probe(lab.host(0), '/readyz'), { code: 200, body: { ready: true } }, 'pods may start');

  const load = await CheckedLoad.start(lab);
  await network.reconnect(0);
  await network.untilRoutes(0, ['10.1.2.0/24', FOREIGN]);
  await untilHealthy(daemon);
  t.match(await daemon.status(), { source: { stale: false, lease: { subnet: '10.1.1.0/24' } } });
  await load.assertWhole(t);
}

async function uselessSnapshots(t: Test, network: Network): Promise<void> {
  const { lab, etcd } = network;
  await untilSaved(lab, 0, FOREIGN);
  await etcd.kill();
  await network.kill(0);
  const file = savedFile(lab, 0);
  const text = readFileSync(file, 'utf8');
  const saved = JSON.parse(text) as { own: object };
  const cases: [rule: string, text: string, says: RegExp][] = [
    ['broken', text.slice(0, text.length / 2), /json is not used: .*JSON/],
    ['of another network', JSON.stringify({ ...saved, networkKey: '/other' }), /belongs to "\/other"/],
    [
      'of a lease that has run out',
      JSON.stringify({ ...saved, own: { ...saved.own, expiresAt: '2001-01-01T00:00:00.000Z' } }),
      /routes of an earlier run are not used: the lease of that time ran out at 2001/,
    ],
    [
      'of another public IP',
      JSON.stringify({ ...saved, own: { ...saved.own, publicIp: '192.168.100.99' } }),
      /routes of an earlier run are not used: this host's public IP was 192\.168\.100\.99/,
    ],
  ];
  for (const [rule, text, says] of cases) {
    writeFileSync(file, text);
    const daemon = await network.start(0, 'spawned');
    const line = await daemon.logged(({ msg }) => says.test(msg), SECONDS);
    t.equal(line.level, 'warn', `${rule}: ${line.msg}`);
    await daemon.logged(({ msg }) => msg.startsWith('waiting: etcd '), SECONDS);
    t.notOk(
      daemon.log.some(({ msg }) => msg === 'ready'),
      `${rule}: nothing is forwarded before etcd answers`,
    );
    await network.kill(0);
  }
  await etcd.restart();
  await network.start(0);
  await network.untilRoutes(0, ['10.1.2.0/24', FOREIGN]);
  t.match(await network.first.status(), { network: { subnet: '10.1.1.0/24' } }, 'with etcd all is as it was');
}

async function replaced(t: Test, network: Network): Promise<void> {
  const { lab, etcd, daemons } = network;
  // So that the new one's revisions stay behind those that the daemons have seen.
  for (let i = 0; i < 20; i++) await etcd.put(leaseKey('10.1.79.0/24'), leaseValue(`192.168.100.${100 + i}`));
  await network.untilRoutes(0, ['10.1.2.0/24', FOREIGN, '10.1.79.0/24']);
  const from = daemons.map(({ log }) => log.length);
  await etcd.close();
  network.etcd = await startNetwork(lab);
  await Promise.all(
    daemons.map(async (daemon, i) => {
      await daemon.logged(({ msg }) => /^leases listed anew: .*went back/.test(msg), SECONDS, from[i]);
      await daemon.logged(
        ({ msg }) => msg === 'the same subnet was free: lease acquired again',
        SECONDS,
        from[i],
      );
    }),
  );
  await network.untilRoutes(0, ['10.1.2.0/24']);
  await network.untilRoutes(1, ['10.1.1.0/24']);
  await network.untilHealthy();
  t.strictSame(
    (await network.etcd.list(leaseKey(''))).map(({ key, value }) => [key, value]),
    [1, 2].map((n) => [leaseKey(`10.1.${n}.0/24`), leaseValue(`192.168.100.${n}`)]),
    'etcd has their leases and no others',
  );
  t.ok(await answers(lab.pod(0), lab.pod(1).address), 'the pods reach each other');
}

async function storeOf(daemon: SelvageDaemon) {
  const { source } = await daemon.status();
  if (source.kind !== 'store') throw new Error('the daemon has no store');
  return source;
}

function savedFile(lab: Lab, index: number): string {
  return join(daemonFiles(lab, index).state, 'coreos.com-network.json');
}

/** Waits until what a daemon saves for its next start has a route. */
async function untilSaved(lab: Lab, index: number, subnet: string): Promise<void> {
  await until(`${subnet} to be saved`, () => readFileSync(savedFile(lab, index), 'utf8').includes(subnet));
}
