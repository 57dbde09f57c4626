import { ADDRESS_WORDS } from '../../src/ip_address.js';
import { classifyIpv4 } from '../../src/encap/classify.js';
import { TokenBucket } from '../../src/encap/token_bucket.js';
import { formatIpv4 } from '../../src/ipv4_prefix.js';
import type { Burst } from '../../src/tun/burst.js';
import { createBurst } from '../../src/tun/create_burst.js';
import { AnswerBurst } from '../../src/workers/answer_burst.js';
import { LaneCounters } from '../../src/workers/counters.js';
import { countInboundWritten, decideInbound } from '../../src/workers/inbound.js';
import { LaneContext, SourceCheck } from '../../src/workers/lane_context.js';
import { PathTable } from '../../src/workers/path_table.js';
import { SuspectNote } from '../../src/workers/suspect_note.js';
import { countOutboundSent, decideOutbound } from '../../src/workers/outbound.js';
import { innerFrame } from '../../test/unit/inner_frame.js';
import { type MicroCase, prepared } from './micro_case.js';
import { leaseAddress, leaseTable, peerAddress } from './routes.js';

/** A busy cluster. */
const PEERS = 1000;
const MTU_BYTES = 1472;
/** The TTL frames start with, and the runs after which they get it back: a decision takes one from it. */
const FIRST_TTL = 255;
const RUNS_PER_TTL = 200;

/** What the rows of a burst look like. */
interface Shape {
  readonly name: string;
  readonly rows: number;
  readonly frameBytes: number;
  readonly segments: number;
  readonly wireBytes: number;
}

const SHAPES: readonly Shape[] = [
  { name: 'burst of 128 frames of 64 bytes', rows: 128, frameBytes: 64, segments: 1, wireBytes: 64 },
  {
    name: 'burst of 4 superframes of 64 KiB',
    rows: 4,
    frameBytes: 64_492,
    segments: 45,
    wireBytes: MTU_BYTES,
  },
];

/** What TypeScript decides, by frame, the counting after the send included. */
export const decisionCases: readonly MicroCase[] = [
  ...SHAPES.map((shape) => decisionCase('classify', shape, outboundBurst, classifyBurst)),
  ...SHAPES.map((shape) => decisionCase('encapsulate', shape, outboundBurst, encapsulate)),
  ...SHAPES.map((shape) => decisionCase('decapsulate', shape, inboundBurst, decapsulate)),
];

function decisionCase(
  group: string,
  shape: Shape,
  make: (shape: Shape) => Burst,
  decide: (burst: Burst, count: number, lane: LaneContext) => void,
): MicroCase {
  return {
    name: `${group}: ${shape.name}`,
    unit: 'frame',
    unitsPerRun: shape.rows,
    bytesPerUnit: 0,
    prepare: () => {
      const burst = make(shape);
      const lane = makeLane();
      const restore = headerRestorer(burst, shape.rows);
      let runs = 0;
      const { fate } = burst;
      decide(burst, shape.rows, lane);
      if (fate.subarray(0, shape.rows).some((rowFate) => rowFate < 0))
        throw new Error(`${group}: a frame was dropped`);
      return prepared(() => {
        if (++runs === RUNS_PER_TTL) {
          restore();
          runs = 0;
        }
        decide(burst, shape.rows, lane);
        return fate[shape.rows - 1]!;
      });
    },
  };
}

function classifyBurst(burst: Burst, count: number): void {
  const { slab, offset, length, segments, fate } = burst;
  for (let i = 0; i < count; i++) fate[i] = classifyIpv4(slab, offset[i]!, length[i]!, segments[i]!);
}

function encapsulate(burst: Burst, count: number, lane: LaneContext): void {
  decideOutbound(burst, count, lane);
  countOutboundSent(burst, count, lane, false);
}

function decapsulate(burst: Burst, count: number, lane: LaneContext): void {
  decideInbound(burst, count, lane);
  countInboundWritten(burst, count, lane, false);
}

function makeLane(): LaneContext {
  return new LaneContext({
    table: leaseTable(PEERS + 1),
    mtuBytes: MTU_BYTES,
    tunAddress: leaseAddress(0),
    tunAddressIpv6: undefined,
    sourceCheck: SourceCheck.strict,
    copyClass: true,
    echoIdentifier: 1,
    paths: new PathTable(PathTable.allocate(PEERS + 1)),
    suspects: new SuspectNote(SuspectNote.allocate()),
    askPathMtu: () => 0,
    counters: new LaneCounters(new SharedArrayBuffer(LaneCounters.byteLength(PEERS + 1)), PEERS + 1),
    answers: new AnswerBurst(),
    limiter: new TokenBucket(1000, 50),
  });
}

/** From our subnet to a different peer in each row. */
function outboundBurst(shape: Shape): Burst {
  return fillBurst(shape, (row) => [leaseAddress(0) + 2, leaseAddress(peerOfRow(row)) + 2]);
}

/** From a different peer in each row to our subnet. */
function inboundBurst(shape: Shape): Burst {
  return fillBurst(shape, (row) => [leaseAddress(peerOfRow(row)) + 2, leaseAddress(0) + 2]);
}

/** Scattered, so that neighbours in the table are not asked for one after the other. */
function peerOfRow(row: number): number {
  return 1 + ((row * 389) % PEERS);
}

function fillBurst(
  shape: Shape,
  addresses: (row: number) => readonly [source: number, destination: number],
): Burst {
  const stride = shape.frameBytes + 64;
  const burst = createBurst({ rows: shape.rows, slabBytes: shape.rows * stride });
  for (let row = 0; row < shape.rows; row++) {
    const [source, destination] = addresses(row);
    const frame = innerFrame({
      source: formatIpv4(source),
      destination: formatIpv4(destination),
      ttl: FIRST_TTL,
      payload: new Uint8Array(shape.frameBytes - 20),
    });
    const at = row * stride + 64;
    burst.slab.set(frame, at);
    burst.offset[row] = at;
    burst.length[row] = shape.frameBytes;
    burst.segments[row] = shape.segments;
    burst.wireBytes[row] = shape.wireBytes;
    burst.source[row * ADDRESS_WORDS] = peerAddress(peerOfRow(row));
  }
  return burst;
}

/** Puts the headers back as they were; done so rarely that it does not count. */
function headerRestorer(burst: Burst, rows: number): () => void {
  const headers = Array.from({ length: rows }, (_, row) => {
    const at = burst.offset[row]!;
    return { at, bytes: burst.slab.slice(at, at + 20) };
  });
  return () => {
    for (const { at, bytes } of headers) burst.slab.set(bytes, at);
  };
}
