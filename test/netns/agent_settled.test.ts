/**
 * An agent in a program of one's own, as library users have it.
 */
import { writeFileSync } from 'node:fs';

import t from 'tap';

import { Scenario } from './scenario.js';

const CHANGES = 20;

/** After each change: what the lanes forward by, and by what they should. */
interface Told {
  readonly generations: readonly { readonly wanted: number; readonly lanes: readonly number[] }[];
  readonly routes: number;
}

const LIBRARY = new URL('../../src/index.js', import.meta.url).href;
/** A file, as Node's --import, which the test runner uses, does not go with lanes in a program without one (-e). */
const PROGRAM = `
  import { createAgent, MemorySpace, MemoryStore } from ${JSON.stringify(LIBRARY)};
  const input = JSON.parse(process.argv[2]);
  const space = new MemorySpace();
  space.put('config', '{"Network":"10.1.0.0/16"}', 0);
  const agent = await createAgent({
    source: { kind: 'store', store: new MemoryStore(space), networkName: 'memory' },
    underlay: { iface: [input.iface] },
    forwarder: { lanes: 2 },
    stateDirectory: input.stateDirectory,
  });
  await agent.settled();
  await agent.start();
  const generations = [];
  for (let i = 1; i <= input.changes; i++) {
    const told = new Promise((resolve) => agent.once('routes', resolve));
    space.put('subnets/10.1.' + (100 + i) + '.0-24', '{"PublicIP":"198.51.100.' + i + '","PublicIPv6":null}', 60);
    await told;
    await agent.settled();
    const { routes, lanes } = agent.stats();
    generations.push({ wanted: routes.generation, lanes: lanes.map((lane) => lane.generation) });
  }
  const { routes } = agent.stats();
  await agent.close();
  await agent.settled();
  console.log(JSON.stringify({ generations, routes: routes.count }));`;

t.test('a settled agent has its routes in every lane', async (t) => {
  const { lab } = await Scenario.open(t, { record: false });
  const host = lab.host(0);
  const file = `${lab.directory}/program.mjs`;
  writeFileSync(file, PROGRAM);
  const input = { iface: host.underlay, stateDirectory: `${lab.directory}/state`, changes: CHANGES };
  const { stdout } = await host.exec(process.execPath, [file, JSON.stringify(input)]);
  const { generations, routes } = JSON.parse(stdout) as Told;
  t.equal(routes, CHANGES, 'every change was taken');
  for (const { wanted, lanes } of generations) t.strictSame(lanes, [wanted, wanted]);
  t.equal(new Set(generations.map(({ wanted }) => wanted)).size, CHANGES, 'each with a table of its own');
});
