/**
 * etcd as a cluster whose members fail one by one, and in twos; frames are carried all the while.
 *
 * ```text
 *  pod1 --- host1 ~ selvage ~~~~ wires ~~~~ selvage ~ host2 --- pod2
 *                                  |
 *                 host3 etcd --- host4 etcd --- host5 etcd
 * ```
 */
import t, { type Test } from 'tap';

import type { StoreStatus } from '../../src/index.js';
import { CheckedLoad } from './checked_load.js';
import { EtcdCluster, leaseEntry, leasesIn, type Member, watchesAt } from './etcd_cluster.js';
import { answers, nextHops, untilAway, untilHealthy } from './daemon_checks.js';
import { leaseKey, leaseValue } from './flannel_network.js';
import { Scenario } from './scenario.js';
import { SELVAGE_MAIN, type SelvageDaemon } from './selvage.js';
import { until } from './until.js';

const SECONDS = 40;
const HOSTS = 2;
const MEMBERS = 3;
/** Leases of one transaction of the churn, of which every other one goes in the next. */
const CHURN = 20;

t.setTimeout(240_000);

/** Two daemons that know all members of a cluster. */
class Network {
  readonly scenario: Scenario;
  readonly cluster: EtcdCluster;
  readonly daemons: readonly SelvageDaemon[];

  private constructor(scenario: Scenario, cluster: EtcdCluster, daemons: readonly SelvageDaemon[]) {
    this.scenario = scenario;
    this.cluster = cluster;
    this.daemons = daemons;
  }

  static async open(t: Test): Promise<Network> {
    const scenario = await Scenario.open(t, { hosts: HOSTS + MEMBERS });
    const { lab } = scenario;
    const cluster = await EtcdCluster.start(lab.hosts.slice(HOSTS), lab.network);
    const start = (index: number): Promise<SelvageDaemon> =>
      scenario.start(index, { etcd: cluster.endpoints });
    const daemons = await Promise.all([start(0), start(1)]);
    await lab.setPodMtu(1472);
    const network = new Network(scenario, cluster, daemons);
    await network.untilRoutesAre(cluster.members[0]!);
    return network;
  }

  /** Waits until each daemon has a route for every lease in etcd but its own, to the right host, and no others. */
  async untilRoutesAre(member: Member): Promise<void> {
    const all = await leasesIn(member);
    const differing = async (): Promise<boolean> => {
      const have = await Promise.all(this.daemons.map(nextHops));
      return have.every((routes, i) => textOf(routes) === textOf(without(all, this.#subnetOf(i))));
    };
    await until(`the routes to be those of ${Object.keys(all).length} leases`, differing, SECONDS);
  }

  /** Makes a lease at a member, and waits until all daemons follow it. */
  async assertFollow(t: Test, member: Member, subnet: string, publicIp: string): Promise<void> {
    await until(
      `${member.host.label} to take ${subnet}`,
      async () => {
        const put = ['put', '--', leaseKey(subnet), leaseValue(publicIp)];
        return (await member.server.etcdctl(put, { mayFail: true })).code === 0;
      },
      SECONDS,
    );
    await this.untilRoutesAre(member);
    t.pass(`the daemons follow a change made at ${member.host.label}`);
  }

  /** Waits until a daemon's connection has been lost once more than before, by {@link storesOf}. */
  async untilMoved(before: readonly StoreStatus[]): Promise<void> {
    const moved = async (): Promise<boolean> => {
      const now = await this.stores();
      return now.some(({ disconnects, connection }, i) => {
        return disconnects > before[i]!.disconnects && connection.connected;
      });
    };
    await until('a watch to end, and to go on elsewhere', moved, SECONDS);
  }

  async stores(): Promise<StoreStatus[]> {
    const all = await Promise.all(this.daemons.map((daemon) => daemon.status()));
    return all.map(({ source }) => {
      if (source.kind !== 'store') throw new Error('the daemon has no store');
      return source;
    });
  }

  /** Asserts that nothing was listed anew, so that what the routes are equal to came by watching. */
  async assertWatchedAll(t: Test): Promise<void> {
    for (const { relists } of await this.stores()) t.equal(relists, 0, 'not one event was lost');
  }

  /** Asserts that the daemons have the leases that they had, made when they were made. */
  async assertLeasesHeld(t: Test, before: readonly StoreStatus[]): Promise<void> {
    const now = await this.stores();
    now.forEach(({ lease }, i) => t.match(lease, before[i]!.lease, `host${i + 1} holds its lease`));
    const lost = this.daemons.flatMap(({ log }) => log.filter(({ msg }) => msg.startsWith('lease lost')));
    t.strictSame(lost, [], 'and never thought otherwise');
  }

  untilHealthy(): Promise<unknown> {
    return Promise.all(this.daemons.map((daemon) => untilHealthy(daemon)));
  }

  #subnetOf(index: number): string {
    return this.scenario.lab.host(index).subnet;
  }
}

t.test('a network whose etcd is a cluster', async (t) => {
  const network = await Network.open(t);
  const steps: [rule: string, step: (t: Test, network: Network) => Promise<void>][] = [
    ['the leader is killed: the watch goes on at another member, and no event is lost', leaderKilled],
    ['all members are started anew, one by one, under churn: the routes are those of etcd', rollingRestart],
    ['two of three are down: degraded, and forwarding goes on', twoDown],
    [
      'the leader is cut off from the others: the daemons leave it',
      (t, n) => cutOffFromOthers(t, n, 'leader'),
    ],
    [
      'a follower is cut off from the others: the daemons leave it',
      (t, n) => cutOffFromOthers(t, n, 'follower'),
    ],
    ['a member stands still: the daemons leave it', standsStill],
  ];
  for (const [rule, step] of steps) await t.test(rule, (t) => step(t, network));
});

async function leaderKilled(t: Test, network: Network): Promise<void> {
  const { cluster, scenario } = network;
  const watched = await cluster.mostWatched();
  await cluster.lead(watched);
  const before = await network.stores();
  const load = await CheckedLoad.start(scenario.lab);
  await watched.server.kill();
  const [follower] = cluster.others(watched);
  await network.assertFollow(t, follower!, '10.1.71.0/24', '192.168.100.71');
  await network.untilMoved(before);
  await network.untilHealthy();
  await watched.server.restart();
  await network.assertFollow(t, watched, '10.1.71.0/24', '192.168.100.72');
  await load.assertWhole(t);
  await network.assertLeasesHeld(t, before);
  await network.assertWatchedAll(t);
}

async function rollingRestart(t: Test, network: Network): Promise<void> {
  const { cluster, scenario } = network;
  const before = await network.stores();
  const load = await CheckedLoad.start(scenario.lab);
  const churn = new Churn(cluster);
  for (const member of cluster.members) {
    churn.away = member;
    await member.server.stop();
    await churn.rounds(3);
    await member.server.restart();
  }
  await churn.stop();
  t.comment(`${churn.changes} transactions`);
  await network.untilRoutesAre(await cluster.leaderOf(cluster.members));
  await network.untilMoved(before);
  await load.assertWhole(t);
  await network.assertLeasesHeld(t, before);
  await network.assertWatchedAll(t);
}

async function twoDown(t: Test, network: Network): Promise<void> {
  const { cluster, daemons, scenario } = network;
  const [left, ...others] = cluster.members;
  const before = await network.stores();
  const load = await CheckedLoad.start(scenario.lab);
  await Promise.all(others.map(({ server }) => server.kill()));
  const message = await until(
    'a reason that names all members',
    async () => {
      const [reason] = await Promise.all(daemons.map(untilAway));
      return cluster.members.every(({ server }) => reason!.message.includes(server.endpoint))
        ? reason!.message
        : undefined;
    },
    SECONDS,
  );
  t.match(message, `${left!.server.endpoint}: no leader`, `the one that is left has no leader: ${message}`);
  for (const { server } of others) t.match(message, `${server.endpoint}: connection refused`);
  const { lab } = scenario;
  t.ok(await answers(lab.pod(1), lab.pod(0).address), 'the pods reach each other');
  await Promise.all(others.map(({ server }) => server.restart()));
  await network.assertFollow(t, left!, '10.1.73.0/24', '192.168.100.73');
  await network.untilHealthy();
  await load.assertWhole(t);
  await network.assertLeasesHeld(t, before);
  await network.assertWatchedAll(t);
}

async function cutOffFromOthers(t: Test, network: Network, role: 'leader' | 'follower'): Promise<void> {
  const { cluster, scenario, daemons } = network;
  const watched = await cluster.mostWatched();
  await cluster.lead(role === 'leader' ? watched : cluster.others(watched)[0]!);
  const before = await network.stores();
  const from = daemons.map(({ log }) => log.length);
  const load = await CheckedLoad.start(scenario.lab);
  await cluster.isolate(watched);
  const majority = cluster.others(watched);
  await cluster.leaderOf(majority);
  await network.assertFollow(t, majority[0]!, '10.1.74.0/24', `192.168.100.${role === 'leader' ? 74 : 75}`);
  await network.untilMoved(before);
  await network.untilHealthy();
  t.equal(await watchesAt(watched), 0, 'nobody watches at the member that is cut off');
  await load.assertWhole(t); // before a lease is deleted, and its route with it

  await majority[0]!.server.del(leaseKey('10.1.1.0/24'));
  const regained = 'the same subnet was free: lease acquired again';
  await daemons[0]!.logged(({ msg }) => msg === regained, SECONDS, from[0]);
  t.pass('a daemon writes its lease');
  for (const command of ['reserve', 'release']) {
    const args = [SELVAGE_MAIN, 'lease', command, '10.1.2.0/24', '--etcd-endpoints', cluster.endpoints];
    const { code, stderr } = await scenario.lab.host(0).exec(process.execPath, args, { mayFail: true });
    t.equal(code, 0, `selvage lease ${command}: ${stderr}`);
    const adopted = 'the lease was changed and stays ours: an operator';
    await daemons[1]!.logged(({ msg }) => msg.startsWith(adopted), SECONDS, from[1]);
    from[1] = daemons[1]!.log.length;
  }
  await cluster.rejoin();
  await network.untilRoutesAre(watched);
  await network.assertWatchedAll(t);
}

async function standsStill(t: Test, network: Network): Promise<void> {
  const { cluster, scenario } = network;
  const watched = await cluster.mostWatched();
  const before = await network.stores();
  const load = await CheckedLoad.start(scenario.lab);
  watched.server.pause();
  const majority = cluster.others(watched);
  await cluster.leaderOf(majority);
  await network.assertFollow(t, majority[0]!, '10.1.76.0/24', '192.168.100.76');
  await network.untilMoved(before);
  await network.untilHealthy();
  watched.server.resume();
  await network.untilRoutesAre(watched);
  await load.assertWhole(t);
  await network.assertWatchedAll(t);
}

/** Leases that come, change and go, by one member after the other. */
class Churn {
  /** Passed over, as asking it would wait for its start. */
  away: Member | undefined;
  /** Transactions that some member took. */
  changes = 0;
  readonly #cluster: EtcdCluster;
  readonly #done: Promise<void>;
  #stopping = false;

  constructor(cluster: EtcdCluster) {
    this.#cluster = cluster;
    this.#done = this.#run();
  }

  /** Waits until so many more transactions are through. */
  async rounds(count: number): Promise<void> {
    const wanted = this.changes + count;
    await until('the churn to go on', () => this.changes >= wanted, SECONDS);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#done;
  }

  async #run(): Promise<void> {
    for (let round = 0; !this.#stopping; round++) {
      const member = this.#cluster.members[round % MEMBERS]!;
      if (member === this.away) continue;
      const { server } = member;
      const subnets = Array.from({ length: CHURN }, (_, i) => `10.1.${100 + i}.0/24`);
      const puts = subnets.map((subnet, i) => leaseEntry(subnet, `198.51.100.${1 + ((round + i) % 250)}`));
      // There may be no leader for a moment.
      const put = await server.putAll(puts).then(
        () => true,
        () => false,
      );
      const gone = leaseKey(`10.1.${100 + (round % CHURN)}.0/24`);
      await server.etcdctl(['del', '--', gone], { mayFail: true });
      if (put) this.changes++;
    }
  }
}

function without(leases: Readonly<Record<string, string>>, subnet: string): Record<string, string> {
  return Object.fromEntries(Object.entries(leases).filter(([key]) => key !== subnet));
}

function textOf(routes: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.entries(routes).sort());
}
