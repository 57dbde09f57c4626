/**
 * What cannot go on is answered as a router answers it, and counted.
 *
 * ```text
 *  pod1             host1                                                   host2             pod2
 *  10.1.1.2 --- 10.1.1.1 - 10.1.1.0 (flannel0) ~ selvage ==== selvage ~ 10.1.2.0 (flannel0) - 10.1.2.1 --- 10.1.2.2
 *
 *  TTL from pod1:  1: host1's kernel   2: selvage on host1   3: selvage on host2   4: host2's kernel   5: arrives
 *  TTL from host1:                     1: selvage on host1   2: selvage on host2   3: host2's kernel   4: arrives
 * ```
 *
 * 10.1.77.0/24 is inside the overlay network, but nobody's.
 */
import t from 'tap';

import { icmpMessage, innerFrame } from '../unit/inner_frame.js';
import { changeOf, type Direction, statsWhen } from './counter_changes.js';
import { differences } from './differences.js';
import type { Namespace } from './namespace.js';
import { sendFrames } from './replay.js';
import { Scenario } from './scenario.js';
import { runPython } from './tool.js';

const NOBODYS_ADDRESS = '10.1.77.2';
const OVERLAY_MTU = 1472;

const ICMP = 1;
const toNobody = { source: '10.1.1.2', destination: NOBODYS_ADDRESS };

/** Frames without a route, and whether a router may answer them (RFC 1812 section 4.3.2.7). */
const RULES = [
  { rule: 'a datagram is answered', frame: innerFrame(toNobody), answered: true },
  {
    rule: 'an echo request is',
    frame: innerFrame({ ...toNobody, protocol: ICMP, payload: icmpMessage(8) }),
    answered: true,
  },
  {
    rule: 'an echo reply is',
    frame: innerFrame({ ...toNobody, protocol: ICMP, payload: icmpMessage(0) }),
    answered: true,
  },
  {
    rule: '"unreachable" is not',
    frame: innerFrame({ ...toNobody, protocol: ICMP, payload: icmpMessage(3) }),
    answered: false,
  },
  {
    rule: '"time exceeded" is not',
    frame: innerFrame({ ...toNobody, protocol: ICMP, payload: icmpMessage(11) }),
    answered: false,
  },
  {
    rule: 'a redirect is not',
    frame: innerFrame({ ...toNobody, protocol: ICMP, payload: icmpMessage(5) }),
    answered: false,
  },
  {
    rule: 'ICMP without a type is not',
    frame: innerFrame({ ...toNobody, protocol: ICMP, payload: new Uint8Array(0) }),
    answered: false,
  },
  { rule: 'a first fragment is', frame: innerFrame({ ...toNobody, fragment: 0x2000 }), answered: true },
  { rule: 'a later fragment is not', frame: innerFrame({ ...toNobody, fragment: 0x2001 }), answered: false },
];

t.setTimeout(90_000);

t.test('what cannot go on is answered and counted', async (t) => {
  const scenario = await Scenario.open(t, { record: true, packages: ['traceroute'] });
  const daemons = await scenario.startPair();
  const [pod1, pod2] = [scenario.lab.pod(0), scenario.lab.pod(1)];
  const host1 = scenario.lab.host(0);

  for (const [from, label] of [
    [pod1, 'a pod'],
    [host1, 'the host'],
  ] as const) {
    await t.test(`no route: ${label} is told "net unreachable"`, async (t) => {
      const change = await changeOf(daemons, async () => {
        const said = await pingOnce(from, [NOBODYS_ADDRESS]);
        t.match(said, /From 10\.1\.1\.0 .*Destination Net Unreachable/i);
      });
      t.strictSame(change.outbound[0], { framesReceived: 1, 'drops.noRoute': 1, answersSent: 1 });
      t.strictSame(change.inbound, [{}, {}], 'nothing of it reaches the wire');
    });
  }

  await t.test('no route: a TCP connection fails at once instead of timing out', async (t) => {
    const connect = `import socket; socket.create_connection(("${NOBODYS_ADDRESS}", 80), timeout=15)`;
    const { stderr } = await runPython(pod1, connect);
    t.match(stderr, /OSError: .*(Network is unreachable|No route to host)/);
  });

  const expiries = [
    { from: pod1, label: 'the pod', ttl: 2, answers: '10.1.1.0', where: 0, direction: 'outbound' },
    { from: pod1, label: 'the pod', ttl: 3, answers: '10.1.2.0', where: 1, direction: 'inbound' },
    { from: host1, label: 'the host', ttl: 1, answers: '10.1.1.0', where: 0, direction: 'outbound' },
    { from: host1, label: 'the host', ttl: 2, answers: '10.1.2.0', where: 1, direction: 'inbound' },
  ] as const;
  for (const { from, label, ttl, answers, where, direction } of expiries) {
    await t.test(`TTL ${ttl} from ${label}: "time exceeded" comes from ${answers}`, async (t) => {
      const change = await changeOf(daemons, async () => {
        const said = await pingOnce(from, ['-t', String(ttl), pod2.address]);
        t.match(said, new RegExp(`From ${answers.replaceAll('.', '\\.')} .*Time to live exceeded`, 'i'));
      });
      t.match(change[direction][where], { 'drops.ttlExceeded': 1, answersSent: 1 }, 'counted where it ended');
      const elsewhere = [
        change.outbound[1 - where],
        change.inbound[1 - where],
        change[other(direction)][where],
      ];
      for (const each of elsewhere) t.notOk(each?.['drops.ttlExceeded'], 'and nowhere else');
    });
  }

  await t.test(
    'an inner packet is one hop on each side: TTL 4 from the pod ends in the kernel of host2',
    async (t) => {
      const change = await changeOf(daemons, async () => {
        t.match(await pingOnce(pod1, ['-t', '4', pod2.address]), /Time to live exceeded/i);
        t.match(
          await pingOnce(pod1, ['-t', '5', pod2.address]),
          /ttl=60 /,
          'and TTL 5 arrives; its answer made 4 hops back',
        );
      });
      for (const each of [...change.outbound, ...change.inbound]) {
        t.equal(
          Object.keys(each).filter((name) => name.startsWith('drops')).length,
          0,
          'selvage dropped nothing',
        );
      }
    },
  );

  await t.test('traceroute shows both lanes as hops', async (t) => {
    const { stdout } = await pod1.exec('traceroute', ['-n', '-q', '1', '-w', '5', '-m', '8', pod2.address], {
      timeoutSeconds: 60,
    });
    const hops = [...stdout.matchAll(/^ *\d+ +(\S+)/gm)].map((match) => match[1]);
    // host2's kernel answers with the address of the device that the packet came in by, which is the lane's too.
    t.strictSame(hops, ['10.1.1.1', '10.1.1.0', '10.1.2.0', '10.1.2.0', '10.1.2.2']);
  });

  await t.test('larger than the path: the sender learns the MTU', async (t) => {
    await host1.ip(`link set flannel0 mtu 1500`); // as after a mistake, or an underlay whose MTU has just become smaller
    await scenario.lab.setPodMtu(1500);
    const cut = await changeOf(daemons, async () => {
      const said = await pingOnce(pod1, ['-M', 'dont', '-s', String(OVERLAY_MTU + 1 - 28), pod2.address]);
      t.match(said, /1 received/, 'what may be fragmented goes on');
    });
    t.strictSame(cut.outbound[0], { framesReceived: 1, framesSent: 1 });
    t.strictSame(cut.inbound[1], { framesReceived: 2, framesSent: 2 }, 'it left in two fragments');
    const change = await changeOf(daemons, async () => {
      const said = await pingOnce(pod1, ['-M', 'do', '-s', String(OVERLAY_MTU + 1 - 28), pod2.address]);
      t.match(said, new RegExp(`From 10\\.1\\.1\\.0 .*mtu ?= ?${OVERLAY_MTU}`, 'i'));
    });
    t.strictSame(change.outbound[0], { framesReceived: 1, 'drops.tooBig': 1, answersSent: 1 });
    t.match(
      await pingOnce(pod1, ['-M', 'do', '-s', String(OVERLAY_MTU - 28), pod2.address]),
      /1 received/,
      'and what fits goes on',
    );
    await host1.ip(`link set flannel0 mtu ${OVERLAY_MTU}`);
    await scenario.lab.setPodMtu(OVERLAY_MTU);
  });

  await t.test('a fragmented packet to nowhere: only its first fragment is answered', async (t) => {
    const change = await changeOf(daemons, async () => {
      await pingOnce(pod1, ['-s', '4000', NOBODYS_ADDRESS]);
    });
    t.strictSame(change.outbound[0], { framesReceived: 3, 'drops.noRoute': 3, answersSent: 1 });
  });

  await t.test('only the sender of a unicast query or datagram is told', async (t) => {
    for (const { rule, frame, answered } of RULES) {
      const change = await changeOf(daemons, async () => {
        const { outbound } = await daemons[0].stats();
        await sendFrames(scenario.lab, host1, [frame], 'flannel0');
        await statsWhen(daemons[0], (now) => now.outbound.framesReceived === outbound.framesReceived + 1);
      });
      t.strictSame(
        change.outbound[0],
        { framesReceived: 1, 'drops.noRoute': 1, ...(answered ? { answersSent: 1 } : {}) },
        rule,
      );
    }
  });

  await t.test('answers are limited: a flood to nowhere is dropped whole and answered in part', async (t) => {
    const flood = new Array<Uint8Array>(800).fill(innerFrame({ destination: NOBODYS_ADDRESS }));
    const before = (await daemons[0].stats()).outbound;
    await sendFrames(scenario.lab, host1, flood, 'flannel0');
    const { outbound } = await statsWhen(
      daemons[0],
      (now) => now.outbound.framesReceived === before.framesReceived + flood.length,
    );
    const change = differences(before, outbound);
    t.equal(change['drops.noRoute'], flood.length, 'each is dropped and counted');
    const { answersSent = 0, answersSuppressed = 0 } = change;
    t.equal(answersSent + answersSuppressed, flood.length, 'each answer was sent or suppressed');
    t.ok(answersSent > 0, `some are answered (${answersSent})`);
    t.ok(answersSuppressed > 0, `and some are not (${answersSuppressed})`);
  });
});

function other(direction: Direction): Direction {
  return direction === 'outbound' ? 'inbound' : 'outbound';
}

async function pingOnce(from: Namespace, args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await from.exec('ping', ['-n', '-c', '1', '-W', '5', ...args], {
    mayFail: true,
  });
  return stdout + stderr;
}
