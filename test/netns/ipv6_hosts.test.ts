/**
 * Hosts of unequal families side by side, networks of IPv6 alone, and strangers on an underlay of either family.
 *
 * ```text
 *  pod1 ---- host1 ~ selvage === wires === selvage ~ host2 ---- pod2      10.1.1.0/24 + fd00:1:1::/64, and so on
 *                                   |
 *                                   ====== selvage ~ host3 ---- pod3      10.1.3.0/24 alone
 * ```
 */
import { readFileSync } from 'node:fs';

import t, { type Test } from 'tap';

import { innerFrame } from '../unit/inner_frame.js';
import { innerIpv6Frame } from '../unit/inner_ipv6_frame.js';
import { changeOf, statsWhen } from './counter_changes.js';
import { answers, nextHops, reaches } from './daemon_checks.js';
import { FlannelNetwork } from './flannel_network.js';
import type { LabHost } from './lab.js';
import { isMachineRoot } from './privileges.js';
import { sendDatagrams, sendFrames } from './replay.js';
import { Scenario } from './scenario.js';
import { routesOf, type SelvageDaemon } from './selvage.js';
import { checkedTcp } from './transfers.js';
import { until } from './until.js';

const PORT = 8285;
const COPIES = 5;
const MEBIBYTE = 1024 * 1024;
const TCP_LOAD = { streams: 2, listenBytes: 2 * MEBIBYTE, connectBytes: 2 * MEBIBYTE };

t.setTimeout(240_000);

t.test('a host of IPv4 alone among hosts of both families', async (t) => {
  const scenario = await Scenario.open(t, { hosts: 3, record: true });
  const { lab } = scenario;
  const daemons = await Promise.all([
    scenario.start(0, { routes: withoutIpv6Of(scenario, 0, lab.host(2)) }),
    scenario.start(1, { routes: withoutIpv6Of(scenario, 1, lab.host(2)) }),
    scenario.start(2, { families: '4' }),
  ]);
  await lab.setPodMtu(lab.underlayMtu - 28);
  const [pod1, pod2, pod3] = [lab.pod(0), lab.pod(1), lab.pod(2)];

  await Promise.all([
    checkedTcp(t, pod1, pod3, TCP_LOAD, 'IPv4 to the host of IPv4'),
    checkedTcp(t, pod1.ipv6, pod2.ipv6, TCP_LOAD, 'IPv6 between the others, at the same time'),
  ]);
  const change = await changeOf(daemons, async () => {
    const { stdout } = await pod1.exec('ping', ['-n', '-c', '1', '-W', '5', pod3.ipv6Address], {
      mayFail: true,
    });
    t.match(stdout, /From fd00:1:1:: .*No route/, 'there is no way to it by IPv6');
  });
  t.strictSame(change.outbound[0], { framesReceived: 1, 'drops.noRoute': 1, answersSent: 1 });

  const from = (source: string, destination: string): Uint8Array => innerIpv6Frame({ source, destination });
  await t.test('what it sends as IPv6 is of no subnet of its own', (t) =>
    sends(t, scenario, lab.host(2), lab.host(0), daemons[0], {
      frame: from(pod3.ipv6Address, pod1.ipv6Address),
      drop: 'spoofedSource',
    }),
  );
  await t.test('and what it is sent as IPv6 it does not carry', (t) =>
    sends(t, scenario, lab.host(0), lab.host(2), daemons[2], {
      frame: from(pod1.ipv6Address, pod3.ipv6Address),
      drop: 'ipv6NotCarried',
    }),
  );
});

t.test('in etcd: a lease of IPv4 alone in a network of both families', async (t) => {
  const network = await FlannelNetwork.open(t, { hosts: 3, families: '46' });
  const { lab } = network;
  const daemon = await network.start(0);
  await network.start(1);
  const [second, third] = [lab.host(1), lab.host(2)];
  await network.putAsFlanneld(third.subnet, third.publicIp); // its flanneld started before the network had IPv6
  const expected = {
    [second.subnet]: second.publicIp,
    [second.ipv6Subnet]: second.publicIp,
    [third.subnet]: third.publicIp,
  };
  await until('all routes', async () => Object.keys(await nextHops(daemon)).length >= 3);
  t.strictSame(await nextHops(daemon), expected, 'it is routed to by IPv4 alone');
  t.ok(await reaches(lab.pod(0), lab.pod(1).ipv6Address), 'the others reach each other by IPv6');
});

t.test('in etcd: both families over an IPv6 underlay', async (t) => {
  const network = await FlannelNetwork.open(t, { hosts: 2, families: '46', underlay: 'ipv6' });
  const { lab } = network;
  const daemons = [await network.start(0), await network.start(1)];
  const lines = [
    `FLANNEL_NETWORK=${lab.network}`,
    `FLANNEL_SUBNET=${lab.host(0).bridgeIp}/24`,
    `FLANNEL_IPV6_NETWORK=${lab.ipv6Network}`,
    `FLANNEL_IPV6_SUBNET=${lab.host(0).bridgeIpv6}/64`,
    `FLANNEL_MTU=${1500 - 48}`,
    'FLANNEL_IPMASQ=false',
  ];
  t.equal(readFileSync(daemons[0]!.files.subnetEnv, 'utf8'), `${lines.join('\n')}\n`, 'subnet.env');
  t.equal(await deviceMtu(lab.host(0)), 1500 - 48, 'the device');
  for (const to of [lab.pod(1), lab.pod(1).ipv6]) t.ok(await reaches(lab.pod(0), to.address), to.address);
});

t.test('a routes file of IPv6 alone', async (t) => {
  const scenario = await Scenario.open(t, { hosts: 2, record: true });
  const { lab } = scenario;
  const [first] = await scenario.startPair({ families: '6' });
  const { device } = await first.stats();
  t.match(device, { address: null, ipv6Address: 'fd00:1:1::', mtuBytes: 1452 });
  t.equal(await deviceMtu(lab.host(0)), 1452, 'the device has that MTU');
  const { stdout } = await lab.host(0).exec('ip', ['-4', 'address', 'show', 'dev', 'flannel0']);
  t.equal(stdout, '', 'and no IPv4');
  await checkedTcp(t, lab.pod(0).ipv6, lab.pod(1).ipv6, TCP_LOAD, 'TCP over IPv6');
  t.notOk(await answers(lab.pod(0), lab.pod(1).address), 'IPv4 goes nowhere');

  const change = await changeOf([first], async () => {
    const { outbound } = await first.stats();
    await sendFrames(lab, lab.host(0), [innerFrame()], 'flannel0');
    await statsWhen(first, (now) => now.outbound.framesReceived > outbound.framesReceived);
  });
  t.strictSame(change.outbound[0], { framesReceived: 1, 'drops.ipv4NotCarried': 1 });
  await t.test('nor does what a peer sends as IPv4', (t) =>
    sends(t, scenario, lab.host(1), lab.host(0), first, {
      frame: innerFrame({ source: '10.1.2.2', destination: '10.1.1.2' }),
      drop: 'ipv4NotCarried',
      underlay: 'ipv6',
    }),
  );
});

for (const underlay of ['ipv4', 'ipv6'] as const) {
  for (const lanes of [1, 2]) {
    t.test(`strangers and forgers on ${underlay}, lanes: ${lanes}`, async (t) => {
      const scenario = await Scenario.open(t, { hosts: 3, record: true });
      const { lab } = scenario;
      const routes = routesOf(lab, 0, { families: '46', underlay });
      const known = { ...routes, peers: routes.peers.slice(0, 1) };
      const [peer, stranger] = [lab.host(1), lab.host(2)];
      const toPod = lab.pod(0).ipv6Address;
      for (const isEarly of isMachineRoot() ? [true, false] : [false]) {
        const extraArgs = ['--lanes', String(lanes), `--early-drop=${isEarly}`];
        const daemon = await scenario.start(0, { routes: known, extraArgs });
        const send = (t: Test, from: LabHost, source: string, drop?: string): Promise<void> =>
          sends(t, scenario, from, lab.host(0), daemon, {
            frame: innerIpv6Frame({ source, destination: toPod }),
            underlay,
            ...(drop !== undefined && { drop }),
          });
        const where = isEarly ? 'with early drop' : 'without early drop';
        await t.test(`${where}: a stranger`, (t) =>
          send(t, stranger, 'fd00:1:3::2', isEarly ? 'early' : 'unknownPeer'),
        );
        await t.test(`${where}: a stranger as a peer's pod`, (t) =>
          send(t, stranger, 'fd00:1:2::2', isEarly ? 'early' : 'unknownPeer'),
        );
        await t.test(`${where}: a peer as another's pod`, (t) =>
          send(t, peer, 'fd00:1:3::2', 'spoofedSource'),
        );
        await t.test(`${where}: a peer as one of our pods`, (t) =>
          send(t, peer, 'fd00:1:1::9', 'spoofedSource'),
        );
        await t.test(`${where}: a peer as its own pod`, (t) => send(t, peer, 'fd00:1:2::2'));
        await daemon.stop();
      }
    });
  }
}

/** Routes of both families, but to one host by IPv4 only. */
function withoutIpv6Of({ lab }: Scenario, index: number, exception: LabHost): ReturnType<typeof routesOf> {
  const routes = routesOf(lab, index, { families: '46' });
  const peers = routes.peers.map(({ ipv6Subnet, ...rest }) =>
    rest.publicIp === exception.publicIp || ipv6Subnet === undefined ? rest : { ...rest, ipv6Subnet },
  );
  return { ...routes, peers };
}

interface Sent {
  readonly frame: Uint8Array;
  /** Name of a reason, or `early`: in the kernel. It goes on without it. */
  readonly drop?: string;
  /** `ipv4` without it. */
  readonly underlay?: 'ipv4' | 'ipv6';
}

/** Sends a frame from one host to the port of another, several times, and asserts what becomes of all of them. */
async function sends(
  t: Test,
  { lab }: Scenario,
  from: LabHost,
  to: LabHost,
  daemon: SelvageDaemon,
  { frame, drop, underlay = 'ipv4' }: Sent,
): Promise<void> {
  const address = underlay === 'ipv4' ? to.publicIp : to.publicIpv6;
  const before = await daemon.stats();
  const isEarly = drop === 'early';
  const arrived = ({ inbound, kernel }: typeof before): number =>
    isEarly ? (kernel.strangersRefused ?? 0) : inbound.framesReceived;
  const change = await changeOf([daemon], async () => {
    const report = await sendDatagrams(
      lab,
      from,
      Array.from({ length: COPIES }, () => ({ bytes: frame })),
      {
        address,
        port: PORT,
      },
    );
    t.match(report, { sent: COPIES }, 'sent');
    await statsWhen(daemon, (now) => arrived(now) >= arrived(before) + COPIES);
  });
  const counted = {
    framesReceived: COPIES,
    ...(drop === undefined ? { framesSent: COPIES } : { [`drops.${drop}`]: COPIES }),
  };
  t.strictSame(change.inbound[0], isEarly ? {} : counted, drop ?? 'goes on');
  t.equal(arrived(await daemon.stats()), arrived(before) + COPIES, 'each is counted once');
}

async function deviceMtu(host: LabHost): Promise<number> {
  const { stdout } = await host.exec('ip', ['-json', 'link', 'show', 'flannel0']);
  return (JSON.parse(stdout) as { mtu: number }[])[0]!.mtu;
}
