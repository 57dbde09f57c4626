import assert from 'node:assert/strict';
import { constants } from 'node:os';

import fc from 'fast-check';
import t from 'tap';

import { dropReasonName } from '../../src/encap/drop_reason.js';
import { formatIpv4 } from '../../src/ipv4_prefix.js';
import type { IpFamily } from '../../src/ip_address.js';
import { ENDPOINT_WORDS } from '../../src/routing/route_table.js';
import { finishAnswers } from '../../src/workers/answer.js';
import { INBOUND, OUTBOUND, droppedFrames } from '../../src/workers/counters.js';
import type { DirectionCounters } from '../../src/workers/counters.js';
import { countInboundWritten, decideInbound } from '../../src/workers/inbound.js';
import type { LaneContext } from '../../src/workers/lane_context.js';
import { SourceCheck } from '../../src/workers/lane_context.js';
import { countOutboundSent, decideOutbound } from '../../src/workers/outbound.js';
import { type Burst, CUT_NONE, CUT_OUTER } from '../../src/tun/burst.js';
import { referenceInbound, referenceOutbound } from '../reference/decide.js';
import type { ReferenceRoutes, ReferenceRow, Verdict } from '../reference/decide.js';
import { innerFrame } from './inner_frame.js';
import { ICMPV6, chained, extension, fragmentHeader, innerIpv6Frame } from './inner_ipv6_frame.js';
import { MTU_BYTES, PEER_ENDPOINTS, burstOf, sampleLane, snapshotOf } from './lane_fixture.js';
import { MALFORMED_FRAMES } from './malformed_frames.js';
import { MALFORMED_IPV6_FRAMES } from './malformed_ipv6_frames.js';
import { TEST_SEED } from './test_seed.js';

/** The routes of the lane fixture, as text. */
const routes: ReferenceRoutes = {
  '10.1.1.0/24': 'local',
  '10.1.2.0/24': PEER_ENDPOINTS[1],
  '10.1.3.0/24': PEER_ENDPOINTS[2],
  '10.1.4.0/24': PEER_ENDPOINTS[3],
  'fd00:1:0:1::/64': 'local',
  'fd00:1:0:2::/64': PEER_ENDPOINTS[1],
  'fd00:1:0:3::/64': PEER_ENDPOINTS[2],
};

/** Paths that take less than the others: one so little that IPv6 of the least MTU does not fit. */
const LIMITS = { [PEER_ENDPOINTS[1]]: 1400, [PEER_ENDPOINTS[2]]: 1000 };

const address = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('10.1.1.2', '10.1.2.2', '10.1.3.3', '10.1.4.4') },
  { weight: 1, arbitrary: fc.ipV4() },
  {
    weight: 1,
    arbitrary: fc.constantFrom('127.0.0.1', '0.0.0.0', '224.0.0.1', '255.255.255.255', '169.254.1.1'),
  },
);

const ipv6Address = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('fd00:1:0:1::2', 'fd00:1:0:2::2', 'fd00:1:0:3::3') },
  { weight: 1, arbitrary: fc.constantFrom('fd00:1:0:4::4', '2001:db8::1', '1::', '::2:0:0:0') },
  { weight: 1, arbitrary: fc.constantFrom('::', '::1', '::ffff:10.1.1.2', 'fe80::1', 'febf::1', 'ff02::1') },
);

const hops = fc.oneof({ weight: 3, arbitrary: fc.constant(64) }, { weight: 1, arbitrary: fc.nat(2) });
const trafficClass = fc.oneof(
  { weight: 1, arbitrary: fc.constant(0) },
  { weight: 1, arbitrary: fc.nat(0xff) },
);

/** Sizes on both sides of each limit: least IPv6 MTU, narrow paths, the underlay's. */
const size = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 60, max: 120 }) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom(1000, 1280, 1400, MTU_BYTES), fc.integer({ min: -1, max: 1 }))
      .map(([limit, more]) => limit + more),
  },
);

/** Some have one byte changed. */
function damaged(sound: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  const damage = fc.oneof({ weight: 9, arbitrary: fc.constant(-1) }, { weight: 1, arbitrary: fc.nat(60) });
  return fc.tuple(sound, damage).map(([bytes, at]) => {
    if (at >= 0 && at < bytes.length) bytes[at] = bytes[at]! ^ 0x11;
    return bytes;
  });
}

const ipv4Frame = damaged(
  fc
    .record({
      source: address,
      destination: address,
      ttl: hops,
      tos: trafficClass,
      protocol: fc.constantFrom(1, 6, 17),
      fragment: fc.oneof(
        { weight: 5, arbitrary: fc.constantFrom(0, 0x4000) },
        { weight: 1, arbitrary: fc.nat(0xffff) },
      ),
      options: fc.oneof(
        { weight: 5, arbitrary: fc.constant(new Uint8Array(0)) },
        { weight: 1, arbitrary: fc.constant(new Uint8Array(40).fill(1)) },
      ),
      totalBytes: size,
    })
    .map(({ totalBytes, ...spec }) =>
      innerFrame({ ...spec, payload: new Uint8Array(totalBytes - 20 - spec.options.length) }),
    ),
);

const ipv6Frame = damaged(
  fc
    .record({
      source: ipv6Address,
      destination: ipv6Address,
      hopLimit: hops,
      trafficClass,
      extensions: fc.array(fc.constantFrom(extension(0), extension(60, 1), fragmentHeader(0)), {
        maxLength: 1,
      }),
      upper: fc.constantFrom(6, 17, ICMPV6),
      totalBytes: size,
    })
    .map(({ extensions, upper, totalBytes, ...spec }) => {
      const extensionBytes = extensions.reduce((sum, { rest }) => sum + 1 + rest.length, 0);
      const upperBytes = new Uint8Array(totalBytes - 40 - extensionBytes);
      return innerIpv6Frame({ ...spec, ...chained(extensions, upper, upperBytes) });
    }),
);

const frame = fc.oneof(
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(...[...MALFORMED_FRAMES, ...MALFORMED_IPV6_FRAMES].map((each) => each.frame)),
  },
  { weight: 8, arbitrary: ipv4Frame },
  { weight: 8, arbitrary: ipv6Frame },
);

const row: fc.Arbitrary<ReferenceRow> = fc
  .record({
    frame,
    segments: fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.nat(45) }),
    outerSource: fc.constantFrom('192.0.2.2', '192.0.2.3', '192.0.2.4', '203.0.113.9'),
    outerClass: trafficClass,
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

function verdictOf(burst: Burst, i: number, lane: LaneContext, direction: number): Verdict {
  const fate = burst.fate[i]!;
  if (fate < 0) return dropReasonName(-fate) as Verdict;
  if (direction === INBOUND) return fate === 0 ? 'accept' : `to ${fate}`;
  const nextHop = formatIpv4(lane.table.endpoints[ENDPOINT_WORDS * fate]!);
  const cut = burst.cut[i]!;
  if (cut === CUT_NONE) return `to ${nextHop}`;
  return cut === CUT_OUTER ? `to ${nextHop}, fragmented outside` : `to ${nextHop}, fragmented to ${cut}`;
}

function assertConserved(direction: DirectionCounters, frames: number): void {
  assert.equal(direction.framesReceived, frames);
  assert.equal(direction.framesReceived, direction.framesSent + droppedFrames(direction));
}

const wireFrames = (rows: readonly ReferenceRow[]): number =>
  rows.reduce((sum, { segments }) => sum + Math.max(segments, 1), 0);

const FAMILIES: readonly ['4' | '6' | '46', readonly IpFamily[]][] = [
  ['46', [4, 6]],
  ['4', [4]],
  ['6', [6]],
];

const bursts = fc.array(fc.tuple(fc.array(row, { maxLength: 12 }), losses), { minLength: 1, maxLength: 3 });

for (const [families, carried] of FAMILIES) {
  t.test(
    `outbound, families ${families}: every verdict is that of the rules one by one, no frame is lost count of (TEST_SEED=${TEST_SEED})`,
    (t) => {
      const seen = new Set<Verdict>();
      fc.assert(
        fc.property(bursts, (sequence) => {
          const lane = sampleLane({ answerRows: 4, families });
          Object.values(LIMITS).forEach((limit, at) => lane.paths.setLimit(at + 1, limit));
          for (const [rows, loss] of sequence) {
            const burst = burstOf(rows);
            decideOutbound(burst, rows.length, lane);
            rows.forEach((spec, i) => {
              const expected = referenceOutbound(spec, routes, MTU_BYTES, carried, LIMITS);
              seen.add(expected);
              assert.equal(verdictOf(burst, i, lane, OUTBOUND), expected);
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
        { seed: TEST_SEED, numRuns: 1000 },
      );
      const reachable: Verdict[] = [
        'noRoute',
        'localDestination',
        'ttlExceeded',
        'tooBig',
        'martian',
        'badGso',
      ];
      reachable.push('notUnicast', 'truncated', 'badVersion', 'to 192.0.2.3');
      if (carried.includes(4)) reachable.push('to 192.0.2.2, fragmented to 1400', 'badChecksum');
      else reachable.push('ipv4NotCarried');
      if (carried.includes(6)) reachable.push('to 192.0.2.3, fragmented outside', 'badHeaderLength');
      else reachable.push('ipv6NotCarried');
      for (const verdict of reachable) t.ok(seen.has(verdict), `${verdict} was reached`);
      t.end();
    },
  );
}

for (const mode of ['strict', 'peer', 'off'] as const) {
  for (const [families, carried] of FAMILIES) {
    t.test(
      `inbound, ${mode}, families ${families}: every verdict is that of the rules one by one (TEST_SEED=${TEST_SEED})`,
      (t) => {
        const seen = new Set<Verdict>();
        fc.assert(
          fc.property(bursts, (sequence) => {
            const lane = sampleLane({ answerRows: 4, sourceCheck: SourceCheck[mode], families });
            for (const [rows, loss] of sequence) {
              const burst = burstOf(rows);
              decideInbound(burst, rows.length, lane);
              rows.forEach((spec, i) => {
                const expected = referenceInbound(spec, routes, mode, carried);
                seen.add(expected);
                assert.equal(verdictOf(burst, i, lane, INBOUND), expected);
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
          { seed: TEST_SEED, numRuns: 500 },
        );
        const reachable: Verdict[] = ['accept', 'notLocal', 'ttlExceeded', 'martian', 'ecnNotCapable'];
        if (mode !== 'off') reachable.push('unknownPeer');
        if (mode === 'strict') reachable.push('spoofedSource');
        for (const verdict of reachable) t.ok(seen.has(verdict), `${verdict} was reached`);
        t.end();
      },
    );
  }
}
