/**
 * Measures what the decisions allocate. Run by alloc.test.ts in a process of its own, with the collector exposed and a
 * young generation so large that no scavenge falls inside a measurement.
 *
 * Prints one JSON line: bytes per frame and per burst for each probe.
 */

import { finishAnswers } from '../../src/workers/answer.js';
import { INBOUND, OUTBOUND } from '../../src/workers/counters.js';
import { countInboundWritten, decideInbound } from '../../src/workers/inbound.js';
import { countOutboundSent, decideOutbound } from '../../src/workers/outbound.js';
import type { Burst } from '../../src/tun/burst.js';
import { innerFrame } from './inner_frame.js';
import { STRANGER, burstOf, sampleLane, snapshotOf } from './lane_fixture.js';
import type { Row } from './lane_fixture.js';
import { MALFORMED_FRAMES } from './malformed_frames.js';

const BURSTS = 2000;
const WARM_UP_BURSTS = 3000;

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

/** Frames that go on, frames of every kind that is refused, and frames that are answered. */
function mixedRows(source: string, destination: string): Row[] {
  const rows: Row[] = [];
  const forwarded = { source, destination };
  for (let i = 0; i < 24; i++) rows.push({ frame: innerFrame({ ...forwarded, identification: i }) });
  rows.push({
    frame: innerFrame({ ...forwarded, payload: new Uint8Array(4000) }),
    segments: 3,
    wireBytes: 1400,
  });
  rows.push({ frame: innerFrame({ ...forwarded, options: new Uint8Array(8).fill(1) }) });
  rows.push({ frame: innerFrame({ ...forwarded, ttl: 1 }) });
  rows.push({ frame: innerFrame({ ...forwarded, payload: new Uint8Array(2000) }) });
  rows.push({ frame: innerFrame({ ...forwarded, destination: '10.99.0.1' }) });
  rows.push({ frame: innerFrame(forwarded), outerSource: STRANGER });
  for (const { frame, segments = 1 } of MALFORMED_FRAMES) rows.push({ frame, segments });
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

const outboundRows = mixedRows('10.1.1.2', '10.1.2.2');
const outbound = burstOf(outboundRows);
const restoreOutbound = restorer(outbound);
const inboundRows = mixedRows('10.1.2.2', '10.1.1.2');
const inbound = burstOf(inboundRows);
const restoreInbound = restorer(inbound);
const lane = sampleLane({ answersPerSecond: 2000, answerDepth: 50 });

function turnOutbound(turn: number): void {
  restoreOutbound();
  lane.nowMillis = turn;
  decideOutbound(outbound, outboundRows.length, lane);
  outbound.lost.fill(0);
  outbound.lost[3] = 1;
  countOutboundSent(outbound, outboundRows.length, lane, (turn & 1) === 0);
  finishAnswers(lane, OUTBOUND, false);
}

function turnInbound(turn: number): void {
  restoreInbound();
  lane.nowMillis = turn;
  decideInbound(inbound, inboundRows.length, lane);
  inbound.lost.fill(0);
  inbound.lost[3] = 1;
  countInboundWritten(inbound, inboundRows.length, lane, (turn & 1) === 0);
  finishAnswers(lane, INBOUND, false);
}

const kept: unknown[] = new Array(outboundRows.length);

/** The positive control: the same decisions, and one object per frame. */
function turnWithObjects(turn: number): void {
  turnOutbound(turn);
  for (let i = 0; i < outboundRows.length; i++) kept[i] = { frame: i, fate: outbound.fate[i] };
}

const result = {
  framesPerBurst: outboundRows.length,
  outbound: bytesPerBurst(turnOutbound),
  inbound: bytesPerBurst(turnInbound),
  control: bytesPerBurst(turnWithObjects),
  counters: snapshotOf(lane),
};
process.stdout.write(JSON.stringify(result));
