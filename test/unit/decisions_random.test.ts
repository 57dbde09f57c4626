import assert from 'node:assert/strict';
import { constants } from 'node:os';

import fc from 'fast-check';
import t from 'tap';

import { dropReasonName } from '../../src/encap/drop_reason.js';
import { formatIpv4 } from '../../src/ipv4_prefix.js';
import { ENDPOINT_WORDS } from '../../src/routing/route_table.js';
import { finishAnswers } from '../../src/workers/answer.js';
import { INBOUND, OUTBOUND, droppedFrames } from '../../src/workers/counters.js';
import type { DirectionCounters } from '../../src/workers/counters.js';
import { countInboundWritten, decideInbound } from '../../src/workers/inbound.js';
import type { LaneContext } from '../../src/workers/lane_context.js';
import { SourceCheck } from '../../src/workers/lane_context.js';
import { countOutboundSent, decideOutbound } from '../../src/workers/outbound.js';
import type { Burst } from '../../src/tun/burst.js';
import { referenceInbound, referenceOutbound } from '../reference/decide.js';
import type { ReferenceRoutes, ReferenceRow, Verdict } from '../reference/decide.js';
import { innerFrame } from './inner_frame.js';
import { MTU_BYTES, PEER_ENDPOINTS, burstOf, sampleLane, snapshotOf } from './lane_fixture.js';
import { TEST_SEED } from './test_seed.js';

/** The routes of the lane fixture, as text. */
const routes: ReferenceRoutes = {
  '10.1.1.0/24': 'local',
  '10.1.2.0/24': PEER_ENDPOINTS[1],
  '10.1.3.0/24': PEER_ENDPOINTS[2],
  '10.1.4.0/24': PEER_ENDPOINTS[3],
};

const address = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('10.1.1.2', '10.1.2.2', '10.1.3.3', '10.1.4.4') },
  { weight: 1, arbitrary: fc.ipV4() },
  {
    weight: 1,
    arbitrary: fc.constantFrom('127.0.0.1', '0.0.0.0', '224.0.0.1', '255.255.255.255', '169.254.1.1'),
  },
);

const frame = fc.oneof(
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }) },
  {
    weight: 12,
    arbitrary: fc
      .record({
        source: address,
        destination: address,
        ttl: fc.oneof({ weight: 3, arbitrary: fc.constant(64) }, { weight: 1, arbitrary: fc.nat(2) }),
        protocol: fc.constantFrom(1, 6, 17),
        fragment: fc.oneof(
          { weight: 5, arbitrary: fc.constantFrom(0, 0x4000) },
          { weight: 1, arbitrary: fc.nat(0xffff) },
        ),
        options: fc.oneof(
          { weight: 5, arbitrary: fc.constant(new Uint8Array(0)) },
          { weight: 1, arbitrary: fc.constant(new Uint8Array(40).fill(1)) },
        ),
        payload: fc.oneof(
          { weight: 4, arbitrary: fc.uint8Array({ maxLength: 40 }) },
          { weight: 1, arbitrary: fc.constant(new Uint8Array(MTU_BYTES)) },
        ),
        damage: fc.oneof({ weight: 9, arbitrary: fc.constant(-1) }, { weight: 1, arbitrary: fc.nat(60) }),
      })
      .map(({ damage, ...spec }) => {
        const bytes = innerFrame(spec);
        if (damage >= 0 && damage < bytes.length) bytes[damage] = bytes[damage]! ^ 0x11;
        return bytes;
      }),
  },
);

const row: fc.Arbitrary<ReferenceRow> = fc
  .record({
    frame,
    segments: fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.nat(45) }),
    outerSource: fc.constantFrom('192.0.2.2', '192.0.2.3', '192.0.2.4', '203.0.113.9'),
  })
  .map((spec) => ({
    ...spec,
    wireBytes: spec.segments > 1 ? Math.ceil(spec.frame.length / spec.segments) : spec.frame.length,
  }));

/** Wire-sized frames of a row that a send lost; made from numbers so that a counterexample can shrink. */
const losses = fc.option(fc.array(fc.tuple(fc.nat(50), fc.constantFrom('EAGAIN', 'EPERM', 'EIO'))), {
  nil: undefined,
});

type Loss = readonly (readonly [number, 'EAGAIN' | 'EPERM' | 'EIO'])[];

/** Fills the loss columns for the rows that were offered, as native does. @returns whether there was a loss */
function loseSome(burst: Burst, count: number, loss: Loss | undefined): boolean {
  if (loss === undefined) return false;
  let any = false;
  for (let i = 0; i < count; i++) {
    const [frames, errno] = loss[i] ?? [0, 'EIO'];
    const offered = burst.fate[i]! >= 0;
    burst.lost[i] = offered ? Math.min(frames, burst.segments[i]!) : 0;
    burst.lostErrno[i] = constants.errno[errno];
    any ||= burst.lost[i]! > 0;
  }
  return any;
}

function verdictOf(fate: number, lane: LaneContext, direction: number): Verdict {
  if (fate < 0) return dropReasonName(-fate) as Verdict;
  if (direction === INBOUND) return fate === 0 ? 'accept' : `to ${fate}`;
  return `to ${formatIpv4(lane.table.endpoints[ENDPOINT_WORDS * fate]!)}`;
}

function assertConserved(direction: DirectionCounters, frames: number): void {
  assert.equal(direction.framesReceived, frames);
  assert.equal(direction.framesReceived, direction.framesSent + droppedFrames(direction));
}

const wireFrames = (rows: readonly ReferenceRow[]): number =>
  rows.reduce((sum, { segments }) => sum + Math.max(segments, 1), 0);

const bursts = fc.array(fc.tuple(fc.array(row, { maxLength: 12 }), losses), { minLength: 1, maxLength: 3 });

t.test(
  `outbound: every verdict is that of the rules one by one, no frame is lost count of (TEST_SEED=${TEST_SEED})`,
  (t) => {
    const seen = new Set<Verdict>();
    fc.assert(
      fc.property(bursts, (sequence) => {
        const lane = sampleLane({ answerRows: 4 });
        for (const [rows, loss] of sequence) {
          const burst = burstOf(rows);
          decideOutbound(burst, rows.length, lane);
          rows.forEach((spec, i) => {
            const expected = referenceOutbound(spec, routes, MTU_BYTES);
            seen.add(expected);
            assert.equal(verdictOf(burst.fate[i]!, lane, OUTBOUND), expected);
          });
          countOutboundSent(burst, rows.length, lane, loseSome(burst, rows.length, loss));
          finishAnswers(lane, OUTBOUND, false);
        }
        const { outbound } = snapshotOf(lane);
        assertConserved(
          outbound,
          sequence.reduce((sum, [rows]) => sum + wireFrames(rows), 0),
        );
      }),
      { seed: TEST_SEED, numRuns: 1500 },
    );
    for (const verdict of [
      'noRoute',
      'localDestination',
      'ttlExceeded',
      'tooBig',
      'martian',
      'badGso',
      'to 192.0.2.3',
    ]) {
      t.ok(seen.has(verdict as Verdict), `${verdict} was reached`);
    }
    t.end();
  },
);

for (const mode of ['strict', 'peer', 'off'] as const) {
  t.test(`inbound, ${mode}: every verdict is that of the rules one by one (TEST_SEED=${TEST_SEED})`, (t) => {
    const seen = new Set<Verdict>();
    fc.assert(
      fc.property(bursts, (sequence) => {
        const lane = sampleLane({ answerRows: 4, sourceCheck: SourceCheck[mode] });
        for (const [rows, loss] of sequence) {
          const burst = burstOf(rows);
          decideInbound(burst, rows.length, lane);
          rows.forEach((spec, i) => {
            const expected = referenceInbound(spec, routes, mode);
            seen.add(expected);
            assert.equal(verdictOf(burst.fate[i]!, lane, INBOUND), expected);
          });
          countInboundWritten(burst, rows.length, lane, loseSome(burst, rows.length, loss));
          finishAnswers(lane, INBOUND, false);
        }
        const { inbound } = snapshotOf(lane);
        assertConserved(
          inbound,
          sequence.reduce((sum, [rows]) => sum + wireFrames(rows), 0),
        );
      }),
      { seed: TEST_SEED, numRuns: 1000 },
    );
    const reachable = ['accept', 'notLocal', 'ttlExceeded', 'martian'];
    if (mode !== 'off') reachable.push('unknownPeer');
    if (mode === 'strict') reachable.push('spoofedSource');
    for (const verdict of reachable) t.ok(seen.has(verdict as Verdict), `${verdict} was reached`);
    t.end();
  });
}
