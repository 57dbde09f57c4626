/**
 * Datagrams of every length from 0 to 2000 bytes, of noise and of frames that were sound before bits were turned over or their end
 * was cut off, as an attacker tries them one after the other: from a stranger, who gets nothing in and nothing out, and from a peer,
 * who gets in what comes from its own pods to ours. `TEST_SEED` repeats them.
 *
 * ```text
 *  flannel0 ~ selvage ~ u1 host1 === host2   a peer of host1 or a stranger, sends by hand
 *   what comes out is read here
 * ```
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import type { DirectionCounters } from '../../src/index.js';
import { seededRandom } from '../reference/seeded_random.js';
import { innerFrame } from '../unit/inner_frame.js';
import { innerIpv6Frame } from '../unit/inner_ipv6_frame.js';
import { TEST_SEED } from '../unit/test_seed.js';
import { statsWhen } from './counter_changes.js';
import type { LabHost } from './lab.js';
import { sendDatagrams } from './replay.js';
import { Scenario } from './scenario.js';
import { type RoutesDocument, routesOf, type SelvageDaemon } from './selvage.js';
import { startToolUntil } from './tool.js';
import { until } from './until.js';

const PORT = 8285;
const MOST_BYTES = 2000;
/** A round is no more than a small receive buffer takes. */
const ROUND = 40;
const HEADERS = { 4: 20, 6: 40 } as const;
/** Bits are turned over where the decisions are made. */
const DECISIVE_BYTES = 60;
const MOST_FLIPS = 8;

type Random = ReturnType<typeof seededRandom>;

t.setTimeout(300_000);

t.test(`nothing of a stranger gets in, and nothing comes back (TEST_SEED=${TEST_SEED})`, async (t) => {
  const scenario = await Scenario.open(t, { hosts: 3 });
  const { lab } = scenario;
  const routes = routesOf(lab, 0, { families: '46' });
  // Only host3 is a peer; host2 claims whatever it likes.
  const daemon = await startVictim(scenario, { ...routes, peers: routes.peers.slice(1) });
  const written = await watchDevice(scenario);
  const before = await countsOfKernel(lab.host(0));
  const { sent, drops } = await sendAll(t, scenario, daemon);
  const { inbound } = await daemon.stats();
  t.equal(inbound.framesReceived, sent, 'a lane saw each of them');
  t.equal(inbound.framesSent, 0, 'and let none in');
  t.equal(drops.spoofedSource + drops.notLocal + drops.ttlExceeded, 0, 'nor looked further than who sent it');
  t.ok(drops.unknownPeer > MOST_BYTES, `${drops.unknownPeer} were sound and no peer's`);
  t.match(inbound, { answersSent: 0, answersSuppressed: 0 }, 'none was answered');
  t.strictSame(written(), [], 'nothing came out of the device');
  t.strictSame(await countsOfKernel(lab.host(0)), before, 'the host sent no ICMP and no datagram');
});

t.test(`of a peer gets in what its pods may send to ours (TEST_SEED=${TEST_SEED})`, async (t) => {
  const scenario = await Scenario.open(t, { hosts: 3 });
  const daemon = await startVictim(scenario, routesOf(scenario.lab, 0, { families: '46' }));
  const written = await watchDevice(scenario);
  const { sent } = await sendAll(t, scenario, daemon);
  const { inbound } = await daemon.stats();
  t.equal(inbound.framesReceived, sent, 'a lane saw each of them');
  t.ok(inbound.framesSent > 2 * MOST_BYTES, `${inbound.framesSent} got in`);
  await until('them to come out', () => written().length >= inbound.framesSent);
  t.equal(written().length, inbound.framesSent, 'as many came out of the device');
  t.strictSame(
    written()
      .filter((hex) => !isFromTheirsToOurs(hex))
      .slice(0, 3),
    [],
    'all theirs, all to ours',
  );
});

async function startVictim(scenario: Scenario, routes: RoutesDocument): Promise<SelvageDaemon> {
  // The kernel would answer what arrives for pods that are not there.
  await scenario.lab.host(0).sysctl({ 'net/ipv4/ip_forward': 0, 'net/ipv6/conf/all/forwarding': 0 });
  return await scenario.start(0, { families: '46', routes, extraArgs: ['--early-drop=false'] });
}

/** @returns frames that came out of the device so far, as hex */
async function watchDevice({ lab }: Scenario): Promise<() => string[]> {
  const file = join(lab.directory, 'written');
  await startToolUntil('capturing', lab.host(0), 'capture', 'flannel0', file);
  return () =>
    readFileSync(file, 'utf8')
      .split('\n')
      .slice(0, -1)
      .flatMap((line) => (line.startsWith('< ') ? [line.slice(2)] : []));
}

/** Sends all from host2 to host1 and asserts that each is counted once, and that the lane lives. */
async function sendAll(
  t: Test,
  { lab }: Scenario,
  daemon: SelvageDaemon,
): Promise<{ sent: number; drops: DirectionCounters['drops'] }> {
  const random = seededRandom(TEST_SEED);
  const target = { address: lab.host(0).publicIp, port: PORT };
  let sent = 0;
  for (let bytes = 0; bytes <= MOST_BYTES; bytes += ROUND) {
    const lengths = Array.from({ length: Math.min(ROUND, MOST_BYTES + 1 - bytes) }, (_, i) => bytes + i);
    const records = lengths.flatMap((length) => datagramsOf(random, length)).map((each) => ({ bytes: each }));
    const report = await sendDatagrams(lab, lab.host(1), records, target);
    t.strictSame(report, { sent: records.length, refused: {} });
    sent += records.length;
    await statsWhen(daemon, ({ inbound }) => inbound.framesReceived >= sent);
  }
  const { inbound, kernel, lanes } = await daemon.stats();
  const drops = inbound.drops;
  const dropped = Object.values(drops).reduce((sum, each) => sum + each, 0);
  t.equal(inbound.framesReceived, inbound.framesSent + dropped, 'received = sent + dropped');
  t.equal(kernel.udpReceiveOverflow, 0);
  t.match(lanes, [{ running: true, restarts: 0 }], 'the lane lives');
  return { sent, drops };
}

/** Noise, sound frames of both families, damaged ones, and larger ones that end here. */
function datagramsOf(random: Random, length: number): Uint8Array[] {
  const noise = noiseOf(random, length);
  const versioned = noiseOf(random, length);
  if (length > 0) versioned[0] = (random() < 0.5 ? 0x40 : 0x60) | (versioned[0]! & 15);
  const sound = [soundFrame(random, 4, length), soundFrame(random, 6, length)].flatMap((each) => each ?? []);
  const damaged = sound.map((frame) => turnedOver(random, frame));
  const cut = ([4, 6] as const).map((family) =>
    soundFrame(random, family, MOST_BYTES + 1)!.subarray(0, length),
  );
  return [noise, versioned, ...sound, ...damaged, ...cut];
}

function noiseOf(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => Math.floor(random() * 256));
}

/** From a pod of host2 to one of host1; undefined when no header fits. */
function soundFrame(random: Random, family: 4 | 6, length: number): Uint8Array | undefined {
  if (length < HEADERS[family]) return undefined;
  const payload = noiseOf(random, length - HEADERS[family]);
  return family === 4
    ? innerFrame({ source: '10.1.2.2', destination: '10.1.1.2', payload })
    : innerIpv6Frame({ source: 'fd00:1:2::2', destination: 'fd00:1:1::2', payload });
}

function turnedOver(random: Random, frame: Uint8Array): Uint8Array {
  const damaged = frame.slice();
  const flips = 1 + Math.floor(random() * MOST_FLIPS);
  for (let i = 0; i < flips; i++) {
    const at = Math.floor(random() * Math.min(damaged.length, DECISIVE_BYTES));
    damaged[at] = damaged[at]! ^ (1 << Math.floor(random() * 8));
  }
  return damaged;
}

/** By the bytes alone: subnets are whole octets. */
function isFromTheirsToOurs(hex: string): boolean {
  if (hex.startsWith('4')) return hex.slice(24, 30) === '0a0102' && hex.slice(32, 38) === '0a0101';
  const subnet = (number: number): string => `fd000001000${number}0000`;
  return hex.startsWith('6') && hex.slice(16, 32) === subnet(2) && hex.slice(48, 64) === subnet(1);
}

/** What a host has sent that an attacker could make it send to others. */
async function countsOfKernel(host: LabHost): Promise<string> {
  const names = [
    'IcmpOutMsgs',
    'UdpOutDatagrams',
    'Icmp6OutDestUnreachs',
    'Icmp6OutTimeExcds',
    'Udp6OutDatagrams',
  ];
  return (await host.exec('nstat', ['-asz', ...names])).stdout.replace(/^#.*$/gm, '');
}
