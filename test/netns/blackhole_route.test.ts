/**
 * The blackhole route to this host's own subnet: swallows what no bridge takes, and nothing else.
 */
import t from 'tap';

import type { LabHost } from './lab.js';
import { evaluate, Program } from './program.js';
import { Scenario } from './scenario.js';
import { until } from './until.js';

t.setTimeout(60_000);

const SUBNETS = ['10.1.1.0/24', 'fd00:1:0:1::/64'];
const OTHERS = ['10.1.7.0/24', 'fd00:1:0:7::/64'];

/** Keeps routes until SIGTERM; SIGUSR2 changes them to `input.then`. */
const KEEP = `
  const { BlackholeRoute } = await load('host/blackhole_route.js');
  const news = (event) => (what) => tell({ event, message: what.message ?? what });
  const route = await BlackholeRoute.open({
    subnets: input.subnets, resyncSeconds: 0.02, onRepair: news('repair'), onError: news('error'),
    onRecovery: () => tell({ event: 'recovery' }),
  });
  const life = setInterval(() => undefined, 1000);
  process.on('SIGTERM', () => route.close().then(() => clearInterval(life)));
  process.on('SIGUSR2', () => route.update(input.then).then(() => tell({ event: 'updated' })));
  tell({ event: 'open' });`;

const REMOVE = `
  const { removeBlackholeRoute } = await load('host/blackhole_route.js');
  const removed = [];
  for (const subnet of input) removed.push(await removeBlackholeRoute(subnet));
  tell(removed);`;

/** The prefixes with a blackhole route, of both families. */
async function blackholes(host: LabHost): Promise<string[]> {
  const found: string[] = [];
  for (const family of ['-4', '-6']) {
    const { stdout } = await host.exec('ip', ['-json', family, 'route', 'show', 'type', 'blackhole']);
    found.push(...(JSON.parse(stdout) as { dst: string }[]).map(({ dst }) => dst));
  }
  return found;
}

t.test('the blackhole route', async (t) => {
  const { lab } = await Scenario.open(t);
  const host = lab.host(0);
  const program = new Program(host, KEEP, { subnets: SUBNETS, then: OTHERS });
  await program.telling(1);
  t.strictSame(await blackholes(host), SUBNETS, 'is there for both families');

  const wayTo = async (address: string): Promise<string> => {
    const { stdout, stderr } = await host.exec('ip', ['route', 'get', address], { mayFail: true });
    return stdout + stderr;
  };
  t.match(await wayTo('10.1.1.2'), /dev cni0/, "the bridge's own route goes before it");
  await host.ip('link set cni0 down\nroute add default dev u1');
  t.match(await wayTo('10.1.1.2'), /Invalid argument/, 'without a bridge nothing leaves by another way');
  t.match(await wayTo('10.1.2.2'), /dev u1/, 'what is for others does');

  for (const [i, subnet] of SUBNETS.entries()) {
    await host.ip(`route del blackhole ${subnet}`);
    t.match(await program.telling(2 + i), {
      event: 'repair',
      message: `the blackhole route to ${subnet} was gone`,
    });
    t.strictSame(await blackholes(host), SUBNETS, 'is put back');
  }

  program.child.kill('SIGUSR2');
  t.strictSame(await program.telling(4), { event: 'updated' }, 'nothing else was repaired');
  t.strictSame(await blackholes(host), OTHERS, 'another subnet: the former is free for its next owner');

  program.child.kill('SIGTERM');
  t.equal((await program.child.exited).code, 0);
  t.strictSame(await blackholes(host), OTHERS, 'stays when the daemon ends');
  const again = new Program(host, KEEP, { subnets: OTHERS });
  await again.telling(1);
  t.strictSame(await blackholes(host), OTHERS, 'and is no hindrance to the next');
  await again.child.terminate();

  await host.ip('route add blackhole 10.1.8.0/24');
  t.strictSame(await evaluate(host, REMOVE, [...OTHERS, '10.1.8.0/24']), [true, true, false]);
  t.strictSame(
    await blackholes(host),
    ['10.1.8.0/24'],
    "goes when that is asked for; an operator's own stays",
  );
});

t.test('a route that cannot be put back is told once, and put back when it can be', async (t) => {
  const { lab } = await Scenario.open(t);
  const host = lab.host(0);
  const [subnet] = SUBNETS;
  const program = new Program(host, KEEP, { subnets: [subnet] });
  await program.telling(1);
  // The kernel has one route for a prefix and metric.
  await host.ip(`route del blackhole ${subnet}\nroute add prohibit ${subnet} metric 4000000000`);
  t.match(await program.telling(2), { event: 'error', message: /File exists/ });
  await host.ip(`route del prohibit ${subnet}`);
  t.match(await program.telling(3), { event: 'repair' });
  t.equal(await until('the route', async () => (await blackholes(host))[0]), subnet);
  await program.child.terminate();
});
