/**
 * Whatever arrives, from either side, the daemon lives, counts each frame once under the right reason, and lets through just
 * what a router lets through.
 *
 * ```text
 *  inbound    host2 --- datagrams, trains ---> u1 ~ selvage ~ flannel0 (what comes out is read here)
 *  outbound   frames put into flannel0 ------> selvage ~ u1 ---> host2:8285 (what comes out is read here)
 *  under load the same as inbound, while pods exchange checked TCP through selvage on both hosts
 * ```
 *
 * host2 is a known peer, so the outer source is right. Frames are random by TEST_SEED; what must become of each is decided by
 * the slow reference of the unit tests (test/reference/decide.ts).
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import t, { type Test } from 'tap';

import type { DirectionCounters, ForwarderStats } from '../../src/index.js';
import { referenceChecksum } from '../reference/checksum.js';
import { referenceInbound, referenceOutbound, type Verdict } from '../reference/decide.js';
import { seededRandom } from '../reference/seeded_random.js';
import { MALFORMED_FRAMES } from '../unit/malformed_frames.js';
import { TEST_SEED } from '../unit/test_seed.js';
import { differences } from './differences.js';
import type { LabHost } from './lab.js';
import { giants, RandomFrames } from './random_frames.js';
import { sendDatagrams, sendFrames, sendOffloads, type SentRecord } from './replay.js';
import { Scenario } from './scenario.js';
import type { SelvageDaemon } from './selvage.js';
import { startToolUntil } from './tool.js';
import { checkedTcp } from './transfers.js';
import { until } from './until.js';

const PORT = 8285;
const MTU_BYTES = 1472;
const ROUTES = { '10.1.1.0/24': 'local', '10.1.2.0/24': '192.168.100.2' };
const INTO_HOST1 = { from: '10.1.2', to: '10.1.1' };
const OUT_OF_HOST1 = { from: '10.1.1', to: '10.1.2' };
const UNSOUND = [
  'badChecksum',
  'badHeaderLength',
  'badVersion',
  'ipv6NotCarried',
  'martian',
  'notUnicast',
  'truncated',
];
const INBOUND_FATES = [...UNSOUND, 'accept', 'notLocal', 'spoofedSource', 'ttlExceeded'].sort();
/** But `tooBig`: a packet socket sends nothing larger than the device takes. */
const OUTBOUND_FATES = [...UNSOUND, 'accept', 'localDestination', 'noRoute', 'ttlExceeded'].sort();
/** For each of the random tests. */
const SECONDS = 3;
/** Fewer than the queue of flannel0 holds, as that drops without a word. */
const FRAMES_A_ROUND = 500;
/** Some of them of 60,000 bytes, a few of which are to be cut into as many datagrams. */
const SUPERFRAMES_A_ROUND = 100;
/** No counter moves for so long: nothing is on its way any more. */
const IDLE_MILLIS = 200;
const MEBIBYTE = 1024 * 1024;

t.setTimeout(120_000);

const NAMED_FAULTS = MALFORMED_FRAMES.filter((row) => row.segments === undefined);

t.test('named faults, from the underlay', async (t) => {
  const scenario = await Scenario.open(t, { record: true });
  const daemon = await scenario.start(0);
  for (const { rule, frame, reason } of NAMED_FAULTS) {
    const before = await daemon.stats();
    const sent = await sendDatagrams(
      scenario.lab,
      scenario.lab.host(1),
      [{ bytes: frame }],
      hostOne(scenario),
    );
    t.strictSame(sent, { sent: 1, refused: {} }, 'the kernel took it');
    const after = await whenCounted(daemon, 'inbound', before.inbound.framesReceived + 1);
    t.strictSame(fates(before, after, 'inbound'), { [reason]: 1 }, `${rule}: ${reason}`);
  }
});

t.test('named faults, from the pods', async (t) => {
  const scenario = await Scenario.open(t, { record: true });
  const daemon = await scenario.start(0);
  for (const { rule, frame, reason } of NAMED_FAULTS.filter((row) => fitsTheDevice(row.frame))) {
    const before = await daemon.stats();
    const sent = await sendFrames(scenario.lab, scenario.lab.host(0), [frame], 'flannel0');
    t.strictSame(sent, { sent: 1, refused: {} }, 'the kernel took it');
    const after = await whenCounted(daemon, 'outbound', before.outbound.framesReceived + 1);
    t.strictSame(fates(before, after, 'outbound'), { [reason]: 1 }, `${rule}: ${reason}`);
  }
});

for (const [name, extraArgs] of [
  ['1 lane', []],
  ['2 lanes', ['--lanes', '2']],
  ['no offload', ['--no-offload']],
] as const) {
  t.test(`random datagrams, ${name} (TEST_SEED=${TEST_SEED})`, async (t) => {
    const scenario = await Scenario.open(t);
    const daemon = await scenario.start(0, { extraArgs });
    await randomDatagrams(t, scenario, daemon, name === 'no offload');
  });

  t.test(`random frames from the pods, ${name} (TEST_SEED=${TEST_SEED})`, async (t) => {
    const scenario = await Scenario.open(t);
    const daemon = await scenario.start(0, { extraArgs });
    await randomFrames(t, scenario, daemon, name !== '2 lanes');
  });
}

t.test(`superframes from the pods whose offload fields lie (TEST_SEED=${TEST_SEED})`, async (t) => {
  const scenario = await Scenario.open(t);
  const daemon = await scenario.start(0);
  await lyingSuperframes(t, scenario, daemon);
});

for (const lanes of [1, 2]) {
  t.test(`a TCP transfer amid random datagrams, lanes: ${lanes} (TEST_SEED=${TEST_SEED})`, async (t) => {
    const scenario = await Scenario.open(t);
    const pair = await scenario.startPair({ extraArgs: ['--lanes', String(lanes)] });
    await transferAmidGarbage(t, scenario, pair);
  });
}

/** @param alone every frame is written by itself, so that the order and content of what comes out can be told */
async function randomDatagrams(
  t: Test,
  scenario: Scenario,
  daemon: SelvageDaemon,
  alone: boolean,
): Promise<void> {
  const { lab } = scenario;
  const written = join(lab.directory, 'written');
  await startToolUntil('capturing', lab.host(0), 'capture', 'flannel0', written);
  const before = await daemon.stats();
  const source = new Datagrams(before.socket.receiveBufferBytes);
  while (source.goOn()) {
    const report = await sendDatagrams(lab, lab.host(1), source.nextRound(), hostOne(scenario));
    t.strictSame(report.refused, {}, 'the kernel took all records');
    await whenCounted(daemon, 'inbound', before.inbound.framesReceived + source.frames);
  }
  const after = await daemon.stats();
  t.strictSame(Object.keys(source.fates).sort(), INBOUND_FATES, 'the random frames met every fate there is');
  t.strictSame(
    fates(before, after, 'inbound'),
    source.fates,
    `each of ${source.frames} frames has the fate that it must have`,
  );
  t.equal(after.kernel.udpReceiveOverflow, 0, 'none was lost before the daemon');
  assertConserved(t, after);
  if (!alone) return;
  const expected = source.accepted.map(hexOf);
  const seen = (): string[] =>
    linesOf(written).flatMap((line) => (line.startsWith('< ') ? [line.slice(2)] : []));
  await until('all accepted frames to come out', () => seen().length >= expected.length).catch(
    () => undefined,
  );
  assertSameList(t, seen(), expected, 'what comes out is what was accepted, in order, one hop older');
}

async function randomFrames(
  t: Test,
  scenario: Scenario,
  daemon: SelvageDaemon,
  inOrder: boolean,
): Promise<void> {
  const { lab } = scenario;
  // An answer about a frame that claims to come from host2 would be routed back into flannel0, and counted once more.
  await lab.host(0).sysctl({ 'net/ipv4/ip_forward': 0 });
  const arrived = join(lab.directory, 'arrived');
  await startToolUntil('listening', lab.host(1), 'udp_sink', lab.host(1).publicIp, PORT, arrived);
  const random = new RandomFrames(seededRandom(TEST_SEED), OUT_OF_HOST1, MTU_BYTES);
  const before = await daemon.stats();
  const expectedFates: Record<string, number> = {};
  const forwarded: Uint8Array[] = [];
  let frames = 0;
  for (const end = performance.now() + SECONDS * 1000; performance.now() < end;) {
    const round: Uint8Array[] = [];
    while (round.length < FRAMES_A_ROUND) round.push(...random.next().filter(fitsTheDevice));
    const report = await sendFrames(lab, lab.host(0), round, 'flannel0');
    t.strictSame(report, { sent: round.length, refused: {} }, 'the kernel took all frames');
    frames += round.length;
    for (const frame of round) {
      const verdict = referenceOutbound(rowOf(frame), ROUTES, MTU_BYTES);
      count(expectedFates, verdict);
      if (verdict.startsWith('to ')) forwarded.push(oneHopOlder(frame));
    }
    await whenCounted(daemon, 'outbound', before.outbound.framesReceived + frames);
  }
  const after = await daemon.stats();
  t.strictSame(
    Object.keys(expectedFates).sort(),
    OUTBOUND_FATES,
    'the random frames met every fate there is',
  );
  t.strictSame(
    fates(before, after, 'outbound'),
    expectedFates,
    `each of ${frames} frames has the fate that it must have`,
  );
  t.equal(after.kernel.tunQueueOverflow, 0, 'none was lost before the daemon');
  assertConserved(t, after);
  const seen = (): string[] => linesOf(arrived);
  await until('all forwarded frames to arrive', () => seen().length >= forwarded.length).catch(
    () => undefined,
  );
  const [got, expected] = [seen(), forwarded.map(hexOf)];
  if (inOrder)
    assertSameList(t, got, expected, 'what arrives is what was to be forwarded, in order, one hop older');
  else
    assertSameList(t, got.sort(), expected.sort(), 'what arrives is what was to be forwarded, one hop older');
}

/** The kernel refuses some of the lies and passes on the others: of those nothing unsound may leave. */
async function lyingSuperframes(t: Test, scenario: Scenario, daemon: SelvageDaemon): Promise<void> {
  const { lab } = scenario;
  await lab.host(0).sysctl({ 'net/ipv4/ip_forward': 0 });
  const arrived = join(lab.directory, 'arrived');
  await startToolUntil('listening', lab.host(1), 'udp_sink', lab.host(1).publicIp, PORT, arrived);
  const random = new RandomFrames(seededRandom(TEST_SEED), OUT_OF_HOST1, MTU_BYTES);
  let sent = 0;
  for (const end = performance.now() + SECONDS * 1000; performance.now() < end;) {
    const round = Array.from({ length: SUPERFRAMES_A_ROUND }, () => random.nextOffload());
    sent += (await sendOffloads(lab, lab.host(0), round, 'flannel0')).sent;
    await quiet(daemon);
  }
  const { outbound, kernel } = await quiet(daemon);
  t.ok(sent > SUPERFRAMES_A_ROUND, `the kernel passed ${sent} frames on`);
  t.ok(
    outbound.superframesReceived > SUPERFRAMES_A_ROUND / 4,
    `of them ${outbound.superframesReceived} are superframes`,
  );
  t.ok(outbound.drops.badGso > 0, `and ${outbound.drops.badGso} lie`);
  t.ok(outbound.framesReceived + kernel.tunQueueOverflow >= sent, 'each is accounted for');
  t.equal(outbound.framesReceived, outbound.framesSent + dropsOf(outbound), 'received = sent + dropped');
  const seen = (): string[] => linesOf(arrived);
  await until('what left to arrive, or to find the buffer full', async () => {
    return seen().length + (await receiveBufferErrors(lab.host(1))) >= outbound.framesSent;
  });
  t.equal(
    seen().length + (await receiveBufferErrors(lab.host(1))),
    outbound.framesSent,
    'what left has arrived',
  );
  const wrong = seen().filter((hex) => !isForwardable(new Uint8Array(Buffer.from(hex, 'hex'))));
  t.strictSame(wrong.slice(0, 3), [], 'and is what a router forwards');
}

/** The whole lines of a file that may still grow. */
function linesOf(path: string): string[] {
  return readFileSync(path, 'utf8').split('\n').slice(0, -1);
}

/** Datagrams that this host's kernel dropped at full receive buffers. */
async function receiveBufferErrors(host: LabHost): Promise<number> {
  const { stdout } = await host.exec('nstat', ['-asz', 'UdpRcvbufErrors']);
  return Number(/^UdpRcvbufErrors\s+(\d+)/m.exec(stdout)?.[1]);
}

function isForwardable(frame: Uint8Array): boolean {
  return frame.length <= MTU_BYTES && referenceOutbound(rowOf(frame), ROUTES, MTU_BYTES).startsWith('to ');
}

/** The counters once they stand still. */
async function quiet(daemon: SelvageDaemon): Promise<ForwarderStats> {
  return (await idle([daemon, daemon]))[0];
}

async function transferAmidGarbage(
  t: Test,
  scenario: Scenario,
  pair: [SelvageDaemon, SelvageDaemon],
): Promise<void> {
  const { lab } = scenario;
  const before = await pair[0].stats();
  const source = new Datagrams(before.socket.receiveBufferBytes / 2);
  const load = { streams: 2, listenBytes: 4 * MEBIBYTE, connectBytes: 4 * MEBIBYTE };
  let transfers = 0;
  let sending = true;
  const transferring = (async () => {
    while (sending) await checkedTcp(t, lab.pod(0), lab.pod(1), load, `transfer ${++transfers}`);
  })();
  while (source.goOn()) {
    const report = await sendDatagrams(lab, lab.host(1), source.nextRound(), hostOne(scenario));
    t.strictSame(report.refused, {}, 'the kernel took all records');
    await until(
      'the drops to be counted',
      async () => dropsOf((await pair[0].stats()).inbound) >= source.drops,
    );
  }
  sending = false;
  await transferring;
  const [one, two] = await idle(pair);
  const drops = { ...source.fates };
  delete drops['accept'];
  const counted = fates(before, one, 'inbound');
  delete counted['accept'];
  t.strictSame(counted, drops, `each of ${source.frames} random frames has the fate that it must have`);
  const sentByPeer = two.outbound.framesSent + two.inbound.answersSent;
  t.equal(one.inbound.framesReceived, sentByPeer + source.frames, 'every datagram was received');
  for (const stats of [one, two]) {
    assertConserved(t, stats);
    t.match(stats.kernel, { udpReceiveOverflow: 0, tunQueueOverflow: 0 }, 'no queue overflowed');
  }
}

/** Rounds of datagrams, each no more than a receive buffer takes, and the account of what must become of them. */
class Datagrams {
  frames = 0;
  drops = 0;
  readonly fates: Record<string, number> = {};
  /** The frames that must come out, in order, as they come out. */
  readonly accepted: Uint8Array[] = [];
  readonly #random = new RandomFrames(seededRandom(TEST_SEED), INTO_HOST1, MTU_BYTES);
  readonly #bufferBytes: number;
  readonly #end = performance.now() + SECONDS * 1000;

  constructor(bufferBytes: number) {
    this.#bufferBytes = bufferBytes;
  }

  goOn(): boolean {
    return this.frames === 0 || performance.now() < this.#end;
  }

  nextRound(): SentRecord[] {
    const records: SentRecord[] = [];
    let cost = 0;
    const largest = this.#bufferBytes > MEBIBYTE ? giants(INTO_HOST1) : giants(INTO_HOST1).slice(0, 1);
    for (const bytes of largest) {
      records.push({ bytes });
      this.#expect(bytes);
      cost += costOf(bytes);
    }
    while (cost < this.#bufferBytes) {
      const { record, frames } = this.#random.nextRecord();
      records.push(record);
      for (const frame of frames) {
        this.#expect(frame);
        cost += costOf(frame);
      }
    }
    return records;
  }

  #expect(frame: Uint8Array): void {
    const verdict = referenceInbound(rowOf(frame), ROUTES, 'strict');
    count(this.fates, verdict);
    this.frames++;
    if (verdict === 'accept') this.accepted.push(oneHopOlder(frame));
    else this.drops++;
  }
}

/** Bytes that a datagram takes of a receive buffer, book-keeping included (socket(7)): twice that and more is granted. */
function costOf(datagram: Uint8Array): number {
  return 1280 + 2 * datagram.length;
}

function rowOf(frame: Uint8Array): Parameters<typeof referenceInbound>[0] {
  return { frame, segments: 1, wireBytes: frame.length, outerSource: '192.168.100.2' };
}

/** The frame as it leaves: the TTL lower by one, the header checksum computed anew. */
function oneHopOlder(frame: Uint8Array): Uint8Array {
  const older = Buffer.from(frame);
  const headerBytes = (older[0]! & 15) * 4;
  older[8]!--;
  older.writeUInt16BE(0, 10);
  older.writeUInt16BE(referenceChecksum(older.subarray(0, headerBytes)), 10);
  return older;
}

/** A packet socket refuses frames of no bytes and those larger than the device's MTU. */
function fitsTheDevice(frame: Uint8Array): boolean {
  return frame.length > 0 && frame.length <= MTU_BYTES;
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function count(counts: Record<string, number>, verdict: Verdict): void {
  const name = verdict.startsWith('to ') ? 'accept' : verdict;
  counts[name] = (counts[name] ?? 0) + 1;
}

type Direction = 'inbound' | 'outbound';

/** What became of the frames between two readings: `accept`, or a drop reason. */
function fates(before: ForwarderStats, after: ForwarderStats, direction: Direction): Record<string, number> {
  const changes = Object.entries(differences(before[direction], after[direction]));
  const named = changes.map(
    ([name, by]) => [name === 'framesSent' ? 'accept' : name.replace(/^drops\./, ''), by] as const,
  );
  return Object.fromEntries(
    named.filter(([name]) => !/^(frames|bytes|rows|superframes|answers|bursts)/.test(name)),
  );
}

function dropsOf({ drops }: DirectionCounters): number {
  return Object.values(drops).reduce((sum, each) => sum + each, 0);
}

function assertConserved(t: Test, stats: ForwarderStats): void {
  for (const direction of ['inbound', 'outbound'] as const) {
    const { framesReceived, framesSent } = stats[direction];
    t.equal(
      framesReceived,
      framesSent + dropsOf(stats[direction]),
      `${direction}: received = sent + dropped`,
    );
  }
}

/** Says where two long lists part, instead of printing both. */
function assertSameList(t: Test, got: readonly string[], expected: readonly string[], rule: string): void {
  const at = expected.findIndex((each, i) => each !== got[i]);
  t.match({ length: got.length, at, got: got[at] }, { length: expected.length, at: -1 }, rule, {
    expected: expected[at],
  });
}

async function whenCounted(
  daemon: SelvageDaemon,
  direction: Direction,
  frames: number,
): Promise<ForwarderStats> {
  return until(`${frames} ${direction} frames to be counted`, async () => {
    const stats = await daemon.stats();
    return stats[direction].framesReceived >= frames && stats;
  });
}

/** The counters of two daemons once they count nothing any more. */
async function idle([one, two]: readonly [SelvageDaemon, SelvageDaemon]): Promise<
  [ForwarderStats, ForwarderStats]
> {
  const read = async (): Promise<[ForwarderStats, ForwarderStats]> => [await one.stats(), await two.stats()];
  let last = await read();
  return until('both hosts to be idle', async () => {
    const before = last;
    await sleep(IDLE_MILLIS);
    last = await read();
    return JSON.stringify(before) === JSON.stringify(last) && last;
  });
}

function hostOne(scenario: Scenario): { address: string; port: number } {
  return { address: scenario.lab.host(0).publicIp, port: PORT };
}
