/**
 * The life of a forwarder inside another program: crashes, exits, leaks. Each rule runs a scenario of
 * `lifecycle_scenarios.ts` as a process of its own in a network namespace.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import t from 'tap';

import type { CommandResult } from './child.js';
import { Lab } from './lab.js';
import { ensurePackages, LAB_PACKAGES } from './packages.js';
import { ensurePrivileges } from './privileges.js';

const SCENARIOS = fileURLToPath(new URL('./lifecycle_scenarios.js', import.meta.url));
const EXAMPLES = fileURLToPath(new URL('../../../examples/', import.meta.url));

ensurePackages(LAB_PACKAGES);
await ensurePrivileges();
const lab = await Lab.create();
t.teardown(() => lab.close());

async function runScenario(name: string): Promise<Record<string, unknown>> {
  const { stdout } = await lab.host(1).exec(process.execPath, [SCENARIOS, name], { timeoutSeconds: 60 });
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, unknown>;
}

t.test('two forwarders in one process carry frames both ways, and one outlives the other', async (t) => {
  const result = await runScenario('embedded-twice');
  t.same(result.both, [true, true]);
  t.equal(result.afterFirstClosed, true);
  t.equal(result.lanes, 2);
  const [peer] = result.peers as { address: string; framesOut: number; framesIn: number }[];
  t.equal(peer?.address, '127.0.0.2');
  t.ok(peer!.framesOut > 0 && peer!.framesIn > 0, 'the peer is counted in both directions');
});

t.test('a lane whose thread dies is started again, by the newest routes', async (t) => {
  t.same(await runScenario('crash'), {
    before: true,
    bothDown: true,
    after: true,
    restarts: [1, 1],
    observedNewest: true,
  });
});

t.test('closing twice is closing once, and the device is gone', async (t) => {
  t.same(await runScenario('double-close'), { closed: 1, devices: [] });
});

t.test('no descriptor leaks, over whole lives and failed starts', async (t) => {
  t.same(await runScenario('fd-leak'), {
    leaked: 0,
    failures: ['EADDRINUSE', 'EBUSY', 'ERR_OPTION'],
    devices: [],
  });
});

t.test('a thousand changes of the routes, 250 MiB of tables, leave no memory in use', async (t) => {
  const { grownMebibytes } = (await runScenario('many-changes')) as { grownMebibytes: number };
  t.ok(grownMebibytes < 100, `${grownMebibytes.toFixed(0)} MiB more than before`);
});

t.test('a forwarder can be closed while its lanes are still being loaded', async (t) => {
  t.same(await runScenario('close-during-start'), { devices: [] });
});

t.test('a deleted device stops every lane, and a listener that throws keeps nothing open', async (t) => {
  t.same(await runScenario('device-gone'), {
    told: 'ERR_TUN_GONE',
    thrown: 'a listener that throws',
    allStopped: true,
    settled: 'ERR_TUN_GONE',
    leaked: 0,
  });
});

t.test('a change that is refused changes nothing', async (t) => {
  t.same(await runScenario('refused-changes'), {
    codes: ['ERR_ROUTE_LIMIT', 'done', 'ERR_CLOSED'],
    unchanged: true,
  });
});

t.test('options that do not fit are refused by name', async (t) => {
  t.same(await runScenario('bad-options'), {
    messages: ['laness', 'sourceCheck', 'offload', 'lanes', 'mtuBytes', 'tunName', 'subnet', 'network'],
    devices: [],
  });
});

t.test('process.exit() ends a process whose lanes sleep', async (t) => {
  const { stdout, code } = await lab
    .host(1)
    .exec(process.execPath, [SCENARIOS, 'exit'], { timeoutSeconds: 20, mayFail: true });
  t.same(JSON.parse(stdout), { exiting: true });
  t.equal(code, 7);
});

t.test('an uncaught error ends a process whose lanes sleep', async (t) => {
  const { stdout, stderr, code } = await lab
    .host(1)
    .exec(process.execPath, [SCENARIOS, 'throw'], { timeoutSeconds: 20, mayFail: true });
  t.same(JSON.parse(stdout), { throwing: true });
  t.match(stderr, 'nobody catches this');
  t.equal(code, 1);
});

t.test('65,536 routes are published under way', async (t) => {
  t.same(await runScenario('many-routes'), { works: true, count: 65_537, observed: true });
});

t.test('the example of the README runs', async (t) => {
  const { stdout } = await runExample('embed.mjs');
  t.match(stdout, /forwarding on example0/);
  t.match(stdout, /closed/);
});

t.test('the example of a trace shows what was sent on and what was not', async (t) => {
  const { stdout, stderr } = await runExample('trace.mjs');
  t.match(stdout, /> 10\.9\.2\.2, 33 bytes, to 127\.0\.0\.2\n[^]*> 10\.9\.9\.9, 33 bytes, dropped: noRoute/);
  t.match(stdout, /the trace is over\n2 of 2 shown\n$/);
  t.equal(stderr, '', 'without a warning');
});

t.test('the example of an agent with a store of its own runs', async (t) => {
  const { stdout, stderr } = await runExample('agent.mjs');
  t.match(
    stdout,
    /lease: acquired[^]*10\.1\.\d+\.0\/24 of 10\.1\.0\.0\/16 is ours, health ok\n1 route\nclosed/,
  );
  t.equal(stderr, '', 'without a warning');
});

function runExample(name: string): Promise<CommandResult> {
  const env = { TMPDIR: lab.directory };
  return lab.host(1).exec(process.execPath, [join(EXAMPLES, name)], { env, timeoutSeconds: 30 });
}
