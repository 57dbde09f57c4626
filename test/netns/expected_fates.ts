/** Random frames by the round, with the account of what must become of each by the slow reference of the unit tests. */

import { referenceChecksum } from '../reference/checksum.js';
import { referenceInbound, referenceOutbound, type Verdict } from '../reference/decide.js';
import { seededRandom } from '../reference/seeded_random.js';
import { TEST_SEED } from '../unit/test_seed.js';
import { giants, RandomFrames } from './random_frames.js';
import type { SentRecord } from './replay.js';

/** Largest inner frame over an underlay of MTU 1500, bytes. */
const MTU_BYTES = 1472;
const PEER = '192.168.100.2';
const ROUTES = { '10.1.1.0/24': 'local', '10.1.2.0/24': PEER };
const INTO_HOST1 = { from: '10.1.2', to: '10.1.1' };
const OUT_OF_HOST1 = { from: '10.1.1', to: '10.1.2' };
/** Fewer than the queue of flannel0 holds, as that drops without a word. */
const FRAMES_A_ROUND = 500;
/** Some of them of 60,000 bytes, a few of which are to be cut into as many datagrams. */
const OFFLOADS_A_ROUND = 100;
/** A smaller receive buffer takes one of the largest datagrams at a time. */
const LARGE_BUFFER_BYTES = 1024 * 1024;

const UNSOUND = ['badChecksum', 'badHeaderLength', 'badVersion', 'ipv6NotCarried', 'martian', 'notUnicast'];
/** Every fate that a datagram from a known peer can have. */
export const INBOUND_FATES = [
  ...UNSOUND,
  'truncated',
  'accept',
  'notLocal',
  'spoofedSource',
  'ttlExceeded',
].sort();
/** Every fate of a frame from the pods but `tooBig`: a packet socket sends nothing larger than the device takes. */
export const OUTBOUND_FATES = [
  ...UNSOUND,
  'truncated',
  'accept',
  'localDestination',
  'noRoute',
  'ttlExceeded',
].sort();

/** What must become of the frames made so far, until the time is over. */
class Rounds {
  frames = 0;
  drops = 0;
  /** Frames by fate: `accept`, or the name of a drop reason. */
  readonly fates: Record<string, number> = {};
  /** The frames that must come out, in order, as they come out. */
  readonly passed: Uint8Array[] = [];
  protected readonly random: RandomFrames;
  readonly #end: number;

  constructor(random: RandomFrames, seconds: number) {
    this.random = random;
    this.#end = performance.now() + seconds * 1000;
  }

  /** Whether there is time for another round; there is for the first. */
  goOn(): boolean {
    return this.frames === 0 || performance.now() < this.#end;
  }

  protected expect(frame: Uint8Array, verdict: Verdict): void {
    const passes = verdict === 'accept' || verdict.startsWith('to ');
    const fate = passes ? 'accept' : verdict;
    this.fates[fate] = (this.fates[fate] ?? 0) + 1;
    this.frames++;
    if (passes) this.passed.push(oneHopOlder(frame));
    else this.drops++;
  }
}

/** Datagrams from a known peer, the largest and trains among them; a round is no more than the receive buffer takes. */
export class InboundRounds extends Rounds {
  readonly #bufferBytes: number;

  constructor(bufferBytes: number, seconds: number) {
    super(new RandomFrames(seededRandom(TEST_SEED), INTO_HOST1, MTU_BYTES), seconds);
    this.#bufferBytes = bufferBytes;
  }

  next(): SentRecord[] {
    const records: SentRecord[] = [];
    let cost = 0;
    const add = (record: SentRecord, frames: readonly Uint8Array[]): void => {
      records.push(record);
      for (const frame of frames) {
        this.expect(frame, referenceInbound(rowOf(frame), ROUTES, 'strict'));
        cost += costOf(frame);
      }
    };
    const largest = giants(INTO_HOST1).slice(0, this.#bufferBytes > LARGE_BUFFER_BYTES ? undefined : 1);
    for (const bytes of largest) add({ bytes }, [bytes]);
    while (cost < this.#bufferBytes) {
      const { record, frames } = this.random.nextRecord();
      add(record, frames);
    }
    return records;
  }
}

/** Frames from the pods; a round is no more than the queue of the device holds. */
export class OutboundRounds extends Rounds {
  constructor(seconds: number) {
    super(new RandomFrames(seededRandom(TEST_SEED), OUT_OF_HOST1, MTU_BYTES), seconds);
  }

  next(): Uint8Array[] {
    const round: Uint8Array[] = [];
    while (round.length < FRAMES_A_ROUND) round.push(...this.random.next().filter(fitsTheDevice));
    for (const frame of round) this.expect(frame, referenceOutbound(rowOf(frame), ROUTES, MTU_BYTES));
    return round;
  }

  /** Frames behind virtio-net headers that may lie; what becomes of them depends on what the kernel believes. */
  nextOffloads(): Uint8Array[] {
    this.frames += OFFLOADS_A_ROUND;
    return Array.from({ length: OFFLOADS_A_ROUND }, () => this.random.nextOffload());
  }
}

/** A packet socket refuses frames of no bytes and those larger than the device's MTU. */
export function fitsTheDevice(frame: Uint8Array): boolean {
  return frame.length > 0 && frame.length <= MTU_BYTES;
}

/** Whether a router would send this frame to the peer. */
export function isForwardable(frame: Uint8Array): boolean {
  return fitsTheDevice(frame) && referenceOutbound(rowOf(frame), ROUTES, MTU_BYTES).startsWith('to ');
}

/** Bytes that a datagram takes of a receive buffer, book-keeping included (socket(7)): twice that and more is granted. */
function costOf(datagram: Uint8Array): number {
  return 1280 + 2 * datagram.length;
}

function rowOf(frame: Uint8Array): Parameters<typeof referenceInbound>[0] {
  return { frame, segments: 1, wireBytes: frame.length, outerSource: PEER };
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
