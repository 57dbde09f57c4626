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
 * under the row's reason. A ping behind them proves that whatever was to arrive has arrived. The kernel refuses what strangers
 * send before any lane sees it; the rules of the lanes hold without its help, as where it takes no filter.
 */
import t, { type Test } from 'tap';

import type { DropReasonName } from '../../src/index.js';
import { innerFrame, PROTOCOL_UDP, type InnerFrame } from '../unit/inner_frame.js';
import type { Child } from './child.js';
import { differences } from './differences.js';
import type { Lab, LabHost } from './lab.js';
import { isMachineRoot } from './privileges.js';
import { sendDatagrams } from './replay.js';
import { Scenario } from './scenario.js';
import { type RoutesDocument, routesOf, type SelvageDaemon } from './selvage.js';
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

t.setTimeout(300_000);

t.test('who may send what into a host', async (t) => {
  const { lab, ...hosts } = await openHosts(t);
  for (const [mode, rows] of Object.entries(MODES)) {
    for (const lanes of [1, 2]) {
      const extraArgs = ['--source-check', mode, '--lanes', String(lanes), '--early-drop=false'];
      const daemon = await hosts.scenario.start(0, { routes: withoutStranger(lab), extraArgs });
      for (const row of rows) {
        const what = row.reason === undefined ? 'arrives' : `is dropped as ${row.reason}`;
        await t.test(`--source-check=${mode}, ${count(lanes, 'lane')}: ${row.rule}: ${what}`, (t) =>
          sendRow(t, { ...hosts, daemon }, row),
        );
      }
      t.equal((await daemon.stats()).kernel.strangersRefused, null, 'the kernel was not asked for help');
      await daemon.stop();
    }
  }
});

t.test('what a stranger sends reaches no lane', async (t) => {
  if (!isMachineRoot()) return unfiltered(t);
  const { lab, ...hosts } = await openHosts(t);
  for (const mode of ['strict', 'peer'] as const) {
    for (const lanes of [1, 2]) {
      const extraArgs = ['--source-check', mode, '--lanes', String(lanes)];
      const daemon = await hosts.scenario.start(0, { routes: withoutStranger(lab), extraArgs });
      const name = (rule: string): string => `--source-check=${mode}, ${count(lanes, 'lane')}: ${rule}`;
      for (const row of MODES[mode].filter((each) => each.from === STRANGER)) {
        await t.test(name(`${row.rule}: is refused by the kernel`), (t) =>
          sendRefusedRow(t, { ...hosts, daemon }, row),
        );
      }
      await t.test(name('a peer, from its own subnet: arrives'), (t) =>
        sendRow(t, { ...hosts, daemon }, { rule: 'a peer', from: PEER, frame: frame() }),
      );
      await t.test(name('a stranger that becomes a peer: arrives, until it is none any more'), async (t) => {
        daemon.writeRoutes(routesOf(lab, 0));
        await until('the new peer', async () => (await daemon.stats()).peers.length === 3);
        const own = { rule: 'a new peer', from: STRANGER, frame: frame({ source: '10.1.4.2' }) };
        const before = (await daemon.stats()).inbound.framesSent;
        await sendCopies(t, hosts.scenario, own, COPIES);
        await until('all', async () => (await daemon.stats()).inbound.framesSent === before + COPIES);
        daemon.writeRoutes(withoutStranger(lab));
        await until('its departure', async () => (await daemon.stats()).peers.length === 2);
        await until('a refusal', async () => {
          const refused = await strangersRefused(daemon);
          await sendCopies(t, hosts.scenario, own, 1);
          return (await strangersRefused(daemon)) > refused;
        });
        await sendRefusedRow(t, { ...hosts, daemon }, own);
      });
      await daemon.stop();
    }
  }
});

/** Only the root of the machine may load a filter; for anybody else lanes judge as above. */
async function unfiltered(t: Test): Promise<void> {
  const scenario = await Scenario.open(t);
  const daemon = await scenario.start(0);
  t.equal((await daemon.stats()).kernel.strangersRefused, null, 'but for want of CAP_BPF');
}

/** The lab with a daemon on the peer, and captures where something may arrive. */
async function openHosts(t: Test): Promise<Omit<Watched, 'daemon'> & { lab: Lab }> {
  const scenario = await Scenario.open(t, { hosts: 4, record: true });
  const { lab } = scenario;
  const stranger = lab.host(STRANGER);
  return {
    scenario,
    lab,
    peer: await scenario.start(PEER),
    inPod: await startToolUntil('capturing', lab.pod(0), 'capture', 'eth0'),
    atStranger: await startToolUntil('capturing', stranger, 'capture', stranger.underlay),
  };
}

function withoutStranger(lab: Lab): RoutesDocument {
  const routes = routesOf(lab, 0);
  return { ...routes, peers: routes.peers.slice(0, -1) };
}

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
  await sendCopies(t, scenario, row, COPIES);
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
  t.strictSame(fromHostOne(lab, atStranger.stdout.slice(strangerSaw)), [], 'the stranger hears nothing');
}

async function sendRefusedRow(t: Test, watched: Watched, row: Row): Promise<void> {
  const { scenario, daemon, inPod, atStranger } = watched;
  const { lab } = scenario;
  const before = await daemon.stats();
  const [podSaw, strangerSaw] = [inPod.stdout.length, atStranger.stdout.length];
  await sendCopies(t, scenario, row, COPIES);
  const refusedBefore = before.kernel.strangersRefused ?? 0;
  await until('the refusals', async () => (await strangersRefused(daemon)) >= refusedBefore + COPIES);

  await pingPod(watched, lab.host(PEER));
  const after = await daemon.stats();
  t.equal(after.kernel.strangersRefused, refusedBefore + COPIES, 'counted once each');
  t.equal(after.kernel.udpReceiveOverflow, 0, 'and not as losses');
  t.strictSame(
    countsOf(differences(before.inbound, after.inbound)),
    { framesReceived: 1, framesSent: 1 },
    'a lane saw the ping and nothing else',
  );
  t.strictSame(framesIn(inPod.stdout.slice(podSaw)).filter(isNoPing), [], 'none arrives');
  t.strictSame(fromHostOne(lab, atStranger.stdout.slice(strangerSaw)), [], 'the stranger hears nothing');
}

async function strangersRefused(daemon: SelvageDaemon): Promise<number> {
  return (await daemon.stats()).kernel.strangersRefused ?? 0;
}

async function sendCopies(t: Test, { lab }: Scenario, row: Row, copies: number): Promise<void> {
  const records = Array.from({ length: copies }, () => ({ bytes: row.frame }));
  const hostOne = { address: lab.host(0).publicIp, port: PORT };
  const sent = await sendDatagrams(lab, lab.host(row.from), records, hostOne);
  t.match(sent, { sent: copies, refused: {} }, `${lab.host(row.from).label} sent it ${copies} times`);
}

function fromHostOne(lab: Lab, printed: string): SeenFrame[] {
  return framesIn(printed).filter((each) => each.source === lab.host(0).publicIp);
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
