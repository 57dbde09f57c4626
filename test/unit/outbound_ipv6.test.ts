import t from 'tap';

import type { DropReasonName } from '../../src/encap/drop_reason.js';
import { LOCAL } from '../../src/routing/route_table.js';
import { OUTBOUND, droppedFrames } from '../../src/workers/counters.js';
import type { LaneContext } from '../../src/workers/lane_context.js';
import { finishAnswers } from '../../src/workers/answer.js';
import { countOutboundSent, decideOutbound } from '../../src/workers/outbound.js';
import { innerFrame } from './inner_frame.js';
import {
  ICMPV6,
  chained,
  decodeIcmpv6,
  decodeIpv6,
  extension,
  fragmentHeader,
  innerIpv6Frame,
  upperChecksum,
} from './inner_ipv6_frame.js';
import type { InnerIpv6Frame } from './inner_ipv6_frame.js';
import {
  MTU_BYTES,
  TUN_ADDRESS_IPV6,
  burstOf,
  fateName,
  rowFrame,
  sampleLane,
  snapshotOf,
} from './lane_fixture.js';
import type { Row } from './lane_fixture.js';

const SOURCE = 'fd00:1:0:1::2';
const IPV6_MIN_MTU_BYTES = 1280;
const [DESTINATION_OPTIONS, UDP] = [60, 17];

/** A frame from fd00:1:0:1::2 to fd00:1:0:2::2. */
function row(spec: InnerIpv6Frame = {}, more: Omit<Row, 'frame'> = {}): Row {
  return { frame: innerIpv6Frame({ source: SOURCE, destination: 'fd00:1:0:2::2', ...spec }), ...more };
}

function fatesOf(rows: readonly Row[], lane: LaneContext = sampleLane()): string[] {
  const burst = burstOf(rows);
  decideOutbound(burst, rows.length, lane);
  return rows.map((_, i) => fateName(burst.fate[i]!));
}

t.test('an IPv6 frame leaves to the next hop of its destination', (t) => {
  const rows = ['fd00:1:0:2::', 'fd00:1:0:2:ffff:ffff:ffff:ffff', 'fd00:1:0:3::7'].map((destination) =>
    row({ destination }),
  );
  t.same(fatesOf(rows), ['next hop 1', 'next hop 1', 'next hop 2']);
  t.end();
});

t.test('a frame that leaves has a hop limit less by one; nothing else changes', (t) => {
  const { frame } = row({ hopLimit: 2, trafficClass: 0xb9, payload: new Uint8Array(33).fill(7) });
  const burst = burstOf([{ frame }]);
  const slabBefore = burst.slab.slice();
  decideOutbound(burst, 1, sampleLane());
  const expected = frame.slice();
  expected[7] = 1;
  t.same(rowFrame(burst, 0), expected);
  slabBefore.set(expected, burst.offset[0]);
  t.same(burst.slab, slabBefore, 'bytes around the frame are as they were');
  t.end();
});

t.test('extension headers and fragments are forwarded, whatever the chain holds', (t) => {
  const rows = [
    row(chained([extension(0), extension(DESTINATION_OPTIONS, 2)], UDP, new Uint8Array(8))),
    row(chained([fragmentHeader(0)], UDP, new Uint8Array(8))),
    row(chained([fragmentHeader(185, false)], UDP, new Uint8Array(8))),
    row({ nextHeader: 59, payload: new Uint8Array(0) }),
    row({ nextHeader: DESTINATION_OPTIONS, payload: Uint8Array.of(UDP, 255) }),
  ];
  t.same(
    fatesOf(rows),
    rows.map(() => 'next hop 1'),
  );
  t.end();
});

const refusals: readonly {
  rule: string;
  row: Row;
  reason: DropReasonName;
  type: number;
  code: number;
  mtu: number;
}[] = [
  {
    rule: 'no route is answered with no route to destination',
    row: row({ destination: 'fd00:99::1' }),
    reason: 'noRoute',
    type: 1,
    code: 0,
    mtu: 0,
  },
  {
    rule: 'our own subnet is answered with address unreachable',
    row: row({ destination: 'fd00:1:0:1::9' }),
    reason: 'localDestination',
    type: 1,
    code: 3,
    mtu: 0,
  },
  {
    rule: 'hop limit 1 is answered with time exceeded',
    row: row({ hopLimit: 1 }),
    reason: 'ttlExceeded',
    type: 3,
    code: 0,
    mtu: 0,
  },
  {
    rule: 'hop limit 0 is answered with time exceeded',
    row: row({ hopLimit: 0 }),
    reason: 'ttlExceeded',
    type: 3,
    code: 0,
    mtu: 0,
  },
  {
    rule: 'too big is answered with the MTU',
    row: row({ payload: new Uint8Array(MTU_BYTES - 39) }),
    reason: 'tooBig',
    type: 2,
    code: 0,
    mtu: MTU_BYTES,
  },
  {
    rule: 'a superframe of too big segments is answered with the MTU',
    row: row({ payload: new Uint8Array(6000) }, { segments: 3, wireBytes: MTU_BYTES + 1 }),
    reason: 'tooBig',
    type: 2,
    code: 0,
    mtu: MTU_BYTES,
  },
  {
    rule: 'a fragment that is too big is answered as well: a router does not fragment IPv6',
    row: row(chained([fragmentHeader(0)], UDP, new Uint8Array(MTU_BYTES))),
    reason: 'tooBig',
    type: 2,
    code: 0,
    mtu: MTU_BYTES,
  },
];

for (const { rule, row: refused, reason, type, code, mtu } of refusals) {
  t.test(rule, (t) => {
    const lane = sampleLane();
    const burst = burstOf([refused]);
    decideOutbound(burst, 1, lane);
    t.equal(fateName(burst.fate[0]!), reason);
    t.same(rowFrame(burst, 0), refused.frame, 'the frame is left as it was');
    t.equal(snapshotOf(lane).outbound.drops[reason], refused.segments ?? 1, 'counted in wire-sized frames');

    t.equal(lane.answers.count, 1);
    const answers = lane.answers.burst;
    t.equal(answers.fate[0], LOCAL, 'goes back into TUN');
    t.equal(answers.segments[0], 1);
    t.equal(answers.wireBytes[0], answers.length[0]);
    const answer = rowFrame(answers, 0);
    t.ok(answer.length <= IPV6_MIN_MTU_BYTES, `${answer.length} bytes`);
    t.match(decodeIpv6(answer), {
      version: 6,
      nextHeader: ICMPV6,
      source: TUN_ADDRESS_IPV6,
      destination: SOURCE,
      payloadBytes: answer.length - 40,
    });
    t.match(decodeIcmpv6(answer), { type, code, mtu });
    t.equal(upperChecksum(answer), 0);
    t.same(answer.slice(48), refused.frame.slice(0, answer.length - 48));
    t.equal(
      answer.length,
      Math.min(48 + refused.frame.length, IPV6_MIN_MTU_BYTES),
      'as much as fits is quoted',
    );
    t.end();
  });
}

t.test('no route is said before time exceeded, and that before too big', (t) => {
  const payload = new Uint8Array(2000);
  t.same(fatesOf([row({ destination: 'fd00:99::1', hopLimit: 0, payload }), row({ hopLimit: 1, payload })]), [
    'noRoute',
    'ttlExceeded',
  ]);
  t.end();
});

t.test('an ICMPv6 error, a chain that is cut and a martian are dropped without an answer', (t) => {
  const lane = sampleLane();
  const destination = 'fd00:99::1';
  const rows = [
    row({ destination, nextHeader: ICMPV6, payload: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0) }),
    row({ destination, nextHeader: DESTINATION_OPTIONS, payload: Uint8Array.of(ICMPV6, 255) }),
    row({ destination, source: '::1' }),
  ];
  t.same(fatesOf(rows, lane), ['noRoute', 'noRoute', 'martian']);
  t.equal(lane.answers.count, 0);
  t.equal(snapshotOf(lane).outbound.answersSuppressed, 0, 'forbidden is not suppressed');
  t.same(fatesOf([row({ destination, nextHeader: ICMPV6, payload: Uint8Array.of(128, 0, 0, 0) })], lane), [
    'noRoute',
  ]);
  t.equal(lane.answers.count, 1, 'an echo request is answered');
  t.end();
});

t.test('both families share one limit of answers', (t) => {
  const lane = sampleLane({ answersPerSecond: 0, answerDepth: 3 });
  const expired: Row = { frame: innerFrame({ ttl: 1 }) };
  fatesOf([row({ hopLimit: 1 }), expired, row({ hopLimit: 1 }), expired, row({ hopLimit: 1 })], lane);
  t.equal(lane.answers.count, 3);
  t.same(
    [0, 1, 2].map((i) => rowFrame(lane.answers.burst, i)[0]! >> 4),
    [6, 4, 6],
  );
  t.equal(snapshotOf(lane).outbound.answersSuppressed, 2);
  finishAnswers(lane, OUTBOUND, false);
  t.equal(snapshotOf(lane).outbound.answersSent, 3);
  t.end();
});

t.test('a network carries the families that it has addresses of', (t) => {
  const rows: Row[] = [
    { frame: innerFrame() },
    row(),
    { frame: innerFrame({ checksum: 1 }) },
    row({ source: 'ff02::1' }),
    { frame: Uint8Array.of(0x45) },
    { frame: Uint8Array.of(0x60) },
    { frame: new Uint8Array(0) },
    { frame: Uint8Array.of(0x70) },
  ];
  const neither = ['truncated', 'badVersion'];
  const fates = (families: '4' | '6' | '46'): string[] => {
    const lane = sampleLane({ families });
    const found = fatesOf(rows, lane);
    t.equal(lane.answers.count, 0, 'of a family that is not carried nothing is answered');
    return found;
  };
  t.same(fates('46'), [
    'next hop 1',
    'next hop 1',
    'badChecksum',
    'martian',
    'truncated',
    'truncated',
    ...neither,
  ]);
  const not6 = 'ipv6NotCarried';
  t.same(fates('4'), ['next hop 1', not6, 'badChecksum', not6, 'truncated', not6, ...neither]);
  const not4 = 'ipv4NotCarried';
  t.same(fates('6'), [not4, 'next hop 1', not4, 'martian', not4, 'truncated', ...neither]);
  t.end();
});

t.test('frames of both families are in one count', (t) => {
  const lane = sampleLane();
  const rows: Row[] = [
    { frame: innerFrame({ payload: new Uint8Array(80) }) },
    row({ payload: new Uint8Array(60) }),
    row({ payload: new Uint8Array(3960) }, { segments: 3, wireBytes: 1400 }),
    row({ destination: 'fd00:99::1' }),
    row({ payload: new Uint8Array(3960) }, { segments: 0 }),
  ];
  const burst = burstOf(rows);
  decideOutbound(burst, rows.length, lane);
  countOutboundSent(burst, rows.length, lane, false);
  const { outbound } = snapshotOf(lane);
  t.match(outbound, {
    framesReceived: 7,
    framesSent: 5,
    bytesSent: 100 + 100 + 4000,
    superframesSent: 1,
    drops: { noRoute: 1, badGso: 1 },
  });
  t.equal(outbound.framesReceived, outbound.framesSent + droppedFrames(outbound));
  t.same(lane.counters.readPeer(1), { framesOut: 5, bytesOut: 4200, framesIn: 0, bytesIn: 0 });
  t.end();
});
