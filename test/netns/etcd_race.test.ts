/**
 * More hosts than subnets, all at once.
 *
 * ```text
 *  host1 ... host20 ~ selvage run, started together ~~~ wires --- etcd 192.168.100.254
 *                     10.1.0.0/20 in subnets of 24 bits: 16 of them
 * ```
 */
import t from 'tap';

import type { CommandResult } from './child.js';
import { FlannelNetwork, leaseKey, leaseValue } from './flannel_network.js';
import type { SelvageDaemon } from './selvage.js';
import { until } from './until.js';

const HOSTS = 20;
const SUBNETS = 16;
const CONFIG = { Network: '10.1.0.0/20', SubnetLen: 24, SubnetMin: '10.1.0.0' };
/** So many Nodes start slowly on a small machine. */
const START_SECONDS = 120;

t.setTimeout(300_000);

t.test(`${HOSTS} hosts start together on a network with ${SUBNETS} subnets`, async (t) => {
  const network = await FlannelNetwork.open(t, { hosts: HOSTS, config: CONFIG });
  const { lab } = network;
  const daemons = await Promise.all(lab.hosts.map((_, i) => spawn(network, i)));
  const outcomes = await Promise.all(daemons.map(outcomeOf));
  const winners = daemons.filter((_, i) => outcomes[i] === undefined);
  const losers = outcomes.flatMap((outcome, i) => (outcome === undefined ? [] : [{ index: i, outcome }]));

  await t.test(`exactly ${SUBNETS} get a subnet each, no two alike`, async (t) => {
    t.equal(winners.length, SUBNETS);
    const all = Array.from({ length: SUBNETS }, (_, i) => `10.1.${i}.0/24`);
    const held = await Promise.all(winners.map(async (each) => (await each.status()).network?.subnet ?? ''));
    t.strictSame([...held].sort(byNumber), all, 'all of them, each once');
    const leases = await network.leases();
    const expected = winners.map((winner, i) => [leaseKey(held[i]!), leaseValue(publicIpOf(winner))]);
    t.strictSame(
      leases.map(({ key, value }) => [key, value]),
      expected.sort(([a = ''], [b = '']) => (a < b ? -1 : 1)),
      'and etcd says so too',
    );
    for (const winner of winners) {
      await until('routes to all the others', async () => {
        const { count } = (await winner.stats()).routes;
        return count === SUBNETS - 1;
      });
    }
    t.pass('each routes to all the others');
  });

  await t.test('the others end with exit code 1 and one line that says why', (t) => {
    t.equal(losers.length, HOSTS - SUBNETS);
    for (const { index, outcome } of losers) {
      const lines = outcome.stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
      t.equal(outcome.code, 1, `host${index + 1}`);
      t.equal(lines.length, 1, `host${index + 1}: one line that is not the log`);
      t.match(
        lines[0],
        /^selvage: out of subnets: all 16 subnets from 10\.1\.0\.0\/24 to 10\.1\.15\.0\/24 are leased \(0 of them reserved\); widen .*release one/,
        `host${index + 1}: with the numbers and the remedy`,
      );
    }
    t.end();
  });

  await t.test('a lease is released: a late host gets it', async (t) => {
    const leaving = winners[0]!;
    const subnet = (await leaving.status()).network!.subnet!;
    t.equal((await leaving.stop()).code, 0);
    const release = await network.selvage(['lease', 'release', subnet, '--force']);
    t.equal(release.code, 0, release.stderr);
    const late = await spawn(network, losers[0]!.index);
    t.equal(await outcomeOf(late), undefined, 'it stays');
    t.equal((await late.status()).network?.subnet, subnet);
  });
});

function spawn(network: FlannelNetwork, index: number): Promise<SelvageDaemon> {
  return network.start(index, { labSubnet: false, started: 'spawned' });
}

/** How a daemon ended; undefined when it forwards. */
async function outcomeOf(daemon: SelvageDaemon): Promise<CommandResult | undefined> {
  const ready = daemon.logged(({ msg }) => msg === 'ready', START_SECONDS).then(() => undefined);
  return await ready.catch((error: unknown) => {
    if (daemon.child.running) throw error;
    return daemon.child.result(1);
  });
}

/** The address that a daemon said it listens on. */
function publicIpOf(daemon: SelvageDaemon): string {
  const ready = daemon.log.find(({ msg }) => msg === 'ready');
  return String(ready?.['listen']).split(':')[0]!;
}

function byNumber(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}
