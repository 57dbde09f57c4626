/**
 * Hostile packets against a live network of three hosts, from everywhere an attacker can be, while checked transfers run:
 *
 * ```text
 *  stranger (a host without a lease)     datagrams to the port                       .. no peer
 *  host2, a peer                         datagrams with whatever inside              .. a peer gone bad
 *  stranger                              datagrams in host2's name, forged ICMP      .. forged outer source
 *  pod3                                  packets to pods, hosts, loopback            .. a pod gone bad
 *  host3                                 frames right into its own device            .. what the kernel would have refused
 * ```
 *
 * The transfers are intact, no lane dies, and on every host each frame that came in was carried or dropped for one reason.
 * `TEST_SEED` repeats the packets.
 */
import { readFileSync } from 'node:fs';

import t, { type Test } from 'tap';

import type { DirectionCounters, ForwarderStats } from '../../src/index.js';
import { TEST_SEED } from '../unit/test_seed.js';
import { CheckedLoad } from './checked_load.js';
import { hostileDatagrams, hostileForgeries, hostileFrames, hostilePackets } from './hostile.js';
import type { Lab } from './lab.js';
import { Scenario } from './scenario.js';
import { overheadBytes, type RoutesDocument, type SelvageDaemon } from './selvage.js';
import { checkedTcp } from './transfers.js';
import { until } from './until.js';

const MEBIBYTE = 1024 * 1024;
/** Many times what a lane's heap moves by; a leak of one slot per packet would be more. */
const MOST_GROWTH_BYTES = 96 * MEBIBYTE;
/** The last host has no daemon and no lease. */
const MEMBERS = [0, 1, 2];
const STRANGER = 3;

t.setTimeout(300_000);

for (const { lanes, earlyDrop } of [
  { lanes: 1, earlyDrop: true },
  { lanes: 2, earlyDrop: false },
]) {
  const how = `${lanes} ${lanes === 1 ? 'lane' : 'lanes'}, early drop ${earlyDrop ? 'on' : 'off'}`;
  t.test(`transfers stay whole and counters exact under attack: ${how}`, async (t) => {
    const scenario = await Scenario.open(t, { hosts: 4, packages: ['nftables'] });
    const { lab } = scenario;
    const daemons = await startMembers(scenario, lanes, earlyDrop);
    await lab.setPodMtu(lab.underlayMtu - 28);
    const memory = daemons.map(residentBytes);
    const loads = [
      await CheckedLoad.start(lab),
      await CheckedLoad.start(lab, { from: lab.pod(0).ipv6, to: lab.pod(1).ipv6 }),
    ];

    const reports = await attack(lab);
    for (const { seed, sent } of reports) t.ok(sent > 500, `${sent} hostile packets were sent (${seed})`);

    for (const load of loads) await load.assertWhole(t);
    const errors = hostileForgeries(
      lab,
      lab.host(STRANGER),
      { as: lab.host(1), to: lab.host(0) },
      { count: 500, seconds: 10, perSecond: 500, kinds: ['outer_error'] },
    );
    t.ok((await errors.report()).sent > 100, 'forged ICMP errors about the tunnel were sent');
    await checkedTcp(
      t,
      lab.pod(0),
      lab.pod(1),
      { streams: 2, listenBytes: 2 * MEBIBYTE, connectBytes: 2 * MEBIBYTE },
      'TCP, with the path MTU that they claimed',
    );
    for (const [i, daemon] of daemons.entries()) await isSound(t, daemon, `host ${i + 1}`);
    await strangersWereRefused(t, daemons[0]!, reports[0]!.sent, earlyDrop);
    daemons.forEach((daemon, i) => {
      const grown = residentBytes(daemon) - memory[i]!;
      t.ok(
        grown < MOST_GROWTH_BYTES,
        `host ${i + 1} grew by ${Math.round(grown / MEBIBYTE)} MiB (TEST_SEED=${TEST_SEED})`,
      );
    });
  });
}

for (const { underlay, lanes, earlyDrop } of [
  { underlay: 'ipv4', lanes: 2, earlyDrop: true },
  { underlay: 'ipv6', lanes: 1, earlyDrop: false },
] as const) {
  const how = `over ${underlay}, ${lanes} ${lanes === 1 ? 'lane' : 'lanes'}, early drop ${earlyDrop ? 'on' : 'off'}`;
  t.test(`each kind of hostile packet is counted under its reason: ${how}`, async (t) => {
    const scenario = await Scenario.open(t, { hosts: 4 });
    const { lab } = scenario;
    const [one, peer, stranger] = [lab.host(0), lab.host(1), lab.host(STRANGER)];
    const daemons = await startMembers(scenario, lanes, earlyDrop, underlay);
    await lab.setPodMtu(lab.underlayMtu - overheadBytes({ underlay }));
    const load = await CheckedLoad.start(lab);

    const options = {
      count: 1_500,
      seconds: 15,
      perSecond: 300,
      underlay,
      victims: ['10.1.1.9', 'fd00:1:1::9'],
    };
    const asPeer = [
      hostileDatagrams(lab, peer, one, { ...options, families: '4', kinds: PLAIN_KINDS }),
      hostileForgeries(
        lab,
        stranger,
        { as: peer, to: one },
        { ...options, families: '6', kinds: PLAIN_KINDS.filter((kind) => kind !== 'wrong_checksum') },
      ),
    ];
    const asStranger = hostileDatagrams(lab, stranger, one, { ...options, kinds: STRANGERS_KINDS });
    const [ofPeer, { sent: strangers }] = await Promise.all([
      Promise.all(asPeer.map((sender) => sender.report())),
      asStranger.report(),
    ]);
    await load.assertWhole(t);
    for (const [i, daemon] of daemons.entries()) await isSound(t, daemon, `host ${i + 1}`);

    const [victim, ...others] = await Promise.all(daemons.map((daemon) => daemon.stats()));
    const { inbound, kernel } = victim!;
    const { drops } = inbound;
    const sent = (...kinds: string[]): number =>
      kinds.reduce(
        (sum, kind) => sum + ofPeer.reduce((all, { perKind }) => all + (perKind[kind] ?? 0), 0),
        0,
      );
    const nobodys = drops.martian + drops.notUnicast + drops.notLocal + drops.spoofedSource;
    t.strictSame(
      [drops.truncated, drops.badVersion, drops.badChecksum, drops.ttlExceeded, nobodys],
      [
        sent('empty'),
        sent('wrong_version'),
        sent('wrong_checksum'),
        sent('last_hop'),
        sent(...MISADDRESSED_KINDS),
      ],
      `truncated, badVersion, badChecksum, ttlExceeded; what is not from theirs to ours (${ofPeer.map(({ seed }) => seed).join(', ')})`,
    );
    t.ok(drops.spoofedSource >= sent('spoofed_source', 'same_source_and_destination'), 'spoofedSource');
    const [refused, unknown] = earlyDrop ? [strangers, 0] : [null, strangers];
    t.equal(kernel.strangersRefused, refused, 'strangers, refused in the kernel');
    t.equal(drops.unknownPeer, unknown, 'strangers, refused by lanes');
    const ofPeers = others.reduce(
      (sum, each) => sum + each.outbound.framesSent + each.inbound.answersSent,
      0,
    );
    const attackers = ofPeer.reduce((sum, each) => sum + each.sent, 0);
    t.equal(inbound.framesReceived, ofPeers + attackers + unknown, 'received: what peers and attackers sent');
    t.equal(kernel.udpReceiveOverflow, 0, 'none was lost before');
  });
}

t.test("a peer at this host's own address: its frames come back once, and end as spoofed", async (t) => {
  const scenario = await Scenario.open(t, { hosts: 2 });
  const { lab } = scenario;
  const one = lab.host(0);
  const peers = [{ subnet: lab.host(1).subnet, publicIp: one.publicIp }];
  const daemon = await scenario.start(0, { routes: { network: lab.network, subnet: one.subnet, peers } });
  await lab.pod(0).exec('ping', ['-n', '-c', '3', '-W', '1', lab.pod(1).address], { mayFail: true });
  const { inbound, outbound } = await daemon.stats();
  t.match(
    [outbound.framesReceived, outbound.framesSent, inbound.framesReceived, inbound.drops.spoofedSource],
    [3, 3, 3, 3],
  );
});

t.test('hosts whose routes point at each other lose the frame, and say so', async (t) => {
  const scenario = await Scenario.open(t, { hosts: 3 });
  const { lab } = scenario;
  const [one, two] = [lab.host(0), lab.host(1)];
  const nobodys = '10.1.77.0/24';
  const routes = (own: typeof one, peer: typeof one): RoutesDocument => ({
    network: lab.network,
    subnet: own.subnet,
    peers: [
      { subnet: peer.subnet, publicIp: peer.publicIp },
      { subnet: nobodys, publicIp: peer.publicIp },
    ],
  });
  const daemons = [
    await scenario.start(0, { routes: routes(one, two) }),
    await scenario.start(1, { routes: routes(two, one) }),
  ];
  const { code } = await lab
    .pod(0)
    .exec('ping', ['-n', '-c', '3', '-W', '1', '10.1.77.2'], { mayFail: true });
  t.not(code, 0, 'nobody answers');
  const [first, second] = [await daemons[0]!.stats(), await daemons[1]!.stats()];
  t.equal(first.outbound.framesSent, 3, 'each left once');
  t.equal(second.inbound.drops.notLocal, 3, 'and ended at the other, which is not its host');
  t.equal(second.outbound.framesReceived, 0, 'none goes round');
});

t.test('a frame for an address of our subnet that no pod has dies of its TTL at the latest', async (t) => {
  const scenario = await Scenario.open(t, { hosts: 2 });
  const { lab } = scenario;
  const daemons = await scenario.startPair();
  // Without its bridge the host has no way to its own subnet but the device of the whole network.
  await lab.host(1).ip('link set cni0 down');
  const before = await daemons[1].stats();
  await lab.pod(0).exec('ping', ['-n', '-c', '3', '-W', '1', lab.pod(1).address], { mayFail: true });
  const after = await until('the frames to end', async () => {
    const now = await daemons[1].stats();
    return endedFrames(now) - endedFrames(before) >= 3 && now;
  });
  t.equal(
    after.outbound.drops.localDestination - before.outbound.drops.localDestination,
    3,
    'counted where it came back',
  );
  t.ok(after.inbound.framesReceived - before.inbound.framesReceived < 10, 'and it did not go round');
});

t.test(
  'an underlay address inside the overlay is refused at the start, as its datagrams would loop',
  async (t) => {
    const scenario = await Scenario.open(t, { hosts: 2 });
    const { lab } = scenario;
    const routes = { network: '192.168.0.0/16', subnet: '192.168.7.0/24', peers: [] };
    const daemon = await scenario.start(0, { routes, started: 'spawned' });
    const { code } = await daemon.child.exited;
    t.not(code, 0);
    t.match(
      daemon.child.stderr,
      /192\.168\.100\.1 lies inside the overlay network 192\.168\.0\.0\/16: its datagrams would loop/,
    );
    t.equal(lab.host(0).publicIp, '192.168.100.1');
  },
);

async function startMembers(
  scenario: Scenario,
  lanes: number,
  earlyDrop: boolean,
  underlay: 'ipv4' | 'ipv6' = 'ipv4',
): Promise<SelvageDaemon[]> {
  const { lab } = scenario;
  const extraArgs = ['--lanes', String(lanes), `--early-drop=${earlyDrop}`];
  const members = MEMBERS.map((i) => lab.host(i));
  return await Promise.all(
    MEMBERS.map((i) => {
      const own = lab.host(i);
      const peers = members
        .filter((peer) => peer !== own)
        .map(({ subnet, ipv6Subnet, publicIp, publicIpv6 }) => ({
          ...{ subnet, ipv6Subnet },
          publicIp: underlay === 'ipv6' ? publicIpv6 : publicIp,
        }));
      const { subnet, ipv6Subnet } = own;
      const routes = { network: lab.network, subnet, ipv6Network: lab.ipv6Network, ipv6Subnet, peers };
      return scenario.start(i, { families: '46', underlay, routes, extraArgs });
    }),
  );
}

/** All at the same time; what pods of the transfers would answer or believe goes to absent neighbours instead. */
async function attack(lab: Lab): Promise<{ seed: string; sent: number }[]> {
  const [one, peer, stranger] = [lab.host(0), lab.host(1), lab.host(STRANGER)];
  const absent = ['10.1.1.9', '10.1.2.9', 'fd00:1:1::9', 'fd00:1:2::9'];
  const options = { count: 3_000, seconds: 15, perSecond: 1_000, victims: absent };
  const senders = [
    hostileDatagrams(lab, stranger, one, options),
    hostileDatagrams(lab, peer, one, { ...options, victims: absent.filter((each) => /1[.:]+9$/.test(each)) }),
    hostileForgeries(lab, stranger, { as: peer, to: one }, { ...options, kinds: INNER_KINDS }),
    await hostilePackets(lab, lab.pod(2), one, options),
    hostileFrames(lab, lab.host(2), one, 'flannel0', options),
  ];
  return await Promise.all(senders.map((sender) => sender.report()));
}

/**
 * All but forged ICMP errors about the tunnel: the kernel believes one that quotes the right addresses and ports, and the path is
 * then narrow for minutes, which senders of datagrams that must not be fragmented are told.
 */
const INNER_KINDS = [
  'sound',
  'random_bytes',
  'empty',
  'truncated',
  'wrong_version',
  'wrong_checksum',
  'wrong_total_length',
  'flipped_bits',
  'extension_chain',
  'fragments',
  'martian_source',
  'spoofed_source',
  'to_the_host',
  'last_hop',
  'train',
];

/** Whose source or destination is not theirs or ours; which of the reasons one of them has depends on the address. */
const MISADDRESSED_KINDS = [
  'martian_source',
  'martian_destination',
  'same_source_and_destination',
  'spoofed_source',
  'to_the_host',
  'to_somebody_else',
];

/** Those of which the kind alone says what becomes of them. */
const PLAIN_KINDS = [
  'sound',
  'empty',
  'wrong_version',
  'wrong_checksum',
  'last_hop',
  'traffic_classes',
  ...MISADDRESSED_KINDS,
];

/** Sound but for who sends them. */
const STRANGERS_KINDS = ['sound', 'spoofed_source', 'to_somebody_else', 'last_hop', 'traffic_classes'];

async function isSound(t: Test, daemon: SelvageDaemon, who: string): Promise<void> {
  const stats = await until(`${who} to be idle`, async () => {
    const before = await daemon.stats();
    const after = await daemon.stats();
    return (
      balance(after.outbound) === 0 && balance(after.inbound) === 0 && equalTraffic(before, after) && after
    );
  });
  t.equal(
    balance(stats.outbound),
    0,
    `${who}, outbound: received = sent + dropped (${said(stats.outbound)})`,
  );
  t.equal(balance(stats.inbound), 0, `${who}, inbound: received = sent + dropped (${said(stats.inbound)})`);
  t.ok(
    stats.lanes.every(({ running, restarts }) => running && restarts === 0),
    `${who}: no lane died`,
  );
}

async function strangersWereRefused(
  t: Test,
  daemon: SelvageDaemon,
  sent: number,
  earlyDrop: boolean,
): Promise<void> {
  const { inbound, kernel } = await daemon.stats();
  if (!earlyDrop) {
    t.equal(kernel.strangersRefused, null, 'the kernel refuses nobody for us');
    t.ok(
      inbound.drops.unknownPeer > 0,
      `lanes refused ${inbound.drops.unknownPeer} sound frames of strangers`,
    );
    return;
  }
  // A pod that sends to the port of another host is a stranger there as well, and a few of its packets do.
  const refused = kernel.strangersRefused ?? 0;
  t.ok(
    refused >= sent && refused < sent + 100,
    `every datagram of the stranger was refused in the kernel (${refused} of ${sent})`,
  );
  t.equal(inbound.drops.unknownPeer, 0, 'and none reached a lane');
}

function balance({ framesReceived, framesSent, drops }: DirectionCounters): number {
  return framesReceived - framesSent - Object.values(drops).reduce((sum, each) => sum + each, 0);
}

function equalTraffic(a: ForwarderStats, b: ForwarderStats): boolean {
  return (
    a.inbound.framesReceived === b.inbound.framesReceived &&
    a.outbound.framesReceived === b.outbound.framesReceived
  );
}

function said({ framesReceived, framesSent, drops }: DirectionCounters): string {
  const reasons = Object.entries(drops).filter(([, count]) => count > 0);
  return `${framesReceived} = ${framesSent} + ${reasons.map(([name, count]) => `${count} ${name}`).join(' + ')}`;
}

function endedFrames({ outbound, inbound }: ForwarderStats): number {
  const dropped = ({ drops }: DirectionCounters): number =>
    Object.values(drops).reduce((sum, each) => sum + each, 0);
  return dropped(outbound) + dropped(inbound);
}

/** Of the daemon's process. */
function residentBytes({ child }: SelvageDaemon): number {
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
}
