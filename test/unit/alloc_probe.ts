/**
 * Measures what the decisions allocate. Run by alloc.test.ts in a process of its own, with the collector exposed and a
 * young generation so large that no scavenge falls inside a measurement.
 *
 * Prints one JSON line: bytes per frame and per burst for each probe.
 */

import { constants } from 'node:os';

import { finishAnswers } from '../../src/workers/answer.js';
import { INBOUND, OUTBOUND } from '../../src/workers/counters.js';
import { countInboundWritten, decideInbound } from '../../src/workers/inbound.js';
import { countOutboundSent, decideOutbound } from '../../src/workers/outbound.js';
import type { Burst } from '../../src/tun/burst.js';
import { TraceReader } from '../../src/workers/trace_reader.js';
import { RING_HEAD, RING_TAIL, TraceRing } from '../../src/workers/trace_ring.js';
import { Tracer } from '../../src/workers/tracer.js';
import { innerFrame } from './inner_frame.js';
import { chained, extension, innerIpv6Frame } from './inner_ipv6_frame.js';
import { STRANGER, burstOf, sampleLane, snapshotOf } from './lane_fixture.js';
import type { Row } from './lane_fixture.js';
import { MALFORMED_FRAMES } from './malformed_frames.js';
import { MALFORMED_IPV6_FRAMES } from './malformed_ipv6_frames.js';

const BURSTS = 2000;
const WARM_UP_BURSTS = 3000;
/** A few of the rows of each burst, which is a millisecond long. */
const RECORDS_PER_SECOND = 10_000;

const collect = globalThis.gc;
if (collect === undefined) throw new Error('run with --expose-gc');

/** Heap growth per turn, over `BURSTS` turns; the least of a few measurements: what the code itself
 * allocates is in each of them, and a late compilation is not. */
function bytesPerBurst(turn: (burst: number) => void): number {
  for (let i = 0; i < WARM_UP_BURSTS; i++) turn(i);
  let least = Infinity;
  for (let round = 0; round < 8; round++) {
    collect!();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < BURSTS; i++) turn(i);
    least = Math.min(least, process.memoryUsage().heapUsed - before);
  }
  return least / BURSTS;
}

/** Where frames come from and go to, in each family. */
interface Ends {
  readonly source: string;
  readonly destination: string;
}

const DONT_FRAGMENT = 0x4000;

/** Frames that go on, frames of every kind that is refused, and frames that are answered. */
function mixedRows(ipv4: Ends, ipv6: Ends): Row[] {
  const rows: Row[] = [];
  for (let i = 0; i < 24; i++) {
    rows.push({ frame: innerFrame({ ...ipv4, identification: i, tos: 2 }), outerClass: i & 3 });
    rows.push({ frame: innerIpv6Frame({ ...ipv6, flowLabel: i, trafficClass: 2 }), outerClass: i & 3 });
  }
  const superframe = { segments: 3, wireBytes: 1400 };
  rows.push({ frame: innerFrame({ ...ipv4, payload: new Uint8Array(4000) }), ...superframe });
  rows.push({ frame: innerIpv6Frame({ ...ipv6, payload: new Uint8Array(4000) }), ...superframe });
  rows.push({ frame: innerFrame({ ...ipv4, options: new Uint8Array(8).fill(1) }) });
  rows.push({ frame: innerIpv6Frame({ ...ipv6, ...chained([extension(0)], 17, new Uint8Array(8)) }) });
  rows.push({ frame: innerFrame({ ...ipv4, ttl: 1 }) });
  rows.push({ frame: innerIpv6Frame({ ...ipv6, hopLimit: 1 }) });
  for (const fragment of [0, DONT_FRAGMENT]) {
    rows.push({ frame: innerFrame({ ...ipv4, fragment, payload: new Uint8Array(2000) }) });
  }
  rows.push({ frame: innerIpv6Frame({ ...ipv6, payload: new Uint8Array(2000) }) });
  rows.push({ frame: innerFrame({ ...ipv4, destination: '10.99.0.1' }) });
  rows.push({ frame: innerIpv6Frame({ ...ipv6, destination: 'fd00:99::1' }) });
  rows.push({ frame: innerFrame(ipv4), outerSource: STRANGER });
  rows.push({ frame: innerIpv6Frame(ipv6), outerSource: STRANGER });
  rows.push({ frame: innerFrame({ ...ipv4, tos: 0 }), outerClass: 3 });
  for (const { frame, segments = 1 } of [...MALFORMED_FRAMES, ...MALFORMED_IPV6_FRAMES]) {
    rows.push({ frame, segments });
  }
  return rows;
}

/** Puts back what a decision changed in the frames. By hand: `set` itself allocates a few bytes a call. */
function restorer(burst: Burst): () => void {
  const { slab } = burst;
  const original = slab.slice();
  return () => {
    for (let i = 0; i < slab.length; i++) slab[i] = original[i]!;
  };
}

const [OURS, THEIRS] = ['10.1.1.2', '10.1.2.2'];
const [OURS_IPV6, THEIRS_IPV6] = ['fd00:1:0:1::2', 'fd00:1:0:2::2'];

const outboundRows = mixedRows(
  { source: OURS, destination: THEIRS },
  { source: OURS_IPV6, destination: THEIRS_IPV6 },
);
const outbound = burstOf(outboundRows);
const restoreOutbound = restorer(outbound);
const inboundRows = mixedRows(
  { source: THEIRS, destination: OURS },
  { source: THEIRS_IPV6, destination: OURS_IPV6 },
);
const inbound = burstOf(inboundRows);
const restoreInbound = restorer(inbound);
/** Fewer answers than there are to give in a burst of either direction. */
const lane = sampleLane({ answersPerSecond: 1000, answerDepth: 50 });

const ring = TraceRing.allocate();
const { words: ringWords } = new TraceRing(ring);
const tracer = new Tracer(ring);
const reader = new TraceReader({
  buffers: [ring],
  underlay: 4,
  nextHops: { endpointOf: () => undefined, idsOf: () => [] },
  dateOf: (nowMillis) => new Date(nowMillis),
});

function turnOutbound(turn: number): void {
  restoreOutbound();
  lane.nowMillis = turn;
  const hadLoss = (turn & 1) === 0;
  decideOutbound(outbound, outboundRows.length, lane);
  outbound.lost.fill(0);
  outbound.lost[3] = 1;
  outbound.lostErrno.fill(constants.errno.EMSGSIZE);
  countOutboundSent(outbound, outboundRows.length, lane, hadLoss);
  if (tracer.enabled) tracer.record(OUTBOUND, outbound, outboundRows.length, lane.nowMillis, hadLoss);
  finishAnswers(lane, OUTBOUND, false);
}

function turnInbound(turn: number): void {
  restoreInbound();
  lane.nowMillis = turn;
  const hadLoss = (turn & 1) === 0;
  decideInbound(inbound, inboundRows.length, lane);
  inbound.lost.fill(0);
  inbound.lost[3] = 1;
  countInboundWritten(inbound, inboundRows.length, lane, hadLoss);
  if (tracer.enabled) tracer.record(INBOUND, inbound, inboundRows.length, lane.nowMillis, hadLoss);
  finishAnswers(lane, INBOUND, false);
}

/** Both directions while a trace is on, whose ring is emptied by hand: what a reader allocates is not the lane's. */
function turnTraced(turn: number): void {
  turnOutbound(turn);
  turnInbound(turn);
  Atomics.store(ringWords, RING_TAIL, Atomics.load(ringWords, RING_HEAD));
}

const objects: unknown[] = new Array(outboundRows.length);

/** The positive control: the same decisions, and one object per frame. */
function turnWithObjects(turn: number): void {
  turnOutbound(turn);
  for (let i = 0; i < outboundRows.length; i++) objects[i] = { frame: i, fate: outbound.fate[i] };
}

const untraced = {
  outbound: bytesPerBurst(turnOutbound),
  inbound: bytesPerBurst(turnInbound),
  control: bytesPerBurst(turnWithObjects),
  counters: snapshotOf(lane),
};
reader.start({ recordsPerSecond: RECORDS_PER_SECOND });
const traced = bytesPerBurst(turnTraced);
const kept = { records: ringWords[RING_HEAD], limited: reader.totals().limited };

const result = { framesPerBurst: outboundRows.length, ...untraced, traced, kept };
process.stdout.write(JSON.stringify(result));
