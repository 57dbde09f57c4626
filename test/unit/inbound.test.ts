import { constants } from 'node:os';

import t from 'tap';

import { parseIpv4 } from '../../src/ipv4_prefix.js';
import { finishAnswers } from '../../src/workers/answer.js';
import { INBOUND, droppedFrames } from '../../src/workers/counters.js';
import { countInboundWritten, decideInbound } from '../../src/workers/inbound.js';
import { SourceCheck } from '../../src/workers/lane_context.js';
import type { LaneContext } from '../../src/workers/lane_context.js';
import { referenceChecksum } from '../reference/checksum.js';
import { decodeIcmp, decodeIpv4, icmpMessage, innerFrame } from './inner_frame.js';
import type { InnerFrame } from './inner_frame.js';
import {
  MAX_PEERS,
  STRANGER,
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
  decideInbound(burst, rows.length, lane);
  return rows.map((_, i) => fateName(burst.fate[i]!));
}

/** A frame from 10.1.2.2 to 10.1.1.2, sent by its peer 192.0.2.2. */
function row(spec: InnerFrame = {}, more: Omit<Row, 'frame'> = {}): Row {
  return { frame: innerFrame({ source: '10.1.2.2', destination: '10.1.1.2', ...spec }), ...more };
}

t.test('a frame from its peer to our subnet is ours, with one TTL less and a right checksum', (t) => {
  const sent = row({ ttl: 2, options: new Uint8Array(4).fill(1), payload: new Uint8Array(33).fill(7) });
  const burst = burstOf([sent]);
  decideInbound(burst, 1, sampleLane());
  t.equal(fateName(burst.fate[0]!), 'local');
  const after = rowFrame(burst, 0);
  t.equal(after[8], 1);
  t.equal(referenceChecksum(after.slice(0, 24)), 0);
  const expected = sent.frame.slice();
  expected.set(after.subarray(8, 12), 8);
  t.same(after, expected, 'nothing else changed');
  t.end();
});

/** Who sends: [inner source, outer source]. */
const senders = {
  'the peer of the inner source': ['10.1.2.2', '192.0.2.2'],
  'another peer': ['10.1.2.2', '192.0.2.3'],
  'a stranger with the inner source of a peer': ['10.1.2.2', STRANGER],
  'a peer with an inner source that has no route': ['10.99.0.1', '192.0.2.2'],
  'a stranger with an inner source that has no route': ['10.99.0.1', STRANGER],
  'a peer with an inner source of ours': ['10.1.1.7', '192.0.2.2'],
  'a stranger with an inner source of ours': ['10.1.1.7', STRANGER],
  'a sender with address 0.0.0.0': ['10.1.1.7', '0.0.0.0'],
} as const;

const verdicts: Record<keyof typeof senders, { strict: string; peer: string; off: string }> = {
  'the peer of the inner source': { strict: 'local', peer: 'local', off: 'local' },
  'another peer': { strict: 'spoofedSource', peer: 'local', off: 'local' },
  'a stranger with the inner source of a peer': { strict: 'unknownPeer', peer: 'unknownPeer', off: 'local' },
  'a peer with an inner source that has no route': { strict: 'spoofedSource', peer: 'local', off: 'local' },
  'a stranger with an inner source that has no route': {
    strict: 'unknownPeer',
    peer: 'unknownPeer',
    off: 'local',
  },
  'a peer with an inner source of ours': { strict: 'spoofedSource', peer: 'local', off: 'local' },
  'a stranger with an inner source of ours': { strict: 'unknownPeer', peer: 'unknownPeer', off: 'local' },
  'a sender with address 0.0.0.0': { strict: 'unknownPeer', peer: 'unknownPeer', off: 'local' },
};

for (const mode of ['strict', 'peer', 'off'] as const) {
  for (const [sender, [source, outerSource]] of Object.entries(senders)) {
    const expected = verdicts[sender as keyof typeof senders][mode];
    t.test(`${mode}: ${sender}: ${expected}`, (t) => {
      const lane = sampleLane({ sourceCheck: SourceCheck[mode] });
      t.same(fatesOf([row({ source }, { outerSource })], lane), [expected]);
      t.end();
    });
  }
}

t.test('a refused sender gets no answer, whatever it sends', (t) => {
  for (const outerSource of [STRANGER, '192.0.2.3']) {
    const lane = sampleLane();
    const rows = [
      row({ ttl: 1 }, { outerSource }),
      row({ ttl: 0, destination: '10.99.0.1' }, { outerSource }),
    ];
    const reason = outerSource === STRANGER ? 'unknownPeer' : 'spoofedSource';
    t.same(fatesOf(rows, lane), [reason, reason]);
    t.equal(lane.answers.count, 0);
    t.equal(snapshotOf(lane).inbound.answersSuppressed, 0);
  }
  t.end();
});

t.test('a frame that is not for our subnets is dropped without an answer', (t) => {
  const lane = sampleLane();
  const rows = ['10.1.3.3', '10.1.2.2', '10.99.0.1', '192.0.2.1'].map((destination) =>
    row({ destination, ttl: 1 }),
  );
  t.same(fatesOf(rows, lane), ['notLocal', 'notLocal', 'notLocal', 'notLocal']);
  t.equal(lane.answers.count, 0);
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
    for (const outerSource of ['192.0.2.2', STRANGER]) {
      const lane = sampleLane({ families, sourceCheck: SourceCheck.off });
      const burst = burstOf([{ frame, segments, outerSource }]);
      decideInbound(burst, 1, lane);
      t.equal(fateName(burst.fate[0]!), reason);
      t.same(rowFrame(burst, 0), frame, 'the frame is left as it was');
      t.equal(lane.answers.count, 0);
      const { inbound } = snapshotOf(lane);
      t.equal(inbound.drops[reason], Math.max(segments, 1));
      t.equal(droppedFrames(inbound), inbound.framesReceived);
    }
    t.end();
  });
}

t.test('TTL 1 and 0 are answered with time exceeded, to the peer of the inner source', (t) => {
  for (const ttl of [1, 0]) {
    const lane = sampleLane();
    const sent = row({ ttl, source: '10.1.3.9' }, { outerSource: '192.0.2.3' });
    const burst = burstOf([sent]);
    decideInbound(burst, 1, lane);
    t.equal(fateName(burst.fate[0]!), 'ttlExceeded');
    t.same(rowFrame(burst, 0), sent.frame, 'the frame is left as it was');
    t.equal(lane.answers.count, 1);
    t.equal(lane.answers.burst.fate[0], 2, 'leaves to the next hop of 10.1.3.9');
    const answer = rowFrame(lane.answers.burst, 0);
    t.match(decodeIpv4(answer), { source: parseIpv4(TUN_ADDRESS), destination: parseIpv4('10.1.3.9') });
    t.match(decodeIcmp(answer), { type: 11, code: 0 });
    t.same(answer.slice(28), sent.frame);
    finishAnswers(lane, INBOUND, false);
    t.match(snapshotOf(lane).inbound, { answersSent: 1, drops: { ttlExceeded: 1 } });
    t.equal(snapshotOf(lane).outbound.answersSent, 0);
  }
  t.end();
});

t.test('time exceeded is not said about an ICMP error nor to a source without a peer', (t) => {
  const lane = sampleLane({ sourceCheck: SourceCheck.off });
  const rows = [
    row({ ttl: 1, protocol: 1, payload: icmpMessage(11) }),
    row({ ttl: 1, fragment: 0x0001 }),
    row({ ttl: 1, source: '10.99.0.1' }),
    row({ ttl: 1, source: '10.1.1.7' }),
  ];
  t.same(fatesOf(rows, lane), ['ttlExceeded', 'ttlExceeded', 'ttlExceeded', 'ttlExceeded']);
  t.equal(lane.answers.count, 0);
  t.end();
});

t.test('answers beyond the rate are suppressed and counted', (t) => {
  const lane = sampleLane({ answersPerSecond: 0, answerDepth: 1 });
  fatesOf([row({ ttl: 1 }), row({ ttl: 1 })], lane);
  t.equal(lane.answers.count, 1);
  t.equal(snapshotOf(lane).inbound.answersSuppressed, 1);
  t.end();
});

t.test('an inbound frame may be larger than our MTU: the kernel takes it', (t) => {
  t.same(fatesOf([row({ payload: new Uint8Array(9000) })]), ['local']);
  t.end();
});

t.test('of a superframe only the header is read', (t) => {
  // Its other datagrams lie elsewhere in the slab, so `length` reaches beyond what is at `offset`.
  const superframe = row({ payload: new Uint8Array(3980) }, { segments: 3, wireBytes: 1400 });
  const lane = sampleLane();
  const burst = burstOf([superframe]);
  burst.slab.fill(0xee, burst.offset[0]! + 120);
  decideInbound(burst, 1, lane);
  t.equal(fateName(burst.fate[0]!), 'local');
  t.ok(burst.slab.subarray(burst.offset[0]! + 120).every((byte) => byte === 0xee));
  t.end();
});

t.test('counts: wire-sized frames, bytes, peers, and what TUN did not take', (t) => {
  const lane = sampleLane();
  const rows = [
    row({ payload: new Uint8Array(80) }),
    row({ payload: new Uint8Array(3980) }, { segments: 4, wireBytes: 1015 }),
    row({ source: '10.1.3.3', payload: new Uint8Array(80) }, { outerSource: '192.0.2.3' }),
    row({ source: '10.1.4.4', payload: new Uint8Array(80) }, { outerSource: '192.0.2.4' }),
    row({}, { outerSource: STRANGER, segments: 2, wireBytes: 24 }),
    row({ destination: '10.99.0.1' }),
  ];
  const burst = burstOf(rows);
  decideInbound(burst, rows.length, lane);
  burst.lost.set([1, 4, 0, 0, 50, 50]);
  burst.lostErrno.fill(constants.errno.EIO);
  countInboundWritten(burst, rows.length, lane, true);
  const { outbound, inbound } = snapshotOf(lane);
  t.match(inbound, {
    framesReceived: 10,
    bytesReceived: 100 + 4000 + 100 + 100 + 28 + 28,
    rowsReceived: 6,
    superframesReceived: 2,
    framesSent: 2,
    bytesSent: 200,
    rowsSent: 2,
    superframesSent: 0,
    bursts: 1,
    drops: { tunWriteFailed: 5, unknownPeer: 2, notLocal: 1 },
  });
  t.equal(inbound.framesReceived, inbound.framesSent + droppedFrames(inbound));
  t.equal(outbound.framesReceived, 0);
  t.same(lane.counters.readPeer(1), { framesOut: 0, bytesOut: 0, framesIn: 5, bytesIn: 4100 });
  t.same(lane.counters.readPeer(2), { framesOut: 0, bytesOut: 0, framesIn: 1, bytesIn: 100 });
  t.end();
});

t.test('a frame whose inner source is nobody or this host counts for no peer', (t) => {
  const lane = sampleLane({ sourceCheck: SourceCheck.off });
  t.same(fatesOf([row({ source: '10.1.1.7' }), row({ source: '10.99.0.1' })], lane), ['local', 'local']);
  for (let id = 0; id < MAX_PEERS; id++) t.same(lane.counters.readPeer(id).framesIn, 0);
  t.end();
});

t.test('without loss the column of losses is not read', (t) => {
  const lane = sampleLane();
  const superframe = row({ payload: new Uint8Array(3980) }, { segments: 4, wireBytes: 1015 });
  const burst = burstOf([row(), superframe]);
  decideInbound(burst, 2, lane);
  countInboundWritten(burst, 2, lane, false);
  t.match(snapshotOf(lane).inbound, { framesSent: 5, bytesSent: 4028, rowsSent: 2, superframesSent: 1 });
  t.end();
});

t.test('only rows 0..count-1 are touched', (t) => {
  const lane = sampleLane();
  const burst = burstOf([row(), row()]);
  decideInbound(burst, 1, lane);
  t.equal(burst.fate[1], 12345);
  decideInbound(burst, 0, lane);
  t.match(snapshotOf(lane).inbound, { framesReceived: 1, bursts: 1 });
  t.end();
});
