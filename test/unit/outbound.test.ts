import { constants } from 'node:os';

import t from 'tap';

import type { DropReasonName } from '../../src/encap/drop_reason.js';
import { parseIpv4 } from '../../src/ipv4_prefix.js';
import { LOCAL } from '../../src/routing/route_table.js';
import { finishAnswers } from '../../src/workers/answer.js';
import { OUTBOUND, droppedFrames } from '../../src/workers/counters.js';
import type { LaneContext } from '../../src/workers/lane_context.js';
import { countOutboundSent, decideOutbound } from '../../src/workers/outbound.js';
import { referenceChecksum } from '../reference/checksum.js';
import { decodeIcmp, decodeIpv4, icmpMessage, innerFrame } from './inner_frame.js';
import type { InnerFrame } from './inner_frame.js';
import {
  MAX_PEERS,
  MTU_BYTES,
  TUN_ADDRESS,
  burstOf,
  fateName,
  rowFrame,
  sampleLane,
  snapshotOf,
} from './lane_fixture.js';
import type { Row } from './lane_fixture.js';
import { MALFORMED_FRAMES } from './malformed_frames.js';
import { MALFORMED_IPV6_FRAMES } from './malformed_ipv6_frames.js';

function fatesOf(rows: readonly Row[], lane: LaneContext = sampleLane()): string[] {
  const burst = burstOf(rows);
  decideOutbound(burst, rows.length, lane);
  return rows.map((_, i) => fateName(burst.fate[i]!));
}

function row(spec: InnerFrame, more: Omit<Row, 'frame'> = {}): Row {
  return { frame: innerFrame(spec), ...more };
}

t.test('a frame leaves to the next hop of its destination', (t) => {
  const rows = ['10.1.2.0', '10.1.2.255', '10.1.3.7', '10.1.4.1'].map((destination) => row({ destination }));
  t.same(fatesOf(rows), ['next hop 1', 'next hop 1', 'next hop 2', 'next hop 3']);
  t.end();
});

t.test('a frame that leaves has one TTL less and a right checksum; nothing else changes', (t) => {
  const frame = innerFrame({
    ttl: 2,
    options: new Uint8Array(8).fill(1),
    payload: new Uint8Array(31).fill(7),
  });
  const burst = burstOf([{ frame }]);
  const slabBefore = burst.slab.slice();
  decideOutbound(burst, 1, sampleLane());
  const after = rowFrame(burst, 0);
  t.equal(after[8], 1);
  t.equal(referenceChecksum(after.slice(0, 28)), 0);
  const expected = frame.slice();
  expected.set(after.subarray(8, 12), 8);
  t.same(after, expected);
  slabBefore.set(after, burst.offset[0]);
  t.same(burst.slab, slabBefore, 'bytes around the frame are as they were');
  t.end();
});

t.test('options and fragments are forwarded', (t) => {
  const rows = [
    row({ options: Uint8Array.of(7, 7, 4, 0, 0, 0, 0, 0) }),
    row({ fragment: 0x2000 }),
    row({ fragment: 0x00b9 }),
  ];
  t.same(fatesOf(rows), ['next hop 1', 'next hop 1', 'next hop 1']);
  t.end();
});

const malformed = [
  ...MALFORMED_FRAMES.map((malformation) => ({ ...malformation, families: '4' as const })),
  ...MALFORMED_FRAMES.filter(({ reason }) => reason !== 'ipv6NotCarried').map((malformation) => ({
    ...malformation,
    families: '46' as const,
  })),
  ...MALFORMED_IPV6_FRAMES.map((malformation) => ({ ...malformation, families: '46' as const })),
];

for (const { rule, frame, segments = 1, reason, families } of malformed) {
  t.test(`${reason}: ${rule} (families ${families})`, (t) => {
    const lane = sampleLane({ families });
    const burst = burstOf([{ frame, segments }]);
    decideOutbound(burst, 1, lane);
    t.equal(fateName(burst.fate[0]!), reason);
    t.same(rowFrame(burst, 0), frame, 'the frame is left as it was');
    t.equal(lane.answers.count, 0, 'no answer about a frame that is not sound');
    const { outbound } = snapshotOf(lane);
    t.equal(outbound.drops[reason], Math.max(segments, 1));
    t.equal(droppedFrames(outbound), outbound.framesReceived);
    t.end();
  });
}

const refusals: readonly {
  rule: string;
  row: Row;
  reason: DropReasonName;
  type: number;
  code: number;
  nextHopMtu: number;
}[] = [
  {
    rule: 'no route is answered with net unreachable',
    row: row({ destination: '10.99.0.1' }),
    reason: 'noRoute',
    type: 3,
    code: 0,
    nextHopMtu: 0,
  },
  {
    rule: 'our own subnet is answered with host unreachable',
    row: row({ destination: '10.1.1.9' }),
    reason: 'localDestination',
    type: 3,
    code: 1,
    nextHopMtu: 0,
  },
  {
    rule: 'TTL 1 is answered with time exceeded',
    row: row({ ttl: 1 }),
    reason: 'ttlExceeded',
    type: 11,
    code: 0,
    nextHopMtu: 0,
  },
  {
    rule: 'TTL 0 is answered with time exceeded',
    row: row({ ttl: 0 }),
    reason: 'ttlExceeded',
    type: 11,
    code: 0,
    nextHopMtu: 0,
  },
  {
    rule: "too big with don't-fragment is answered with the MTU",
    row: row({ fragment: 0x4000, payload: new Uint8Array(MTU_BYTES - 19) }),
    reason: 'tooBig',
    type: 3,
    code: 4,
    nextHopMtu: MTU_BYTES,
  },
  {
    rule: "far too big with don't-fragment is answered with the MTU as well",
    row: row({ fragment: 0x4000, payload: new Uint8Array(60_000) }),
    reason: 'tooBig',
    type: 3,
    code: 4,
    nextHopMtu: MTU_BYTES,
  },
  {
    rule: 'a superframe of too big segments is answered with the MTU',
    row: row({ fragment: 0x4000, payload: new Uint8Array(6000) }, { segments: 3, wireBytes: MTU_BYTES + 1 }),
    reason: 'tooBig',
    type: 3,
    code: 4,
    nextHopMtu: MTU_BYTES,
  },
];

for (const { rule, row: refused, reason, type, code, nextHopMtu } of refusals) {
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
    t.match(decodeIpv4(answer), { source: parseIpv4(TUN_ADDRESS), destination: parseIpv4('10.1.1.2') });
    t.match(decodeIcmp(answer), { type, code, unused: 0, nextHopMtu });
    t.equal(referenceChecksum(answer.slice(0, 20)), 0);
    t.equal(referenceChecksum(answer.slice(20)), 0);
    t.same(answer.slice(28), refused.frame.slice(0, answer.length - 28));
    t.end();
  });
}

t.test('no route is said before time exceeded, and that before too big', (t) => {
  const tooBig = { fragment: 0x4000, payload: new Uint8Array(2000) };
  t.same(fatesOf([row({ destination: '10.99.0.1', ttl: 0, ...tooBig }), row({ ttl: 1, ...tooBig })]), [
    'noRoute',
    'ttlExceeded',
  ]);
  t.end();
});

t.test('the largest frame passes, one byte more does not', (t) => {
  const rows = [
    row({ fragment: 0x4000, payload: new Uint8Array(MTU_BYTES - 20) }),
    row({ fragment: 0x4000, payload: new Uint8Array(MTU_BYTES - 19) }),
    row({ fragment: 0x4000, payload: new Uint8Array(6000) }, { segments: 5, wireBytes: MTU_BYTES }),
  ];
  t.same(fatesOf(rows), ['next hop 1', 'tooBig', 'next hop 1']);
  t.end();
});

t.test('an ICMP error, a later fragment and a martian are dropped without an answer', (t) => {
  const lane = sampleLane();
  const destination = '10.99.0.1';
  const rows = [
    row({ destination, protocol: 1, payload: icmpMessage(3) }),
    row({ destination, fragment: 0x0001 }),
    row({ destination, source: '127.0.0.1' }),
  ];
  t.same(fatesOf(rows, lane), ['noRoute', 'noRoute', 'martian']);
  t.equal(lane.answers.count, 0);
  t.equal(snapshotOf(lane).outbound.answersSuppressed, 0, 'forbidden is not suppressed');
  t.end();
});

t.test('an answer quotes of a superframe what it quotes of a frame', (t) => {
  const lane = sampleLane();
  fatesOf(
    [row({ destination: '10.99.0.1', payload: new Uint8Array(5000) }, { segments: 4, wireBytes: 1300 })],
    lane,
  );
  t.equal(lane.answers.burst.length[0], 576, 'RFC 1812 section 4.3.2.3');
  t.end();
});

t.test('answers beyond the rate are suppressed and counted', (t) => {
  const lane = sampleLane({ answersPerSecond: 1000, answerDepth: 2 });
  const refused = Array.from({ length: 5 }, () => row({ ttl: 1 }));
  fatesOf(refused, lane);
  t.equal(lane.answers.count, 2);
  t.equal(snapshotOf(lane).outbound.answersSuppressed, 3);
  lane.nowMillis = 1;
  fatesOf([row({ ttl: 1 })], lane);
  t.equal(lane.answers.count, 3, 'a millisecond later there is one more');
  t.end();
});

t.test('answers beyond the answer burst are suppressed, and take no token', (t) => {
  const lane = sampleLane({ answerRows: 2, answersPerSecond: 0, answerDepth: 3 });
  fatesOf(
    Array.from({ length: 6 }, () => row({ ttl: 1 })),
    lane,
  );
  t.equal(lane.answers.count, 2);
  t.equal(snapshotOf(lane).outbound.answersSuppressed, 4);
  finishAnswers(lane, OUTBOUND, false);
  fatesOf([row({ ttl: 1 })], lane);
  t.equal(lane.answers.count, 1, 'the third token was left');
  t.end();
});

t.test('answers lie apart, each on a cache line with room before it', (t) => {
  const lane = sampleLane({ answerRows: 3 });
  const payload = new Uint8Array(1000);
  const rows = ['10.1.1.2', '10.1.1.3', '10.1.1.4'].map((source) => row({ source, ttl: 1, payload }));
  fatesOf(rows, lane);
  const { burst } = lane.answers;
  rows.forEach(({ frame }, i) => {
    const at = burst.offset[i]!;
    t.equal(at % 64, 0);
    t.ok(at >= 16);
    t.ok(
      burst.slab.subarray(at - 16, at).every((byte) => byte === 0),
      'headroom',
    );
    t.same(rowFrame(burst, i).slice(28), frame.slice(0, 548));
  });
  t.end();
});

t.test('answers are counted after they were sent, and make room', (t) => {
  const lane = sampleLane();
  fatesOf([row({ ttl: 1 }), row({ ttl: 1 }), row({ ttl: 1 })], lane);
  lane.answers.burst.lost.set([0, 1, 0]);
  finishAnswers(lane, OUTBOUND, true);
  t.equal(lane.answers.count, 0);
  t.match(snapshotOf(lane).outbound, { answersSent: 2, answersLost: 1, answersSuppressed: 0 });
  fatesOf([row({ ttl: 1 })], lane);
  lane.answers.burst.lost[0] = 1;
  finishAnswers(lane, OUTBOUND, false);
  t.match(snapshotOf(lane).outbound, { answersSent: 3, answersLost: 1 }, 'stale losses are not read');
  t.end();
});

t.test('superframes count their wire-sized frames, rows count decisions', (t) => {
  const lane = sampleLane();
  const rows = [
    row({ payload: new Uint8Array(80) }),
    row({ payload: new Uint8Array(3980) }, { segments: 3, wireBytes: 1400 }),
    row({ destination: '10.99.0.1', payload: new Uint8Array(1980) }, { segments: 2, wireBytes: 1400 }),
    row({}, { segments: 0 }),
  ];
  const burst = burstOf(rows);
  decideOutbound(burst, rows.length, lane);
  countOutboundSent(burst, rows.length, lane, false);
  const { outbound, inbound } = snapshotOf(lane);
  t.match(outbound, {
    framesReceived: 7,
    bytesReceived: 100 + 4000 + 2000 + 28,
    rowsReceived: 4,
    superframesReceived: 2,
    framesSent: 4,
    bytesSent: 4100,
    rowsSent: 2,
    superframesSent: 1,
    bursts: 1,
    drops: { noRoute: 2, badGso: 1 },
  });
  t.equal(inbound.framesReceived, 0);
  t.same(lane.counters.readPeer(1), { framesOut: 4, bytesOut: 4100, framesIn: 0, bytesIn: 0 });
  t.end();
});

t.test('only rows 0..count-1 are touched', (t) => {
  const lane = sampleLane();
  const burst = burstOf([row({}), row({})]);
  decideOutbound(burst, 1, lane);
  t.equal(burst.fate[1], 12345);
  decideOutbound(burst, 0, lane);
  t.match(snapshotOf(lane).outbound, { framesReceived: 1, bursts: 1 }, 'an empty burst is none');
  t.end();
});

t.test('lost frames are dropped under the reason of their errno', (t) => {
  const { errno } = constants;
  const lane = sampleLane();
  const superframe = { segments: 4, wireBytes: 1020 };
  const rows = [
    row({ payload: new Uint8Array(80) }),
    row({ payload: new Uint8Array(3980) }, superframe),
    row({ payload: new Uint8Array(3980), destination: '10.1.3.3' }, superframe),
    row({ destination: '10.99.0.1' }),
    row({}),
  ];
  const burst = burstOf(rows);
  decideOutbound(burst, rows.length, lane);
  burst.lost.set([0, 1, 4, 77, 1]);
  burst.lostErrno.set([errno.EPERM, errno.ENOBUFS, errno.ENETUNREACH, errno.EPERM, errno.EMSGSIZE]);
  countOutboundSent(burst, rows.length, lane, true);
  const { outbound } = snapshotOf(lane);
  t.match(outbound, {
    framesReceived: 11,
    framesSent: 4,
    bytesSent: 100 + 3000,
    rowsSent: 2,
    superframesSent: 1,
    drops: { sendBufferFull: 1, underlayUnreachable: 4, noRoute: 1, underlayTooBig: 1, sendRefused: 0 },
  });
  t.equal(outbound.framesReceived, outbound.framesSent + droppedFrames(outbound));
  t.same(lane.counters.readPeer(1), { framesOut: 4, bytesOut: 3100, framesIn: 0, bytesIn: 0 });
  t.same(lane.counters.readPeer(2), { framesOut: 0, bytesOut: 0, framesIn: 0, bytesIn: 0 });
  t.end();
});

t.test('a peer beyond the room for peers is in the totals', (t) => {
  const lane = sampleLane();
  const burst = burstOf([row({ destination: '10.1.4.1' })]);
  decideOutbound(burst, 1, lane);
  t.ok(burst.fate[0]! >= MAX_PEERS);
  countOutboundSent(burst, 1, lane, false);
  t.equal(snapshotOf(lane).outbound.framesSent, 1);
  t.end();
});

t.test('a new table and MTU hold from the next burst on', (t) => {
  const lane = sampleLane();
  t.same(fatesOf([row({ fragment: 0x4000, payload: new Uint8Array(1000) })], lane), ['next hop 1']);
  lane.mtuBytes = 1000;
  t.same(fatesOf([row({ fragment: 0x4000, payload: new Uint8Array(1000) })], lane), ['tooBig']);
  t.match(decodeIcmp(rowFrame(lane.answers.burst, 0)), { nextHopMtu: 1000 });
  t.end();
});
