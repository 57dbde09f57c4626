/**
 * Who may send what to whom, in both families over underlays of both: every frame that is not from a peer's own subnet to ours ends
 * under its reason, is written nowhere and answered to nobody.
 *
 * ```text
 *  pod1    host1, runs selvage === wires --- host2   a peer, owns 10.1.2.0/24 and fd00:1:2::/64; sends by hand
 *            other0, a device             \- host3   a peer
 *            of another network            \ host4   a stranger
 * ```
 */
import t, { type Test } from 'tap';

import type { DropReasonName } from '../../src/index.js';
import { innerFrame } from '../unit/inner_frame.js';
import { innerIpv6Frame } from '../unit/inner_ipv6_frame.js';
import { changeOf, statsWhen } from './counter_changes.js';
import { sendDatagrams } from './replay.js';
import { Scenario } from './scenario.js';
import { routesOf, type SelvageDaemon } from './selvage.js';

const PORT = 8285;
const COPIES = 3;
const PEER = 1;
const STRANGER = 3;
/** A peer's pod and ours: the frame that arrives. */
const OF_PEER = { 4: '10.1.2.2', 6: 'fd00:1:2::2' } as const;
const OURS = { 4: '10.1.1.2', 6: 'fd00:1:1::2' } as const;

interface Row {
  readonly rule: string;
  /** Index of the host that sends; the peer without it. */
  readonly from?: number;
  readonly source?: string;
  readonly destination?: string;
  readonly hops?: number;
  /** Undefined: it arrives. */
  readonly reason?: DropReasonName;
}

const ROWS: Readonly<Record<4 | 6, readonly Row[]>> = {
  4: [
    { rule: "a peer's pod to ours" },
    { rule: "another peer's pod", source: '10.1.3.2', reason: 'spoofedSource' },
    { rule: 'a pod of ours', source: '10.1.1.9', reason: 'spoofedSource' },
    { rule: 'our own device', source: '10.1.1.0', reason: 'spoofedSource' },
    { rule: 'a subnet without a host', source: '10.1.77.2', reason: 'spoofedSource' },
    { rule: 'beyond the overlay', source: '198.51.100.7', reason: 'spoofedSource' },
    { rule: "the peer's underlay", source: '192.168.100.2', reason: 'spoofedSource' },
    { rule: 'our underlay', source: '192.168.100.1', reason: 'spoofedSource' },
    { rule: 'loopback', source: '127.0.0.1', reason: 'martian' },
    { rule: 'a group', source: '224.0.0.1', reason: 'martian' },
    { rule: 'nobody', source: '0.0.0.0', reason: 'martian' },
    { rule: "a stranger as the peer's pod", from: STRANGER, reason: 'unknownPeer' },
    { rule: 'a stranger as a pod of ours', from: STRANGER, source: '10.1.1.9', reason: 'unknownPeer' },
    { rule: 'a stranger on its last hop', from: STRANGER, hops: 1, reason: 'unknownPeer' },
    { rule: 'to our underlay', destination: '192.168.100.1', reason: 'notLocal' },
    { rule: 'to the device of another network here', destination: '10.9.1.0', reason: 'notLocal' },
    { rule: 'to another peer', destination: '10.1.3.2', reason: 'notLocal' },
    { rule: 'back to the peer', destination: '10.1.2.9', reason: 'notLocal' },
    { rule: 'to loopback', destination: '127.0.0.1', reason: 'martian' },
    { rule: 'to a link-local address', destination: '169.254.169.254', reason: 'martian' },
    { rule: 'to everybody', destination: '255.255.255.255', reason: 'notUnicast' },
    { rule: 'to a group', destination: '239.1.2.3', reason: 'notUnicast' },
    { rule: "another peer's pod on its last hop", source: '10.1.3.2', hops: 1, reason: 'spoofedSource' },
  ],
  6: [
    { rule: "a peer's pod to ours" },
    { rule: "another peer's pod", source: 'fd00:1:3::2', reason: 'spoofedSource' },
    { rule: 'a pod of ours', source: 'fd00:1:1::9', reason: 'spoofedSource' },
    { rule: 'our own device', source: 'fd00:1:1::', reason: 'spoofedSource' },
    { rule: 'a subnet without a host', source: 'fd00:1:77::2', reason: 'spoofedSource' },
    { rule: 'beyond the overlay', source: '2001:db8::7', reason: 'spoofedSource' },
    { rule: "the peer's underlay", source: 'fd00:c0::2', reason: 'spoofedSource' },
    { rule: 'our underlay', source: 'fd00:c0::1', reason: 'spoofedSource' },
    { rule: 'loopback', source: '::1', reason: 'martian' },
    { rule: 'a group', source: 'ff02::1', reason: 'martian' },
    { rule: 'nobody', source: '::', reason: 'martian' },
    { rule: 'an IPv4 address in disguise', source: '::ffff:10.1.2.2', reason: 'martian' },
    { rule: "a stranger as the peer's pod", from: STRANGER, reason: 'unknownPeer' },
    { rule: 'a stranger as a pod of ours', from: STRANGER, source: 'fd00:1:1::9', reason: 'unknownPeer' },
    { rule: 'a stranger on its last hop', from: STRANGER, hops: 1, reason: 'unknownPeer' },
    { rule: 'to our underlay', destination: 'fd00:c0::1', reason: 'notLocal' },
    { rule: 'to the device of another network here', destination: 'fd00:9:1::', reason: 'notLocal' },
    { rule: 'to another peer', destination: 'fd00:1:3::2', reason: 'notLocal' },
    { rule: 'back to the peer', destination: 'fd00:1:2::9', reason: 'notLocal' },
    { rule: 'to loopback', destination: '::1', reason: 'martian' },
    { rule: 'to a link-local address', destination: 'fe80::1', reason: 'martian' },
    { rule: 'to an IPv4 address in disguise', destination: '::ffff:127.0.0.1', reason: 'martian' },
    { rule: 'to all hosts of the link', destination: 'ff02::1', reason: 'notUnicast' },
    { rule: 'to a group', destination: 'ff0e::1', reason: 'notUnicast' },
    { rule: "another peer's pod on its last hop", source: 'fd00:1:3::2', hops: 1, reason: 'spoofedSource' },
  ],
};

t.setTimeout(300_000);

for (const { underlay, lanes } of [
  { underlay: 'ipv4', lanes: 1 },
  { underlay: 'ipv6', lanes: 2 },
] as const) {
  t.test(`who may send what to whom, over ${underlay}, lanes: ${lanes}`, async (t) => {
    const scenario = await Scenario.open(t, { hosts: 4 });
    const { lab } = scenario;
    await lab.host(0).ip(`
      tuntap add other0 mode tun
      link set other0 up
      addr add 10.9.1.0/32 dev other0
      addr add fd00:9:1::/128 dev other0`);
    const kind = { families: '46', underlay } as const;
    const routes = routesOf(lab, 0, kind);
    const daemon = await scenario.start(0, {
      ...kind,
      routes: { ...routes, peers: routes.peers.slice(0, -1) },
      extraArgs: ['--lanes', String(lanes), '--early-drop=false'],
    });
    for (const family of [4, 6] as const) {
      for (const row of ROWS[family])
        await t.test(`IPv${family}, ${row.rule}: ${row.reason ?? 'arrives'}`, (t) =>
          sendRow(t, scenario, daemon, family, row, underlay),
        );
    }
  });
}

async function sendRow(
  t: Test,
  { lab }: Scenario,
  daemon: SelvageDaemon,
  family: 4 | 6,
  row: Row,
  underlay: 'ipv4' | 'ipv6',
): Promise<void> {
  const { from = PEER, source = OF_PEER[family], destination = OURS[family], hops = 64, reason } = row;
  const bytes =
    family === 4
      ? innerFrame({ source, destination, ttl: hops })
      : innerIpv6Frame({ source, destination, hopLimit: hops });
  const one = lab.host(0);
  const target = { address: underlay === 'ipv6' ? one.publicIpv6 : one.publicIp, port: PORT };
  const change = await changeOf([daemon], async () => {
    const { framesReceived } = (await daemon.stats()).inbound;
    const records = Array.from({ length: COPIES }, () => ({ bytes }));
    const report = await sendDatagrams(lab, lab.host(from), records, target);
    t.strictSame(report, { sent: COPIES, refused: {} }, 'all were sent');
    await statsWhen(daemon, ({ inbound }) => inbound.framesReceived >= framesReceived + COPIES);
  });
  const fate = reason === undefined ? 'framesSent' : `drops.${reason}`;
  t.strictSame(change.inbound[0], { framesReceived: COPIES, [fate]: COPIES }, 'no answer, nothing else');
}
