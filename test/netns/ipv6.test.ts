/**
 * IPv6 inside the overlay and under it, with real daemons: both families at once, checked byte for byte.
 *
 * | network | underlay | from |
 * |---|---|---|
 * | IPv4 and IPv6 | IPv4 | routes file, etcd |
 * | IPv4 and IPv6 | IPv6 | routes file |
 * | IPv6 only | IPv6 | etcd |
 */
import { readFileSync } from 'node:fs';

import t, { type Test } from 'tap';

import type { ForwarderStats } from '../../src/index.js';
import { says } from './daemon_checks.js';
import { differences } from './differences.js';
import { FlannelNetwork, PREFIX } from './flannel_network.js';
import type { Lab } from './lab.js';
import { sendDatagrams, sendFrames } from './replay.js';
import { Scenario } from './scenario.js';
import { networkConfig, type NetworkKind, overheadBytes, type SelvageDaemon } from './selvage.js';
import { checkedFlows, checkedSizes, checkedTcp } from './transfers.js';
import { until } from './until.js';
import { innerIpv6Frame } from '../unit/inner_ipv6_frame.js';

const MEBIBYTE = 1024 * 1024;
const TCP_LOAD = { streams: 4, listenBytes: 4 * MEBIBYTE, connectBytes: 4 * MEBIBYTE };

t.setTimeout(400_000);

for (const underlay of ['ipv4', 'ipv6'] as const) {
  for (const lanes of [1, 2]) {
    t.test(`both families over an ${underlay} underlay, lanes: ${lanes}`, async (t) => {
      const scenario = await Scenario.open(t, { hosts: 2 });
      const kind: NetworkKind = { families: '46', underlay };
      const daemons = await startBoth(scenario, kind, lanes);
      const { lab } = scenario;
      const mtuBytes = lab.underlayMtu - overheadBytes(kind);
      await lab.setPodMtu(mtuBytes);
      for (const daemon of daemons) t.equal((await daemon.stats()).device.mtuBytes, mtuBytes, 'the MTU');

      await Promise.all([
        checkedTcp(t, lab.pod(0), lab.pod(1), TCP_LOAD, 'TCP over IPv4'),
        checkedTcp(t, lab.pod(0).ipv6, lab.pod(1).ipv6, TCP_LOAD, 'TCP over IPv6, at the same time'),
      ]);
      await checkedSizes(t, lab.pod(0).ipv6, lab.pod(1).ipv6, mtuBytes);
      const flows = { flows: 8, datagrams: 2_000, mostBytes: mtuBytes - 48 };
      for (const superframes of [false, true]) {
        await Promise.all([
          checkedFlows(t, lab.pod(0), lab.pod(1), { ...flows, superframes }),
          checkedFlows(t, lab.pod(0).ipv6, lab.pod(1).ipv6, { ...flows, superframes }),
        ]);
        await checkedFlows(t, lab.pod(1).ipv6, lab.pod(0).ipv6, { ...flows, superframes });
      }
      for (const daemon of daemons) await cameAsSuperframes(t, daemon);
      for (const daemon of daemons) await countersAddUp(t, daemon);
      await scenario.stopAll();
    });
  }
}

t.test('IPv6 TCP and UDP cross the device as superframes', async (t) => {
  const scenario = await Scenario.open(t, { hosts: 2 });
  const kind: NetworkKind = { families: '6', underlay: 'ipv4' };
  const [first, second] = await startBoth(scenario, kind, 1);
  const { lab } = scenario;
  await lab.setPodMtu(lab.underlayMtu - 28);
  const loads = {
    TCP: () => checkedTcp(t, lab.pod(0).ipv6, lab.pod(1).ipv6, TCP_LOAD, 'TCP over IPv6'),
    UDP: () =>
      checkedFlows(t, lab.pod(0).ipv6, lab.pod(1).ipv6, {
        flows: 2,
        datagrams: 4_000,
        mostBytes: 1_000,
        superframes: true,
      }),
  };
  for (const [name, load] of Object.entries(loads)) {
    const before = [await first.stats(), await second.stats()];
    await load();
    const after = [await first.stats(), await second.stats()];
    const more = (i: number, direction: 'outbound' | 'inbound'): number =>
      after[i]![direction].superframesReceived - before[i]![direction].superframesReceived;
    t.ok(more(0, 'outbound') > 0, `${name}: the kernel gave superframes to be cut (${more(0, 'outbound')})`);
    t.ok(more(1, 'inbound') > 0, `${name}: and segments were joined into some (${more(1, 'inbound')})`);
  }
});

t.test('who sends IPv6 is checked as strictly as who sends IPv4', async (t) => {
  const scenario = await Scenario.open(t, { hosts: 3 });
  const { lab } = scenario;
  const options = { families: '46', extraArgs: ['--early-drop=false'] } as const;
  const [victim] = await Promise.all([0, 1].map((i) => scenario.start(i, options)));
  const toPod = { destination: lab.pod(0).ipv6Address };
  const cases = [
    { from: 1, source: lab.pod(1).ipv6Address, sentTo: toPod, drop: undefined },
    { from: 1, source: lab.pod(2).ipv6Address, sentTo: toPod, drop: 'spoofedSource' },
    { from: 1, source: lab.pod(0).ipv6Address, sentTo: toPod, drop: 'spoofedSource' },
    { from: 1, source: 'fe80::1', sentTo: toPod, drop: 'martian' },
    {
      from: 1,
      source: lab.pod(1).ipv6Address,
      sentTo: { destination: lab.host(0).publicIpv6 },
      drop: 'notLocal',
    },
    { from: 1, source: lab.pod(1).ipv6Address, sentTo: { destination: '::1' }, drop: 'martian' },
    { from: 1, source: lab.pod(1).ipv6Address, sentTo: { destination: 'ff02::1' }, drop: 'notUnicast' },
  ] as const;
  // The peer's own daemon would answer the port: its socket is what a forger on that host uses.
  for (const { from, source, sentTo, drop } of cases) {
    const before = await victim!.stats();
    const frame = innerIpv6Frame({ source, ...sentTo });
    await sendDatagrams(lab, lab.host(from), [{ bytes: frame }], {
      address: lab.host(0).publicIp,
      port: 8285,
    });
    const after = await until('the datagram', async () => {
      const now = await victim!.stats();
      return now.inbound.framesReceived > before.inbound.framesReceived && now;
    });
    const change = differences(before.inbound.drops, after.inbound.drops);
    t.strictSame(change, drop === undefined ? {} : { [drop]: 1 }, `${source} to ${sentTo.destination}`);
  }
});

t.test('a network of one family drops the other, and names it', async (t) => {
  const scenario = await Scenario.open(t, { hosts: 2 });
  const { lab } = scenario;
  const daemon = await scenario.start(0, { families: '4' });
  const before = await daemon.stats();
  await sendFrames(lab, lab.host(0), [innerIpv6Frame({ destination: lab.pod(1).ipv6Address })], 'flannel0');
  const after = await until('the frame', async () => {
    const now = await daemon.stats();
    return now.outbound.framesReceived > before.outbound.framesReceived && now;
  });
  t.strictSame(differences(before.outbound.drops, after.outbound.drops), { ipv6NotCarried: 1 });
});

t.test('an IPv4 network runs on a host whose kernel has IPv6 switched off', async (t) => {
  const scenario = await Scenario.open(t, { hosts: 2 });
  const { lab } = scenario;
  for (const host of lab.hosts)
    await host.sysctl({ 'net/ipv6/conf/all/disable_ipv6': 1, 'net/ipv6/conf/default/disable_ipv6': 1 });
  for (const i of [0, 1]) await scenario.start(i);
  await checkedTcp(t, lab.pod(0), lab.pod(1), { ...TCP_LOAD, streams: 1 }, 'TCP over IPv4');
});

t.test('a dual-stack network of etcd: lease, subnet.env and frames of both families', async (t) => {
  const network = await FlannelNetwork.open(t, { hosts: 2, families: '46' });
  const daemons = [await network.start(0, { families: '46' }), await network.start(1, { families: '46' })];
  const { lab } = network;
  const keys = (await network.leases()).map(({ key }) => key);
  for (const key of keys) t.match(key, /subnets\/10\.1\.\d+\.0-24&fd00:1:[0-9a-f:]*::-64$/, key);
  const env = readFileSync(daemons[0]!.files.subnetEnv, 'utf8');
  t.match(
    env,
    /^FLANNEL_NETWORK=.*\nFLANNEL_SUBNET=.*\nFLANNEL_IPV6_NETWORK=.*\nFLANNEL_IPV6_SUBNET=.*1\/64\nFLANNEL_MTU=1472\n/,
  );
  await devicesReachEachOther(t, lab, daemons, '46');
});

t.test('a network of IPv6 only, as flannel has it in etcd', async (t) => {
  const network = await FlannelNetwork.open(t, { hosts: 2, families: '6', underlay: 'ipv6' });
  const kind = { families: '6' } as const;
  const daemons = [await network.start(0, kind), await network.start(1, kind)];
  t.match(networkConfig(network.lab, kind), { EnableIPv4: false }, 'the config says so');
  const leases = await network.leases();
  t.equal(leases.length, 2);
  for (const { key, value } of leases) {
    t.match(key, new RegExp(`^${PREFIX}/subnets/0\\.0\\.0\\.0-0&fd00:1:[0-9a-f:]*-64$`));
    t.match(JSON.parse(value), { PublicIP: '0.0.0.0', PublicIPv6: /^fd00:c0:/ });
  }
  const env = readFileSync(daemons[0]!.files.subnetEnv, 'utf8');
  t.match(
    env,
    /^FLANNEL_IPV6_NETWORK=.*\nFLANNEL_IPV6_SUBNET=.*\nFLANNEL_MTU=1452\nFLANNEL_IPMASQ=/,
    'no IPv4 lines',
  );
  await says(daemons[0]!, /ready/);
  await devicesReachEachOther(t, network.lab, daemons, '6');
});

async function startBoth(
  scenario: Scenario,
  kind: NetworkKind,
  lanes: number,
): Promise<[SelvageDaemon, SelvageDaemon]> {
  const options = { ...kind, extraArgs: ['--lanes', String(lanes)] };
  return [await scenario.start(0, options), await scenario.start(1, options)];
}

async function cameAsSuperframes(t: Test, daemon: SelvageDaemon): Promise<void> {
  const { device, outbound, inbound } = await daemon.stats();
  t.match(device.offloads, { tso4: true, tso6: true, uso: true }, 'all offloads are in use');
  t.ok(
    outbound.superframesReceived > 0,
    `superframes came from the device (${outbound.superframesReceived})`,
  );
  t.ok(outbound.rowsReceived < outbound.framesReceived, 'so there were fewer rows than frames');
  t.ok(inbound.superframesSent > 0, `and some were given to it (${inbound.superframesSent})`);
}

async function countersAddUp(t: Test, daemon: SelvageDaemon): Promise<void> {
  const sound = (stats: ForwarderStats): boolean =>
    [stats.outbound, stats.inbound].every(({ framesReceived, framesSent, drops }) => {
      return framesReceived === framesSent + Object.values(drops).reduce((sum, each) => sum + each, 0);
    });
  const stats = await until('the counters to add up', async () => {
    const now = await daemon.stats();
    return sound(now) && now;
  });
  t.ok(stats.outbound.framesReceived > 1000, 'received = sent + dropped in each direction');
}

/** By the devices' own addresses: with etcd the pods' subnets are not those of the lab. */
async function devicesReachEachOther(
  t: Test,
  lab: Lab,
  daemons: readonly SelvageDaemon[],
  families: '6' | '46',
): Promise<void> {
  const { device } = await daemons[1]!.stats();
  const addresses = families === '46' ? [device.address, device.ipv6Address] : [device.ipv6Address];
  for (const address of addresses) {
    await until(`${address} to answer`, async () => {
      const { code } = await lab
        .host(0)
        .exec('ping', ['-n', '-c', '1', '-W', '1', address!], { mayFail: true });
      return code === 0;
    });
    t.pass(`${address} answers over the overlay`);
  }
}
