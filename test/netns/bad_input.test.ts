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
import { MALFORMED_FRAMES } from '../unit/malformed_frames.js';
import { TEST_SEED } from '../unit/test_seed.js';
import { differences } from './differences.js';
import {
  fitsTheDevice,
  INBOUND_FATES,
  InboundRounds,
  isForwardable,
  OUTBOUND_FATES,
  OutboundRounds,
} from './expected_fates.js';
import type { LabHost } from './lab.js';
import { sendDatagrams, sendFrames, sendOffloads } from './replay.js';
import { Scenario } from './scenario.js';
import type { SelvageDaemon } from './selvage.js';
import { startToolUntil } from './tool.js';
import { checkedTcp } from './transfers.js';
import { until } from './until.js';

const PORT = 8285;
/** For each of the random tests. */
const SECONDS = 3;
/** No counter moves for so long: nothing is on its way any more. */
const IDLE_MILLIS = 200;
const MEBIBYTE = 1024 * 1024;

t.setTimeout(300_000);

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
  const source = new InboundRounds(before.socket.receiveBufferBytes, SECONDS);
  while (source.goOn()) {
    const report = await sendDatagrams(lab, lab.host(1), source.next(), hostOne(scenario));
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
  const expected = source.passed.map(hexOf);
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
  const before = await daemon.stats();
  const source = new OutboundRounds(SECONDS);
  while (source.goOn()) {
    const round = source.next();
    const report = await sendFrames(lab, lab.host(0), round, 'flannel0');
    t.strictSame(report, { sent: round.length, refused: {} }, 'the kernel took all frames');
    await whenCounted(daemon, 'outbound', before.outbound.framesReceived + source.frames);
  }
  const after = await daemon.stats();
  t.strictSame(Object.keys(source.fates).sort(), OUTBOUND_FATES, 'the random frames met every fate there is');
  t.strictSame(
    fates(before, after, 'outbound'),
    source.fates,
    `each of ${source.frames} frames has the fate that it must have`,
  );
  t.equal(after.kernel.tunQueueOverflow, 0, 'none was lost before the daemon');
  assertConserved(t, after);
  const seen = (): string[] => linesOf(arrived);
  await until('all forwarded frames to arrive', () => seen().length >= source.passed.length).catch(
    () => undefined,
  );
  const [got, expected] = [seen(), source.passed.map(hexOf)];
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
  const source = new OutboundRounds(SECONDS);
  let sent = 0;
  while (source.goOn()) {
    sent += (await sendOffloads(lab, lab.host(0), source.nextOffloads(), 'flannel0')).sent;
    await quiet(daemon);
  }
  const { outbound, kernel } = await quiet(daemon);
  t.ok(sent > 20, `the kernel passed ${sent} of ${source.frames} frames on`);
  t.ok(outbound.superframesReceived > 5, `of them ${outbound.superframesReceived} are superframes`);
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
  const source = new InboundRounds(before.socket.receiveBufferBytes / 2, SECONDS);
  const load = { streams: 2, listenBytes: 4 * MEBIBYTE, connectBytes: 4 * MEBIBYTE };
  let transfers = 0;
  let sending = true;
  const transferring = (async () => {
    while (sending) await checkedTcp(t, lab.pod(0), lab.pod(1), load, `transfer ${++transfers}`);
  })();
  while (source.goOn()) {
    const report = await sendDatagrams(lab, lab.host(1), source.next(), hostOne(scenario));
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

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
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
