/**
 * The kernel refuses the datagrams of strangers for the whole life of a daemon: peers come and go, lanes die, and where the
 * kernel may not, lanes do it. What is refused is told, however much of it there is, in a few lines of the log.
 *
 * ```text
 *  etcd        host1, runs selvage === wires --- host2   a peer
 *    \______________/ leases                  \- host3   a stranger, a peer while it has a lease
 * ```
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import { innerFrame } from '../unit/inner_frame.js';
import { FlannelNetwork, leaseKey } from './flannel_network.js';
import { hostileDatagrams } from './hostile.js';
import type { Lab, LabHost } from './lab.js';
import { isMachineRoot } from './privileges.js';
import { sendDatagrams } from './replay.js';
import { Scenario } from './scenario.js';
import { type LogLine, type RoutesDocument, routesOf, type SelvageDaemon } from './selvage.js';
import { until } from './until.js';

const PORT = 8285;
const COPIES = 5;
/** In a burst, and one every ten seconds of each kind; how long the flood is heard depends on the machine. */
const MOST_LINES_OF_A_KIND = 3 + 3;
const FILTERED = { skip: !isMachineRoot() && 'only the root of the machine may load the filter' };
const WITHOUT_BPF = ['setpriv', '--bounding-set', '-bpf,-sys_admin'];
/** Ends every thread of the process as a crash would, at the signal. */
const CRASH_AT_SIGNAL = `
const threads = require('node:worker_threads');
const workers = [];
threads.Worker = class extends threads.Worker {
  constructor(...args) { super(...args); workers.push(this); }
};
process.on('SIGCONT', () => { for (const worker of workers.splice(0)) void worker.terminate(); });`;

t.setTimeout(300_000);

t.test('a lease lets its host in with its first datagram, and its end keeps it out', FILTERED, async (t) => {
  const network = await FlannelNetwork.open(t, { hosts: 3 });
  const { lab } = network;
  const daemon = await network.start(0);
  const [one, three] = [lab.host(0), lab.host(2)];
  await network.putAsFlanneld(lab.host(1).subnet, lab.host(1).publicIp);
  await until('the first peer', async () => (await daemon.stats()).peers.length === 1);
  await isRefused(t, lab, daemon, three);
  await network.putAsFlanneld(three.subnet, three.publicIp);
  await until('the second peer', async () => (await daemon.stats()).peers.length === 2);
  await isLetIn(t, lab, daemon, three);
  await network.etcd.etcdctl(['del', leaseKey(three.subnet)]);
  await until('its departure', async () => (await daemon.stats()).peers.length === 1);
  const refused = await refusedBy(daemon);
  await until('the first refusal', async () => {
    await send(lab, three, one, 1);
    return (await refusedBy(daemon)) > refused;
  });
  await isRefused(t, lab, daemon, three);
});

t.test('lanes that die and start again have strangers refused as before', FILTERED, async (t) => {
  const scenario = await Scenario.open(t, { hosts: 3 });
  const { lab } = scenario;
  const preload = join(lab.directory, 'crash.cjs');
  writeFileSync(preload, CRASH_AT_SIGNAL);
  const daemon = await scenario.start(0, {
    routes: withoutHostThree(lab),
    extraArgs: ['--lanes', '2'],
    nodeArgs: ['--require', preload],
  });
  await isRefused(t, lab, daemon, lab.host(2));
  daemon.child.kill('SIGCONT');
  await until('both lanes to run again', async () =>
    (await daemon.stats()).lanes.every(({ running, restarts }) => running && restarts === 1),
  );
  await isRefused(t, lab, daemon, lab.host(2));
  await isLetIn(t, lab, daemon, lab.host(1));
});

t.test('without CAP_BPF it is said, and lanes refuse', async (t) => {
  const scenario = await Scenario.open(t, { hosts: 3 });
  const { lab } = scenario;
  const under = isMachineRoot() ? WITHOUT_BPF : [];
  const daemon = await scenario.start(0, { routes: withoutHostThree(lab), under });
  const warning = daemon.log.find(({ msg }) => msg.includes('are not refused in the kernel, lanes do it'));
  t.match(warning?.msg, /BPF_MAP_CREATE peers: EPERM \(needs CAP_BPF/);
  t.equal((await daemon.stats()).kernel.strangersRefused, null);
  const { framesReceived, drops } = (await daemon.stats()).inbound;
  await send(lab, lab.host(2), lab.host(0));
  await until('them to be counted', async () => {
    return (await daemon.stats()).inbound.framesReceived === framesReceived + COPIES;
  });
  t.equal((await daemon.stats()).inbound.drops.unknownPeer, drops.unknownPeer + COPIES);
  await isLetIn(t, lab, daemon, lab.host(1));
});

for (const earlyDrop of [true, false]) {
  const how = `early drop ${earlyDrop ? 'on' : 'off'}`;
  t.test(`a flood is told in a few lines, who lies among them: ${how}`, async (t) => {
    const scenario = await Scenario.open(t, { hosts: 3 });
    const { lab } = scenario;
    const [one, peer, stranger] = [lab.host(0), lab.host(1), lab.host(2)];
    const routes = withoutHostThree(lab);
    const daemon = await scenario.start(0, { routes, extraArgs: [`--early-drop=${earlyDrop}`] });
    const started = performance.now();
    const options = { count: 20_000, seconds: 6, perSecond: 3_000, families: '4' } as const;
    const floods = [
      hostileDatagrams(lab, stranger, one, { ...options, kinds: ['sound'] }),
      hostileDatagrams(lab, peer, one, { ...options, perSecond: 500, kinds: ['spoofed_source'] }),
    ];
    const [ofStranger, ofPeer] = await Promise.all(floods.map((flood) => flood.report()));
    const told = (): LogLine[] => daemon.log.filter(({ msg }) => msg.endsWith('they were dropped'));
    const linesOf = (reason: string): LogLine[] => told().filter((line) => line['reason'] === reason);
    await until('both to be told', () => {
      return linesOf('unknownPeer').length > 0 && linesOf('spoofedSource').length > 0;
    });
    for (const [reason, { sent }, from] of [
      ['unknownPeer', ofStranger!, stranger.publicIp],
      ['spoofedSource', ofPeer!, peer.publicIp],
    ] as const) {
      const lines = linesOf(reason);
      const frames = lines.reduce((sum, line) => sum + Number(line['frames']), 0);
      t.ok(sent > 500, `${sent} frames were sent`);
      const most = MOST_LINES_OF_A_KIND + (performance.now() - started) / 10_000;
      t.ok(lines.length <= most, `${reason}: told in ${lines.length} lines`);
      t.ok(frames > 0 && frames <= sent, `${reason}: of ${frames} frames`);
      t.ok(
        lines.every((line) => line['from'] === from),
        `${reason}: all from ${from}`,
      );
      const inner = lines.map((line) => line['innerSource']);
      if (reason === 'unknownPeer' && earlyDrop) t.ok(inner.every((each) => each === undefined));
      else
        t.ok(
          inner.every((each) => typeof each === 'string' && each.includes('.')),
          `as ${inner.join(', ')}`,
        );
    }
  });
}

/** Host2 is the only peer. */
function withoutHostThree(lab: Lab): RoutesDocument {
  const routes = routesOf(lab, 0);
  return { ...routes, peers: routes.peers.slice(0, 1) };
}

/** Sound frames from a pod of `from` to one of `to`. */
async function send(lab: Lab, from: LabHost, to: LabHost, copies = COPIES): Promise<void> {
  const bytes = innerFrame({ source: `10.1.${from.number}.2`, destination: `10.1.${to.number}.2` });
  const records = Array.from({ length: copies }, () => ({ bytes }));
  await sendDatagrams(lab, from, records, { address: to.publicIp, port: PORT });
}

async function refusedBy(daemon: SelvageDaemon): Promise<number> {
  return (await daemon.stats()).kernel.strangersRefused ?? 0;
}

async function isRefused(t: Test, lab: Lab, daemon: SelvageDaemon, from: LabHost): Promise<void> {
  const { inbound, kernel } = await daemon.stats();
  const before = kernel.strangersRefused ?? 0;
  await send(lab, from, lab.host(0));
  await until('the refusals', async () => (await refusedBy(daemon)) >= before + COPIES);
  const after = await daemon.stats();
  t.equal(
    after.kernel.strangersRefused,
    before + COPIES,
    `${from.label} is refused, each datagram counted once`,
  );
  t.equal(after.inbound.framesReceived, inbound.framesReceived, 'no lane saw any');
  t.equal(after.kernel.udpReceiveOverflow, 0, 'none is counted as lost');
}

async function isLetIn(t: Test, lab: Lab, daemon: SelvageDaemon, from: LabHost): Promise<void> {
  const { framesSent } = (await daemon.stats()).inbound;
  const refused = await refusedBy(daemon);
  await send(lab, from, lab.host(0));
  await until('the frames', async () => (await daemon.stats()).inbound.framesSent >= framesSent + COPIES);
  t.equal(
    (await daemon.stats()).inbound.framesSent,
    framesSent + COPIES,
    `${from.label} is let in, all of it`,
  );
  t.equal(await refusedBy(daemon), refused, 'and nothing of it refused');
}
