/**
 * What cannot go on is answered as an IPv6 router answers it (RFC 4443), and counted.
 *
 * ```text
 *  pod1               host1                                                   host2               pod2
 *  fd00:1:1::2 --- cni0 - fd00:1:1:: (flannel0) ~ selvage ==== selvage ~ fd00:1:2:: (flannel0) - cni0 --- fd00:1:2::2
 *                  fd00:1:1::1                       \                            fd00:1:2::1
 *                                                     ==== host3, fd00:1:3::/64
 *
 *  hop limit from pod1:  1: host1's kernel   2: selvage on host1   3: selvage on host2   4: host2's kernel   5: arrives
 * ```
 *
 * fd00:1:77::/64 is inside the overlay network, but nobody's.
 */
import t, { type Test } from 'tap';

import {
  chained,
  decodeIpv6,
  extension,
  fragmentHeader,
  ICMPV6,
  innerIpv6Frame,
  upperChecksum,
} from '../unit/inner_ipv6_frame.js';
import { icmpMessage } from '../unit/inner_frame.js';
import { changeOf, type Direction, statsWhen } from './counter_changes.js';
import { differences } from './differences.js';
import type { Namespace } from './namespace.js';
import { sendFrames } from './replay.js';
import { Scenario } from './scenario.js';
import { overheadBytes, type SelvageDaemon } from './selvage.js';
import { runPython } from './tool.js';
import { Witness } from './witness.js';

const POD = 'fd00:1:1::2';
const NOBODYS_ADDRESS = 'fd00:1:77::2';
const UDP = 17;
const HOP_BY_HOP = 0;
const DESTINATION_OPTIONS = 60;
/** What an ICMPv6 error is at most (RFC 4443 section 2.4 c), and what of it is before the quotation. */
const MOST_BYTES = 1280;
const ANSWER_HEADERS = 48;

const toNobody = { source: POD, destination: NOBODYS_ADDRESS };

interface Rule {
  readonly rule: string;
  readonly frame: Uint8Array;
  readonly answered: boolean;
  /** `noRoute` without it. */
  readonly drop?: 'notUnicast' | 'martian';
}

function icmpv6(type: number): Uint8Array {
  return innerIpv6Frame({ ...toNobody, nextHeader: ICMPV6, payload: icmpMessage(type) });
}

function behind(extensions: Parameters<typeof chained>[0], next: number, upper: Uint8Array): Uint8Array {
  return innerIpv6Frame({ ...toNobody, ...chained(extensions, next, upper) });
}

/** Frames that cannot go on, and whether a router may answer them (RFC 4443 section 2.4 e). */
const RULES: readonly Rule[] = [
  { rule: 'a datagram is answered', frame: innerIpv6Frame(toNobody), answered: true },
  { rule: 'an echo request is', frame: icmpv6(128), answered: true },
  { rule: 'an echo reply is', frame: icmpv6(129), answered: true },
  { rule: 'an informational message nobody knows is', frame: icmpv6(250), answered: true },
  { rule: '"unreachable" is not', frame: icmpv6(1), answered: false },
  { rule: '"packet too big" is not', frame: icmpv6(2), answered: false },
  { rule: '"time exceeded" is not', frame: icmpv6(3), answered: false },
  { rule: '"parameter problem" is not', frame: icmpv6(4), answered: false },
  { rule: 'an error nobody knows is not', frame: icmpv6(100), answered: false },
  { rule: 'a redirect is not', frame: icmpv6(137), answered: false },
  {
    rule: 'ICMPv6 without a type is not',
    frame: innerIpv6Frame({ ...toNobody, nextHeader: ICMPV6, payload: new Uint8Array(0) }),
    answered: false,
  },
  {
    rule: 'an error behind extension headers is not',
    frame: behind([extension(HOP_BY_HOP), extension(DESTINATION_OPTIONS)], ICMPV6, icmpMessage(1)),
    answered: false,
  },
  {
    rule: 'an echo request behind extension headers is',
    frame: behind([extension(HOP_BY_HOP), extension(DESTINATION_OPTIONS)], ICMPV6, icmpMessage(128)),
    answered: true,
  },
  {
    rule: 'a first fragment of an echo request is',
    frame: behind([fragmentHeader(0)], ICMPV6, icmpMessage(128)),
    answered: true,
  },
  {
    rule: 'a first fragment of an error is not',
    frame: behind([fragmentHeader(0)], ICMPV6, icmpMessage(3)),
    answered: false,
  },
  {
    rule: 'a later fragment of ICMPv6, which may be of an error, is not',
    frame: behind([fragmentHeader(2)], ICMPV6, icmpMessage(128)),
    answered: false,
  },
  {
    rule: 'a later fragment of a datagram is',
    frame: behind([fragmentHeader(2)], UDP, new Uint8Array(16)),
    answered: true,
  },
  {
    rule: 'a packet to a group is not',
    frame: innerIpv6Frame({ ...toNobody, destination: 'ff05::1:3' }),
    answered: false,
    drop: 'notUnicast',
  },
  {
    rule: 'a packet that claims to come from a group is not',
    frame: innerIpv6Frame({ ...toNobody, source: 'ff05::1:3' }),
    answered: false,
    drop: 'martian',
  },
];

t.setTimeout(180_000);

for (const underlay of ['ipv4', 'ipv6'] as const) {
  t.test(`what cannot go on is answered and counted, over ${underlay}`, async (t) => {
    const kind = { families: '46', underlay } as const;
    const scenario = await Scenario.open(t, { hosts: 3, record: true, packages: ['tshark'] });
    const daemons = await scenario.startAll(kind);
    const overlayMtu = scenario.lab.underlayMtu - overheadBytes(kind);
    await routeErrors(t, scenario, daemons);
    await expiredHops(t, scenario, daemons);
    await tooBig(t, scenario, daemons, overlayMtu);
    await echoes(t, scenario, daemons);
    if (underlay === 'ipv6') return; // what follows ends before the underlay
    await answeredOrNot(t, scenario, daemons[0]!);
    await asTsharkReadsThem(t, scenario);
    await limited(t, scenario, daemons[0]!);
  });
}

async function routeErrors(t: Test, { lab }: Scenario, daemons: readonly SelvageDaemon[]): Promise<void> {
  for (const from of [lab.pod(0), lab.host(0)]) {
    await t.test(`no route: ${from.label} is told so`, async (t) => {
      const change = await changeOf(daemons, async () => {
        t.match(await pingOnce(from, [NOBODYS_ADDRESS]), /From fd00:1:1:: .*unreachable: No route/);
      });
      t.strictSame(change.outbound[0], { framesReceived: 1, 'drops.noRoute': 1, answersSent: 1 });
      t.strictSame(change.inbound, [{}, {}, {}], 'nothing of it reaches the wire');
    });
  }

  await t.test('no route: a TCP connection fails at once instead of timing out', async (t) => {
    const connect = `import socket; socket.create_connection(("${NOBODYS_ADDRESS}", 80), timeout=15)`;
    t.match((await runPython(lab.pod(0), connect)).stderr, /OSError: .*Network is unreachable/);
  });

  await t.test('what the kernel gives back for this very host: "address unreachable"', async (t) => {
    const absent = 'fd00:1:1::99';
    const [pod, host] = [lab.pod(0), lab.host(0)];
    await pod.ip(`route add ${absent} via ${host.bridgeIpv6}`); // it would ask its neighbours for it
    await host.ip(`route add ${absent} dev flannel0`);
    const change = await changeOf(daemons, async () => {
      t.match(await pingOnce(pod, [absent]), /From fd00:1:1:: .*Address unreachable/);
    });
    await host.ip(`route del ${absent} dev flannel0`);
    t.strictSame(change.outbound[0], { framesReceived: 1, 'drops.localDestination': 1, answersSent: 1 });
  });
}

async function expiredHops(t: Test, { lab }: Scenario, daemons: readonly SelvageDaemon[]): Promise<void> {
  const [pod, host] = [lab.pod(0), lab.host(0)];
  const expiries = [
    { from: pod, hops: 2, answers: 'fd00:1:1::', where: 0, direction: 'outbound' },
    { from: pod, hops: 3, answers: 'fd00:1:2::', where: 1, direction: 'inbound' },
    { from: host, hops: 1, answers: 'fd00:1:1::', where: 0, direction: 'outbound' },
    { from: host, hops: 2, answers: 'fd00:1:2::', where: 1, direction: 'inbound' },
  ] as const;
  for (const { from, hops, answers, where, direction } of expiries) {
    const rule = `hop limit ${hops} from ${from.label}: "time exceeded" comes from ${answers}`;
    await t.test(rule, async (t) => {
      const change = await changeOf(daemons, async () => {
        const said = await pingOnce(from, ['-t', String(hops), lab.pod(1).ipv6Address]);
        t.match(said, new RegExp(`From ${answers} .*Time exceeded: Hop limit`, 'i'));
      });
      t.match(change[direction][where], { 'drops.ttlExceeded': 1, answersSent: 1 }, 'counted where it ended');
      const all = (['outbound', 'inbound'] satisfies Direction[]).flatMap((each) => change[each]);
      const expired = all.filter((each) => each['drops.ttlExceeded'] !== undefined);
      t.equal(expired.length, 1, 'and nowhere else');
    });
  }

  await t.test('hop limit 4 from the pod ends in the kernel of host2, and 5 arrives', async (t) => {
    const change = await changeOf(daemons, async () => {
      t.match(await pingOnce(pod, ['-t', '4', lab.pod(1).ipv6Address]), /Time exceeded/i);
      t.match(await pingOnce(pod, ['-t', '5', lab.pod(1).ipv6Address]), /ttl=60 /, '4 hops back');
    });
    for (const each of [...change.outbound, ...change.inbound]) {
      t.strictSame(
        Object.keys(each).filter((name) => name.startsWith('drops')),
        [],
        'selvage dropped nothing',
      );
    }
  });
}

async function tooBig(
  t: Test,
  { lab }: Scenario,
  daemons: readonly SelvageDaemon[],
  overlayMtu: number,
): Promise<void> {
  await t.test('larger than the path: the sender learns the MTU', async (t) => {
    await lab.host(0).ip('link set flannel0 mtu 1500'); // as after a mistake, or an underlay that has just become narrower
    await lab.setPodMtu(1500);
    const change = await changeOf(daemons, async () => {
      const said = await pingOnce(lab.pod(0), [
        '-M',
        'do',
        '-s',
        String(overlayMtu + 1 - 48),
        lab.pod(1).ipv6Address,
      ]);
      t.match(said, new RegExp(`From fd00:1:1:: .*Packet too big: mtu=${overlayMtu}`, 'i'));
    });
    t.strictSame(change.outbound[0], { framesReceived: 1, 'drops.tooBig': 1, answersSent: 1 });
    const fits = ['-M', 'do', '-s', String(overlayMtu - 48), lab.pod(1).ipv6Address];
    t.match(await pingOnce(lab.pod(0), fits), /1 received/, 'and what fits goes on');
    await lab.host(0).ip(`link set flannel0 mtu ${overlayMtu}`);
    await lab.setPodMtu(overlayMtu);
    await lab.forgetPathMtu();
  });
}

async function echoes(t: Test, { lab }: Scenario, daemons: readonly SelvageDaemon[]): Promise<void> {
  await t.test('the device of another host answers echo requests, large ones in fragments too', async (t) => {
    const change = await changeOf(daemons, async () => {
      t.match(await pingOnce(lab.pod(0), ['fd00:1:3::']), /1 received/);
      t.match(await pingOnce(lab.pod(0), ['-s', '20000', 'fd00:1:3::']), /1 received/);
    });
    for (const each of [...change.outbound, ...change.inbound]) {
      t.notOk(
        Object.keys(each).some((name) => name.startsWith('drops')),
        'nothing is dropped',
      );
    }
  });
}

async function answeredOrNot(t: Test, { lab }: Scenario, daemon: SelvageDaemon): Promise<void> {
  await t.test('only the sender of what is no error and goes to one address is told', async (t) => {
    for (const { rule, frame, answered, drop = 'noRoute' } of RULES) {
      const change = await changeOf([daemon], async () => {
        const { outbound } = await daemon.stats();
        await sendFrames(lab, lab.host(0), [frame], 'flannel0');
        await statsWhen(daemon, (now) => now.outbound.framesReceived > outbound.framesReceived);
      });
      t.strictSame(
        change.outbound[0],
        { framesReceived: 1, [`drops.${drop}`]: 1, ...(answered ? { answersSent: 1 } : {}) },
        rule,
      );
    }
  });
}

async function asTsharkReadsThem(t: Test, { lab }: Scenario): Promise<void> {
  await t.test('tshark finds each error sound, and a quotation as long as 1280 bytes allow', async (t) => {
    const witness = await Witness.start(lab, lab.pod(0), 'eth0', 'icmp6');
    const payloads = [1, 8, MOST_BYTES - ANSWER_HEADERS - 40, MOST_BYTES - ANSWER_HEADERS - 39, 1400];
    const frames = payloads.map((bytes, i) =>
      innerIpv6Frame({
        ...toNobody,
        flowLabel: i,
        trafficClass: 0xb8,
        payload: new Uint8Array(bytes).map((_, at) => at + i),
      }),
    );
    await sendFrames(lab, lab.host(0), frames, 'flannel0');
    const filter = 'icmpv6.type == 1';
    const seen = await witness.seen(
      filter,
      frames.length,
      'icmpv6.code',
      'icmpv6.checksum.status',
      'ipv6.src',
      'ipv6.hlim',
      'ipv6.tclass',
    );
    const packets = await witness.bytes(filter, frames.length);
    await witness.close();
    t.equal(seen.length, frames.length, 'one each');
    for (const [i, frame] of frames.entries()) {
      const label = `about ${frame.length} bytes`;
      const each = seen[i]!;
      t.match(each['icmpv6.code'], ['0'], `${label}: no route`);
      t.equal(each['icmpv6.checksum.status'][0], '1', `${label}: tshark finds the checksum right`);
      t.strictSame(each['ipv6.src'], ['fd00:1:1::', POD], `${label}: from the device, about the pod`);
      t.strictSame(
        each['ipv6.hlim'],
        ['63', '64'],
        `${label}: hop limits of the answer, and of the packet as it was`,
      );
      t.strictSame(each['ipv6.tclass'].map(Number), [0xc0, 0xb8], `${label}: classes`);
      const answer = packets[i]!.subarray(14); // behind the Ethernet header
      const quoted = frame.subarray(0, MOST_BYTES - ANSWER_HEADERS);
      t.equal(answer.length, ANSWER_HEADERS + quoted.length, `${label}: an answer of ${answer.length} bytes`);
      t.ok(Buffer.from(quoted).equals(answer.subarray(ANSWER_HEADERS)), `${label}: quoted unchanged`);
      t.equal(upperChecksum(answer), 0, `${label}: and so do we`);
      t.equal(decodeIpv6(answer).destination, POD, `${label}: to its sender`);
    }
  });
}

async function limited(t: Test, { lab }: Scenario, daemon: SelvageDaemon): Promise<void> {
  await t.test('a flood to nowhere is dropped whole and answered in part', async (t) => {
    const flood = new Array<Uint8Array>(800).fill(innerIpv6Frame(toNobody));
    const before = (await daemon.stats()).outbound;
    await sendFrames(lab, lab.host(0), flood, 'flannel0');
    const { outbound } = await statsWhen(
      daemon,
      (now) => now.outbound.framesReceived === before.framesReceived + flood.length,
    );
    const change = differences(before, outbound);
    t.equal(change['drops.noRoute'], flood.length, 'each is dropped and counted');
    const { answersSent = 0, answersSuppressed = 0 } = change;
    t.equal(answersSent + answersSuppressed, flood.length, 'each answer was sent or suppressed');
    t.ok(answersSent > 0, `some are answered (${answersSent})`);
    t.ok(answersSuppressed > 0, `and some are not (${answersSuppressed})`);
  });
}

async function pingOnce(from: Namespace, args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await from.exec('ping', ['-6', '-n', '-c', '1', '-W', '5', ...args], {
    mayFail: true,
  });
  return stdout + stderr;
}
