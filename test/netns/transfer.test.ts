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
import { TEST_SEED } from '../unit/test_seed.js';
import type { Lab, LabPod } from './lab.js';
import { ping } from './loads.js';
import { Scenario } from './scenario.js';
import type { SelvageDaemon } from './selvage.js';
import { reportOf, startTool, startToolUntil } from './tool.js';

const UDP_HEADERS = 28;
const MEBIBYTE = 1024 * 1024;
const LINKS = ['veth', 'wire', 'wire-nogro', 'no offload'] as const;
type Links = (typeof LINKS)[number];

t.setTimeout(240_000);

for (const underlayMtu of [1500, 9000]) {
  t.test(`underlay MTU ${underlayMtu}`, async (t) => {
    const scenario = await Scenario.open(t, { underlayMtu, packages: ['ethtool'] });
    for (const links of LINKS) {
      for (const lanes of [1, 2]) {
        await t.test(`${links}, ${lanes === 1 ? '1 lane' : `${lanes} lanes`}`, (t) => transfer(t, scenario, links, lanes));
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
    await everySize(t, lab);
    await tcpBothWays(t, lab);
    await manyFlows(t, lab);
    await offloadsWereAsMeant(t, daemons, links, lanes);
    await nothingWasLost(t, daemons);
  } finally {
    await Promise.all(daemons.map((daemon) => daemon.stop()));
  }
}

async function pings(t: Test, lab: Lab): Promise<void> {
  const fullBytes = lab.underlayMtu - 2 * UDP_HEADERS;
  for (const bytes of [56, fullBytes]) {
    const { sent, lost } = await ping(lab, { count: 20, intervalSeconds: 0.01, bytes });
    t.strictSame({ sent, lost }, { sent: 20, lost: 0 }, `20 pings of ${bytes} bytes return`);
  }
}

async function everySize(t: Test, lab: Lab): Promise<void> {
  const [from, to] = [lab.pod(0), lab.pod(1)];
  const server = await startToolUntil('listening', to, 'udp_echo', 'serve', to.address, 7000);
  const mostBytes = lab.underlayMtu - 2 * UDP_HEADERS;
  const sweep = startTool(from, 'udp_echo', 'sweep', to.address, 7000, 0, mostBytes, TEST_SEED);
  const report = await reportOf<{ returned: number; fault: string | null }>(sweep);
  const rule = `every inner packet from ${UDP_HEADERS} bytes to the full MTU ${mostBytes + UDP_HEADERS} returns unchanged`;
  t.match(report, { returned: 2 * (mostBytes + 1), fault: null }, `${rule} (TEST_SEED=${TEST_SEED})`);
  await server.terminate();
}

async function tcpBothWays(t: Test, lab: Lab): Promise<void> {
  const bytes = (mebibytes: number): number => mebibytes * MEBIBYTE + 4321;
  await exchange(t, lab.pod(0), lab.pod(1), { streams: 1, listen: 0, connect: bytes(24) }, '1 TCP stream, one way');
  await exchange(t, lab.pod(1), lab.pod(0), { streams: 1, listen: 0, connect: bytes(24) }, '1 TCP stream, the other way');
  await exchange(t, lab.pod(0), lab.pod(1), { streams: 8, listen: bytes(2), connect: bytes(2) }, '8 TCP streams, both ways at once');
}

interface StreamReport {
  readonly sent: string;
  readonly sentBytes: number;
  readonly received: string;
  readonly receivedBytes: number;
}

/** @param load connections, and the bytes that each end sends on each of them */
async function exchange(
  t: Test,
  from: LabPod,
  to: LabPod,
  load: { readonly streams: number; readonly listen: number; readonly connect: number },
  rule: string,
): Promise<void> {
  const where = [to.address, 7001, load.streams];
  const listener = await startToolUntil('listening', to, 'tcp_transfer', 'listen', ...where, load.listen, TEST_SEED);
  const connector = startTool(from, 'tcp_transfer', 'connect', ...where, load.connect, TEST_SEED);
  const ends = await Promise.all([reportOf<StreamReport[]>(connector), reportOf<StreamReport[]>(listener)]);
  const sent = (streams: StreamReport[]): unknown => streams.map((each) => [each.sentBytes, each.sent]);
  const received = (streams: StreamReport[]): unknown => streams.map((each) => [each.receivedBytes, each.received]);
  t.equal(ends[0].length, load.streams, `${rule}: all streams ran`);
  t.strictSame(received(ends[1]), sent(ends[0]), `${rule}: arrives byte for byte (TEST_SEED=${TEST_SEED})`);
  t.strictSame(received(ends[0]), sent(ends[1]), `${rule}: and so do the answers`);
}

async function manyFlows(t: Test, lab: Lab): Promise<void> {
  const mostBytes = lab.underlayMtu - 2 * UDP_HEADERS;
  for (const gso of [false, true]) {
    const [from, to] = gso ? [lab.pod(1), lab.pod(0)] : [lab.pod(0), lab.pod(1)];
    const receiver = await startToolUntil('listening', to, 'udp_flows', 'receive', to.address, 7002);
    const load = [64, 6000, mostBytes, `${TEST_SEED}`, ...(gso ? ['--gso'] : [])];
    const sender = startTool(from, 'udp_flows', 'send', to.address, 7002, ...load);
    const [{ sent }, got] = await Promise.all([reportOf<{ sent: number }>(sender), reportOf(receiver)]);
    const rule = `64 UDP flows of mixed sizes${gso ? ', sent as superframes' : ''}: each datagram whole and in its flow's order`;
    t.ok(sent >= 6000, `${sent} datagrams were sent`);
    t.match(got, { received: sent, lost: 0, wrong: 0, strange: 0 }, `${rule} (TEST_SEED=${TEST_SEED})`);
  }
}

/** That the matrix is what it says, and no row quietly tests another's path. */
async function offloadsWereAsMeant(t: Test, daemons: readonly SelvageDaemon[], links: Links, lanes: number): Promise<void> {
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
  for (const [from, to, name] of [[one, two, 'first to second'], [two, one, 'second to first']] as const) {
    t.strictSame(lossOf(from, to), { sending: 0, underway: 0, receiving: 0, kernel: 0 }, `${name} host: no frame was lost`);
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
  if (off) await Promise.all(lab.hosts.map((host) => host.exec('ethtool', ['-K', host.underlay, ...features])));
  else await Promise.all(lab.hosts.map((host) => host.exec('ethtool', ['-K', host.underlay, 'tx', 'on', 'rx', 'on'])));
}
