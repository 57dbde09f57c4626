/**
 * What goes in at one pod comes out at the other: every size, TCP both ways, many UDP flows, with content and order
 * checked, over links with and without offloads.
 *
 * ```text
 *  pod1          host1                              host2          pod2
 *  eth0 ---- cni0 ---- flannel0 ~ selvage ~ u1 ==== u2 ~ selvage ~ flannel0 ---- cni0 ---- eth0
 *                                           MTU 1500 or 9000
 *
 *  links        u1, u2                          pods' eth0        selvage
 *  veth         superframes cross whole         all offloads      all offloads
 *  wire         cut by the sender, GRO          all offloads      all offloads
 *  wire-nogro   cut by the sender, no GRO       all offloads      all offloads
 *  no offload   cut, no GRO, no checksums       none              --no-offload
 * ```
 *
 * Each of them with one lane and with two. Nothing may be lost: senders keep little enough in flight for every buffer.
 */
import t, { type Test } from 'tap';

import type { ForwarderStats } from '../../src/index.js';
import type { Lab, LabPod } from './lab.js';
import { ping } from './loads.js';
import { Scenario } from './scenario.js';
import type { SelvageDaemon } from './selvage.js';
import { checkedFlows, checkedSizes, checkedTcp } from './transfers.js';
import { until } from './until.js';

const UDP_HEADERS = 28;
const MEBIBYTE = 1024 * 1024;
const LINKS = ['veth', 'wire', 'wire-nogro', 'no offload'] as const;
type Links = (typeof LINKS)[number];

t.setTimeout(400_000);

for (const underlayMtu of [1500, 9000]) {
  t.test(`underlay MTU ${underlayMtu}`, async (t) => {
    const scenario = await Scenario.open(t, { underlayMtu, packages: ['ethtool'] });
    for (const links of LINKS) {
      for (const lanes of [1, 2]) {
        await t.test(`${links}, ${lanes === 1 ? '1 lane' : `${lanes} lanes`}`, (t) =>
          transfer(t, scenario, links, lanes),
        );
      }
    }
  });
}

async function transfer(t: Test, scenario: Scenario, links: Links, lanes: number): Promise<void> {
  const { lab } = scenario;
  await setLinks(lab, links);
  const extraArgs = ['--lanes', String(lanes), ...(links === 'no offload' ? ['--no-offload'] : [])];
  const daemons = await scenario.startPair({ extraArgs });
  try {
    await pings(t, lab);
    await checkedSizes(t, lab.pod(0), lab.pod(1), lab.underlayMtu - UDP_HEADERS);
    await tcpBothWays(t, lab);
    await udpBothWays(t, lab);
    await offloadsWereAsMeant(t, daemons, links, lanes);
    await nothingWasLost(t, daemons);
  } finally {
    await Promise.all(daemons.map((daemon) => daemon.stop()));
  }
}

async function pings(t: Test, lab: Lab): Promise<void> {
  const fullBytes = lab.underlayMtu - 2 * UDP_HEADERS;
  for (const bytes of [56, fullBytes]) {
    const before = await echoReplies(lab.pod(0));
    const { sent } = await ping(lab, { count: 20, intervalSeconds: 0.01, bytes });
    // ping itself stops listening two round trips after its last request, which a busy machine may take longer for.
    const all = async (): Promise<boolean> => (await echoReplies(lab.pod(0))) - before >= sent;
    await until(`every ping of ${bytes} bytes to return`, all);
    t.equal(sent, 20, `20 pings of ${bytes} bytes return`);
  }
}

/** Echo replies that have come to a pod so far, whoever waits for them. */
async function echoReplies(pod: LabPod): Promise<number> {
  const { stdout } = await pod.exec('cat', ['/proc/net/snmp']);
  const [names, values] = stdout.split('\n').filter((line) => line.startsWith('Icmp:'));
  return Number(values?.split(' ')[names?.split(' ').indexOf('InEchoReps') ?? -1]);
}

async function tcpBothWays(t: Test, lab: Lab): Promise<void> {
  const [one, two] = [lab.pod(0), lab.pod(1)];
  const oneWay = { streams: 1, listenBytes: 0, connectBytes: 16 * MEBIBYTE + 4321 };
  await checkedTcp(t, one, two, oneWay, '1 TCP stream, one way');
  await checkedTcp(t, two, one, oneWay, '1 TCP stream, the other way');
  const bothWays = { streams: 8, listenBytes: 2 * MEBIBYTE + 1, connectBytes: 2 * MEBIBYTE + 1 };
  await checkedTcp(t, one, two, bothWays, '8 TCP streams, both ways at once');
}

async function udpBothWays(t: Test, lab: Lab): Promise<void> {
  const load = { flows: 64, datagrams: 4000, mostBytes: lab.underlayMtu - 2 * UDP_HEADERS };
  await checkedFlows(t, lab.pod(0), lab.pod(1), { ...load, superframes: false });
  await checkedFlows(t, lab.pod(1), lab.pod(0), { ...load, superframes: true });
}

/** That the matrix is what it says, and no row quietly tests another's path. */
async function offloadsWereAsMeant(
  t: Test,
  daemons: readonly SelvageDaemon[],
  links: Links,
  lanes: number,
): Promise<void> {
  for (const daemon of daemons) {
    const { device, socket, outbound, inbound } = await daemon.stats();
    const on = links !== 'no offload';
    t.equal(socket.gso, on, `UDP segmentation offload is ${on ? 'on' : 'off'}`);
    t.equal(socket.gro, on && lanes === 1, `UDP_GRO is ${on && lanes === 1 ? 'on' : 'off'}`);
    t.equal(device.offloads.tso4, on, `TCP superframes on TUN are ${on ? 'on' : 'off'}`);
    t.equal(outbound.superframesReceived > 0, on, `superframes ${on ? 'were' : 'were not'} read from TUN`);
    t.equal(inbound.superframesSent > 0, on, `superframes ${on ? 'were' : 'were not'} written to TUN`);
  }
}

/** What one daemon sends the other receives, and nothing ends on the way. */
async function nothingWasLost(t: Test, daemons: readonly [SelvageDaemon, SelvageDaemon]): Promise<void> {
  const [one, two] = await Promise.all([daemons[0].stats(), daemons[1].stats()]);
  for (const [from, to, name] of [
    [one, two, 'first to second'],
    [two, one, 'second to first'],
  ] as const) {
    t.strictSame(
      lossOf(from, to),
      { sending: 0, underway: 0, receiving: 0, kernel: 0 },
      `${name} host: no frame was lost`,
    );
  }
}

function lossOf(from: ForwarderStats, to: ForwarderStats): object {
  return {
    sending: from.outbound.framesReceived - from.outbound.framesSent,
    underway: from.outbound.framesSent - to.inbound.framesReceived,
    receiving: to.inbound.framesReceived - to.inbound.framesSent,
    kernel: from.kernel.tunQueueOverflow + to.kernel.udpReceiveOverflow,
  };
}

async function setLinks(lab: Lab, links: Links): Promise<void> {
  const off = links === 'no offload';
  await lab.offload(off ? 'wire-nogro' : links);
  const state = off ? 'off' : 'on';
  const features = ['tx', 'rx', 'tso', 'gso', 'gro'].flatMap((feature) => [feature, state]);
  // Receiving is never joined on a veth of its own accord; with GRO on it would be, and no row asks for that.
  const inPods = ['tx', 'rx', 'tso', 'gso'].flatMap((feature) => [feature, state]);
  await Promise.all(lab.pods.map((pod) => pod.exec('ethtool', ['-K', 'eth0', ...inPods])));
  if (off)
    await Promise.all(lab.hosts.map((host) => host.exec('ethtool', ['-K', host.underlay, ...features])));
  else
    await Promise.all(
      lab.hosts.map((host) => host.exec('ethtool', ['-K', host.underlay, 'tx', 'on', 'rx', 'on'])),
    );
}
