/**
 * Who may send what into a host.
 *
 * ```text
 *  pod1 10.1.1.2                            host2 192.168.100.2   a peer, owns 10.1.2.0/24; runs selvage too
 *    |                                     /
 *  host1 192.168.100.1 ~ selvage === wires --- host3 192.168.100.3   a peer, owns 10.1.3.0/24; sends by hand
 *                                          \
 *                                           host4 192.168.100.4   a stranger
 * ```
 *
 * Each row sends its frame several times to host1's port. Either all arrive at pod1, or none and exactly so many are counted
 * under the row's reason. A ping behind them proves that whatever was to arrive has arrived.
 */
import t, { type Test } from 'tap';

import type { DropReasonName } from '../../src/index.js';
import { innerFrame, PROTOCOL_UDP, type InnerFrame } from '../unit/inner_frame.js';
import type { Child } from './child.js';
import { differences } from './differences.js';
import type { LabHost } from './lab.js';
import { sendDatagrams } from './replay.js';
import { Scenario } from './scenario.js';
import { routesOf, type SelvageDaemon } from './selvage.js';
import { startToolUntil } from './tool.js';
import { until } from './until.js';

const PORT = 8285;
/** Of each frame. */
const COPIES = 5;
const PEER = 1;
const SECOND_PEER = 2;
const STRANGER = 3;

interface Row {
  readonly rule: string;
  /** Index of the host that sends. */
  readonly from: number;
  readonly frame: Uint8Array;
  /** Undefined: it arrives. */
  readonly reason?: DropReasonName;
  /** An ICMP error about each goes to the peer that the inner source belongs to. */
  readonly answered?: true;
}

/** A sound UDP datagram without checksum from pod2 to pod1's discard port, unless told otherwise. */
function frame(spec: InnerFrame = {}): Uint8Array {
  const payload = new Uint8Array([0x30, 0x39, 0, 9, 0, 12, 0, 0, 1, 2, 3, 4]);
  return innerFrame({
    source: '10.1.2.2',
    destination: '10.1.1.2',
    protocol: PROTOCOL_UDP,
    payload,
    ...spec,
  });
}

const UNSOUND: readonly Row[] = [
  {
    rule: 'garbage from a stranger',
    from: STRANGER,
    frame: new Uint8Array(40).fill(0xee),
    reason: 'badVersion',
  },
  {
    rule: 'an empty datagram from a stranger',
    from: STRANGER,
    frame: new Uint8Array(0),
    reason: 'truncated',
  },
  { rule: 'a peer, from loopback', from: PEER, frame: frame({ source: '127.0.0.1' }), reason: 'martian' },
  {
    rule: 'a peer, to everybody',
    from: PEER,
    frame: frame({ destination: '255.255.255.255' }),
    reason: 'notUnicast',
  },
];

const MODES: Readonly<Record<'strict' | 'peer' | 'off', readonly Row[]>> = {
  strict: [
    ...UNSOUND,
    { rule: 'a peer, from its own subnet', from: PEER, frame: frame() },
    { rule: 'another peer, from its own subnet', from: SECOND_PEER, frame: frame({ source: '10.1.3.2' }) },
    { rule: 'a stranger', from: STRANGER, frame: frame(), reason: 'unknownPeer' },
    {
      rule: 'a stranger, from its own subnet',
      from: STRANGER,
      frame: frame({ source: '10.1.4.2' }),
      reason: 'unknownPeer',
    },
    {
      rule: 'a stranger, from our own subnet',
      from: STRANGER,
      frame: frame({ source: '10.1.1.9' }),
      reason: 'unknownPeer',
    },
    { rule: 'a stranger, with TTL 1', from: STRANGER, frame: frame({ ttl: 1 }), reason: 'unknownPeer' },
    {
      rule: 'a stranger, to somebody else',
      from: STRANGER,
      frame: frame({ destination: '10.1.3.2' }),
      reason: 'unknownPeer',
    },
    {
      rule: "a peer, from another peer's subnet",
      from: SECOND_PEER,
      frame: frame(),
      reason: 'spoofedSource',
    },
    {
      rule: 'a peer, from our own subnet',
      from: PEER,
      frame: frame({ source: '10.1.1.9' }),
      reason: 'spoofedSource',
    },
    {
      rule: "a peer, from nobody's subnet",
      from: PEER,
      frame: frame({ source: '10.1.77.2' }),
      reason: 'spoofedSource',
    },
    {
      rule: 'a peer, from outside the overlay',
      from: PEER,
      frame: frame({ source: '198.51.100.7' }),
      reason: 'spoofedSource',
    },
    {
      rule: "a peer, from another's, with TTL 1",
      from: SECOND_PEER,
      frame: frame({ ttl: 1 }),
      reason: 'spoofedSource',
    },
    { rule: 'a peer, to a third', from: PEER, frame: frame({ destination: '10.1.3.2' }), reason: 'notLocal' },
    { rule: 'a peer, to itself', from: PEER, frame: frame({ destination: '10.1.2.9' }), reason: 'notLocal' },
    { rule: 'a peer, to nobody', from: PEER, frame: frame({ destination: '10.1.77.2' }), reason: 'notLocal' },
    {
      rule: "a peer, to this host's underlay",
      from: PEER,
      frame: frame({ destination: '192.168.100.1' }),
      reason: 'notLocal',
    },
    {
      rule: 'a peer, with TTL 1',
      from: PEER,
      frame: frame({ ttl: 1 }),
      reason: 'ttlExceeded',
      answered: true,
    },
    {
      rule: 'a peer, with TTL 0',
      from: PEER,
      frame: frame({ ttl: 0 }),
      reason: 'ttlExceeded',
      answered: true,
    },
  ],
  peer: [
    ...UNSOUND,
    { rule: 'a peer, from its own subnet', from: PEER, frame: frame() },
    { rule: "a peer, from another peer's subnet", from: SECOND_PEER, frame: frame() },
    { rule: "a peer, from nobody's subnet", from: PEER, frame: frame({ source: '10.1.77.2' }) },
    { rule: 'a stranger', from: STRANGER, frame: frame(), reason: 'unknownPeer' },
    { rule: 'a stranger, with TTL 1', from: STRANGER, frame: frame({ ttl: 1 }), reason: 'unknownPeer' },
    { rule: 'a peer, to a third', from: PEER, frame: frame({ destination: '10.1.3.2' }), reason: 'notLocal' },
  ],
  off: [
    ...UNSOUND,
    { rule: 'a peer', from: PEER, frame: frame() },
    { rule: 'a stranger', from: STRANGER, frame: frame() },
    { rule: 'a stranger, from its own subnet', from: STRANGER, frame: frame({ source: '10.1.4.2' }) },
    {
      rule: 'a stranger, to a third',
      from: STRANGER,
      frame: frame({ destination: '10.1.3.2' }),
      reason: 'notLocal',
    },
    {
      rule: 'a stranger, with TTL 1',
      from: STRANGER,
      frame: frame({ ttl: 1 }),
      reason: 'ttlExceeded',
      answered: true,
    },
  ],
};

t.setTimeout(120_000);

t.test('who may send what into a host', async (t) => {
  const scenario = await Scenario.open(t, { hosts: 4, record: true });
  const { lab } = scenario;
  const routes = routesOf(lab, 0);
  const withoutStranger = { ...routes, peers: routes.peers.slice(0, -1) };
  const peer = await scenario.start(PEER);
  const inPod = await startToolUntil('capturing', lab.pod(0), 'capture', 'eth0');
  const atStranger = await startToolUntil(
    'capturing',
    lab.host(STRANGER),
    'capture',
    lab.host(STRANGER).underlay,
  );
  for (const [mode, rows] of Object.entries(MODES)) {
    for (const lanes of [1, 2]) {
      const extraArgs = ['--source-check', mode, '--lanes', String(lanes)];
      const daemon = await scenario.start(0, { routes: withoutStranger, extraArgs });
      const host = { scenario, daemon, peer, inPod, atStranger };
      for (const row of rows) {
        const what = row.reason === undefined ? 'arrives' : `is dropped as ${row.reason}`;
        await t.test(`--source-check=${mode}, ${count(lanes, 'lane')}: ${row.rule}: ${what}`, (t) =>
          sendRow(t, host, row),
        );
      }
      await daemon.stop();
    }
  }
});

function count(n: number, noun: string): string {
  return n === 1 ? `1 ${noun}` : `${n} ${noun}s`;
}

/** The host under test, and who watches it. */
interface Watched {
  readonly scenario: Scenario;
  readonly daemon: SelvageDaemon;
  readonly peer: SelvageDaemon;
  readonly inPod: Child;
  readonly atStranger: Child;
}

async function sendRow(t: Test, watched: Watched, row: Row): Promise<void> {
  const { scenario, daemon, inPod, atStranger } = watched;
  const { lab } = scenario;
  const before = (await daemon.stats()).inbound;
  const [podSaw, strangerSaw] = [inPod.stdout.length, atStranger.stdout.length];

  const records = new Array(COPIES).fill({ bytes: row.frame }) as { bytes: Uint8Array }[];
  const sent = await sendDatagrams(lab, lab.host(row.from), records, {
    address: lab.host(0).publicIp,
    port: PORT,
  });
  t.match(sent, { sent: COPIES, refused: {} }, `${lab.host(row.from).label} sent it ${COPIES} times`);

  const after = await until('the frames to be counted', async () => {
    const { inbound } = await daemon.stats();
    return inbound.framesReceived >= before.framesReceived + COPIES && inbound;
  });
  const { reason, answered } = row;
  t.strictSame(
    countsOf(differences(before, after)),
    {
      framesReceived: COPIES,
      ...(reason === undefined ? { framesSent: COPIES } : { [`drops.${reason}`]: COPIES }),
      ...(answered ? { answersSent: COPIES } : {}),
    },
    'counted once each',
  );

  await pingPod(watched, lab.host(PEER));
  const arrived = framesIn(inPod.stdout.slice(podSaw)).filter(isNoPing);
  t.equal(
    arrived.length,
    reason === undefined ? COPIES : 0,
    reason === undefined ? 'all arrive' : 'none arrives',
  );
  const back = framesIn(atStranger.stdout.slice(strangerSaw)).filter(
    (each) => each.source === lab.host(0).publicIp,
  );
  t.strictSame(back, [], 'the stranger hears nothing');
}

/** What is said of frames and answers, not how they came together. */
function countsOf(changes: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(changes).filter(([name]) => /^(frames|drops|answers)/.test(name)));
}

interface SeenFrame {
  readonly source: string;
  readonly protocol: number;
}

/** The frames that arrived, as capture.py prints them. */
function framesIn(printed: string): SeenFrame[] {
  return [...printed.matchAll(/^< (45[0-9a-f]+)$/gm)].map(([, hex = '']) => {
    const bytes = Buffer.from(hex, 'hex');
    return { source: [...bytes.subarray(12, 16)].join('.'), protocol: bytes[9] ?? 0 };
  });
}

function isNoPing({ protocol }: SeenFrame): boolean {
  return protocol !== 1;
}

/** A ping from a peer that arrives at the pod behind all that was sent before. */
async function pingPod({ scenario, inPod }: Watched, from: LabHost): Promise<void> {
  const pings = (): number => framesIn(inPod.stdout).filter((each) => !isNoPing(each)).length;
  const before = pings();
  await from.exec('ping', ['-n', '-c', '1', '-W', '5', '-I', from.bridgeIp, scenario.lab.pod(0).address]);
  await until('the ping in the pod', () => pings() > before);
}
