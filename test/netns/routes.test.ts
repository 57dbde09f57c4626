/**
 * Edits of the routes file while frames are on their way.
 *
 * ```text
 *  pod1 --- host1 ~ selvage ~~~ wires ~~~ selvage ~ host2 --- pod2
 *             ^ its file is edited    ~~~ selvage ~ host3 --- pod3
 * ```
 *
 * The overlay network is 10.0.0.0/8, so that there is room for many routes that concern nobody here.
 */
import { renameSync, rmSync, writeFileSync } from 'node:fs';

import t, { type Test } from 'tap';

import { CheckedLoad } from './checked_load.js';
import type { Lab, LabPod } from './lab.js';
import { Scenario } from './scenario.js';
import { routesOf, type RoutesDocument, type SelvageDaemon } from './selvage.js';
import { until } from './until.js';

type Peers = RoutesDocument['peers'];

const EDITS = 10;
const UNRELATED_ROUTES = 1000;
const MANY_ROUTES = 65_536;
/** A bound on waiting, not a measurement. */
const SECONDS = 20;

t.setTimeout(120_000);

t.test('edits of the routes file', async (t) => {
  const scenario = await Scenario.open(t, { hosts: 3, record: false });
  const { lab } = scenario;
  const toTwo = only(lab, 0, 1);
  const daemons = await Promise.all([
    scenario.start(0, { routes: toTwo }),
    scenario.start(1, { routes: only(lab, 1, 0) }),
    scenario.start(2, { routes: only(lab, 2, 0) }),
  ]);
  await lab.setPodMtu(1472);
  await t.test('edits of unrelated routes: not one packet of a flow is lost', (t) =>
    unrelatedEdits(t, scenario, daemons),
  );
  await t.test('a new route takes effect, and its removal ends it', (t) => newRoute(t, scenario, daemons[0]));
  await t.test('a broken edit keeps the old routes and says why', (t) =>
    brokenEdits(t, scenario, daemons[0]),
  );
  await t.test('an edit of our own subnet moves the host', (t) => ownSubnet(t, scenario, daemons[0]));
});

t.test(`${MANY_ROUTES} routes`, async (t) => {
  const scenario = await Scenario.open(t);
  const { lab } = scenario;
  const toTwo = only(lab, 0, 1);
  const many = { ...toTwo, peers: [...unrelated(MANY_ROUTES - 1), ...toTwo.peers] };
  const daemon = await scenario.start(0, { routes: many });
  await scenario.start(1, { routes: only(lab, 1, 0) });
  t.equal((await daemon.stats()).routes.count, MANY_ROUTES, 'are loaded at the start');
  t.ok(await pings(lab.pod(0), lab.pod(1)), 'the one that matters among them works');

  const load = await CheckedLoad.start(lab);
  const from = daemon.log.length;
  const started = performance.now();
  daemon.writeRoutes({ ...many, peers: [...many.peers.slice(0, -2), ...toTwo.peers] });
  // Not by the counters: with so many peers they are ten megabytes of log, and would be most of what is measured.
  await daemon.logged(({ routes }) => routes === MANY_ROUTES - 1, SECONDS, from);
  t.comment(`an edit among them took effect after ${Math.round(performance.now() - started)} ms`);
  await load.assertWhole(t);
});

/** Rewrites both hosts' files again and again, each time waiting until the lanes forward by the new routes. */
async function unrelatedEdits(t: Test, { lab }: Scenario, daemons: readonly SelvageDaemon[]): Promise<void> {
  const load = await CheckedLoad.start(lab);
  for (let edit = 0; edit < EDITS; edit++) {
    const more = edit % 2 === 0 ? unrelated(UNRELATED_ROUTES) : [];
    for (const i of [0, 1]) {
      const { peers, ...host } = only(lab, i, 1 - i);
      // In front of and behind the one that matters, so that its place in the file changes too.
      daemons[i]!.writeRoutes({ ...host, peers: [...more.slice(0, 500), ...peers, ...more.slice(500)] });
    }
    await Promise.all([inForce(daemons[0]!, 1 + more.length), inForce(daemons[1]!, 1 + more.length)]);
  }
  await load.assertWhole(t);
  for (const i of [0, 1]) {
    const { outbound, inbound } = await daemons[i]!.stats();
    t.equal(outbound.drops.noRoute, 0, `host${i + 1}: never was there no route`);
    t.equal(
      inbound.drops.unknownPeer + inbound.drops.spoofedSource,
      0,
      `host${i + 1}: the peer was always known`,
    );
  }
}

async function newRoute(t: Test, { lab }: Scenario, daemon: SelvageDaemon): Promise<void> {
  const [pod1, pod3] = [lab.pod(0), lab.pod(2)];
  const [toTwo, toThree] = [only(lab, 0, 1), only(lab, 0, 2)];
  t.notOk(await pings(pod1, pod3), 'at first there is no way');
  const started = performance.now();
  daemon.writeRoutes({ ...toTwo, peers: [...toTwo.peers, ...toThree.peers] });
  await until('a ping to return', () => pings(pod1, pod3), SECONDS);
  t.comment(`the new route carried a ping ${Math.round(performance.now() - started)} ms after the edit`);

  const { noRoute } = (await daemon.stats()).outbound.drops;
  daemon.writeRoutes(toTwo);
  const said = await until('"net unreachable"', async () => {
    const { stdout } = await ping(pod1, pod3);
    return stdout.includes('Destination Net Unreachable') && stdout;
  });
  t.match(said, /From 10\.1\.1\.0 /, 'the sender is told when it is gone');
  t.ok((await daemon.stats()).outbound.drops.noRoute > noRoute, 'and the drop is counted as noRoute');
  t.ok(await pings(pod1, lab.pod(1)), 'the other route stays');
}

async function brokenEdits(t: Test, { lab }: Scenario, daemon: SelvageDaemon): Promise<void> {
  const good = only(lab, 0, 1);
  const [peer] = good.peers;
  const edits: readonly { rule: string; text: string; says: RegExp }[] = [
    {
      rule: 'not JSON',
      text: '{ "network": "10.0.0.0/8",\n "subnet" ',
      says: /not valid JSON at line 2, column \d+/,
    },
    {
      rule: 'half a file',
      text: JSON.stringify(good, null, 2).slice(0, 120),
      says: /not valid JSON at line \d+/,
    },
    { rule: 'an empty file', text: '', says: /not valid JSON at line 1/ },
    {
      rule: 'a missing field',
      text: JSON.stringify({ ...good, peers: undefined }),
      says: /peers is missing/,
    },
    {
      rule: 'a misspelt field',
      text: JSON.stringify({ ...good, peers: [{ ...peer, publicIP: '192.0.2.1' }] }),
      says: /peers\[0\].*"publicIP".*publicIp/,
    },
    {
      rule: 'a wrong address',
      text: JSON.stringify({ ...good, peers: [{ ...peer, publicIp: '192.0.2.256' }] }),
      says: /peers\[0\]\.publicIp: .*192\.0\.2\.256/,
    },
    {
      rule: 'a wrong port',
      text: JSON.stringify({ ...good, peers: [{ ...peer, port: 65_536 }] }),
      says: /peers\[0\]\.port: 65536/,
    },
    {
      rule: 'host bits in a subnet',
      text: JSON.stringify({ ...good, peers: [{ ...peer, subnet: '10.1.2.1/24' }] }),
      says: /peers\[0\]\.subnet: .*10\.1\.2\.1\/24/,
    },
    {
      rule: 'a subnet twice',
      text: JSON.stringify({ ...good, peers: [peer, peer] }),
      says: /peers\[1\]\.subnet: .*peers\[0\]/,
    },
    {
      rule: 'our own subnet',
      text: JSON.stringify({ ...good, peers: [{ ...peer, subnet: good.subnet }] }),
      says: /peers\[0\]\.subnet: .*own subnet/,
    },
  ];
  for (const { rule, text, says } of edits) {
    const from = daemon.log.length;
    writeText(daemon.routesFile, text);
    const line = await daemon.logged(({ level }) => level === 'error', SECONDS, from);
    t.match(line, { level: 'error', msg: says }, `${rule}: says why`);
    t.match(line.msg, 'the routes stay as they were', `${rule}: and that nothing changes`);
    t.ok(await pings(lab.pod(0), lab.pod(1)), `${rule}: the old routes go on`);
  }

  const from = daemon.log.length;
  rmSync(daemon.routesFile);
  await daemon.logged(({ level, msg }) => level === 'error' && msg.includes('no such file'), SECONDS, from);
  t.ok(await pings(lab.pod(0), lab.pod(1)), 'no file at all: the old routes go on');

  daemon.writeRoutes({ ...good, peers: [...good.peers, ...unrelated(3)] });
  await inForce(daemon, 4);
  t.pass('and the next good edit is taken');
}

/** The device is made anew, so its counters begin at 0; peers are as the file says. */
async function ownSubnet(t: Test, { lab }: Scenario, daemon: SelvageDaemon): Promise<void> {
  const good = only(lab, 0, 1);
  const from = daemon.log.length;
  daemon.writeRoutes({ ...good, subnet: '10.1.9.0/24' });
  const moved = await daemon.logged(({ msg }) => msg === 'moved to another subnet', SECONDS, from);
  t.match(moved, { from: good.subnet, to: '10.1.9.0/24' });
  t.equal((await daemon.stats()).device.address, '10.1.9.0', 'the device has the new address');
  daemon.writeRoutes(good);
  await daemon.logged(
    ({ msg, to }) => msg === 'moved to another subnet' && to === good.subnet,
    SECONDS,
    from,
  );
  t.ok(await pings(lab.pod(0), lab.pod(1)), 'back at the old one, its pods are reached again');
}

/** The file of host `index` with a route to host `other` alone. */
function only(lab: Lab, index: number, other: number): RoutesDocument {
  const { subnet, publicIp } = lab.host(other);
  return { ...routesOf(lab, index), network: '10.0.0.0/8', peers: [{ subnet, publicIp }] };
}

/** Routes that no packet here uses, up to 65,536, each with a next hop of its own: 10.1.0.0/16 is the lab's. */
function unrelated(count: number): Peers {
  return Array.from({ length: count }, (_, i) => ({
    subnet: unrelatedSubnet(i),
    publicIp: `198.18.${(i >> 8) & 255}.${i & 255}`,
  }));
}

/** Of 10.128.0.0/9 and what follows 10.1.0.0/16, the networks of 24 bits; then of 10.0.0.0/16 those of 25. */
function unrelatedSubnet(i: number): string {
  if (i < 32_768) return `10.${128 + (i >> 8)}.${i & 255}.0/24`;
  const j = i - 32_768;
  if (j < 126 * 256) return `10.${2 + (j >> 8)}.${j & 255}.0/24`;
  const k = j - 126 * 256;
  return `10.0.${k >> 1}.${(k & 1) * 128}/25`;
}

/** Waits until every lane forwards by this many routes. */
async function inForce(daemon: SelvageDaemon, routes: number): Promise<void> {
  await until(`${routes} routes in every lane`, async () => {
    const stats = await daemon.stats();
    return (
      stats.routes.count === routes &&
      stats.lanes.every((lane) => lane.generation === stats.routes.generation)
    );
  });
}

function ping(from: LabPod, to: LabPod): Promise<{ code: number; stdout: string }> {
  return from.exec('ping', ['-n', '-c', '1', '-W', '2', to.address], { mayFail: true });
}

async function pings(from: LabPod, to: LabPod): Promise<boolean> {
  return (await ping(from, to)).code === 0;
}

function writeText(path: string, text: string): void {
  writeFileSync(`${path}.next`, text);
  renameSync(`${path}.next`, path);
}
