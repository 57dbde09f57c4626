import t from 'tap';

import { CUT_NONE, CUT_OUTER } from '../../src/tun/burst.js';
import { finishAnswers } from '../../src/workers/answer.js';
import { INBOUND, droppedFrames } from '../../src/workers/counters.js';
import { countInboundWritten, decideInbound } from '../../src/workers/inbound.js';
import { SourceCheck } from '../../src/workers/lane_context.js';
import type { LaneContext } from '../../src/workers/lane_context.js';
import { innerFrame } from './inner_frame.js';
import {
  ICMPV6,
  chained,
  decodeIcmpv6,
  decodeIpv6,
  extension,
  innerIpv6Frame,
  upperChecksum,
} from './inner_ipv6_frame.js';
import type { InnerIpv6Frame } from './inner_ipv6_frame.js';
import {
  STRANGER,
  TUN_ADDRESS_IPV6,
  burstOf,
  fateName,
  rowFrame,
  sampleLane,
  snapshotOf,
} from './lane_fixture.js';
import type { Row } from './lane_fixture.js';

const [DESTINATION_OPTIONS, ECHO_REQUEST] = [60, 128];

/** A frame from fd00:1:0:2::2 to fd00:1:0:1::2, sent by its peer 192.0.2.2. */
function row(spec: InnerIpv6Frame = {}, more: Omit<Row, 'frame'> = {}): Row {
  const frame = innerIpv6Frame({ source: 'fd00:1:0:2::2', destination: 'fd00:1:0:1::2', ...spec });
  return { frame, ...more };
}

function fatesOf(rows: readonly Row[], lane: LaneContext = sampleLane()): string[] {
  const burst = burstOf(rows);
  decideInbound(burst, rows.length, lane);
  return rows.map((_, i) => fateName(burst.fate[i]!));
}

t.test('an IPv6 frame from its peer to our subnet is ours, with a hop limit less by one', (t) => {
  const { frame } = row({ hopLimit: 2, trafficClass: 0xb9, payload: new Uint8Array(33).fill(7) });
  const burst = burstOf([{ frame }]);
  decideInbound(burst, 1, sampleLane());
  t.equal(fateName(burst.fate[0]!), 'local');
  const expected = frame.slice();
  expected[7] = 1;
  t.same(rowFrame(burst, 0), expected, 'nothing else changed');
  t.end();
});

/** Who sends: [inner source, outer source]. */
const senders = {
  'the peer of the inner source': ['fd00:1:0:2::2', '192.0.2.2'],
  'another peer': ['fd00:1:0:2::2', '192.0.2.3'],
  'a stranger with the inner source of a peer': ['fd00:1:0:2::2', STRANGER],
  'a peer with an inner source that has no route': ['fd00:99::1', '192.0.2.2'],
  'a stranger with an inner source that has no route': ['fd00:99::1', STRANGER],
  'a peer with an inner source of ours': ['fd00:1:0:1::7', '192.0.2.2'],
  'a sender over IPv6 whose first word is that of a peer': ['fd00:1:0:2::2', 'c000:202::1'],
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
  'a sender over IPv6 whose first word is that of a peer': {
    strict: 'unknownPeer',
    peer: 'unknownPeer',
    off: 'local',
  },
};

for (const mode of ['strict', 'peer', 'off'] as const) {
  for (const [sender, [source, outerSource]] of Object.entries(senders)) {
    const expected = verdicts[sender as keyof typeof senders][mode];
    t.test(`${mode}: ${sender}: ${expected}`, (t) => {
      t.same(fatesOf([row({ source }, { outerSource })], sampleLane({ sourceCheck: SourceCheck[mode] })), [
        expected,
      ]);
      t.end();
    });
  }
}

t.test('a frame that is not for our subnets is dropped without an answer', (t) => {
  const lane = sampleLane();
  const rows = ['fd00:1:0:3::3', 'fd00:1:0:2::2', 'fd00:99::1', '2001:db8::1'].map((destination) =>
    row({ destination, hopLimit: 1 }),
  );
  t.same(fatesOf(rows, lane), ['notLocal', 'notLocal', 'notLocal', 'notLocal']);
  t.equal(lane.answers.count, 0);
  t.end();
});

t.test('loopback, link-local and groups are refused whoever sends them', (t) => {
  const lane = sampleLane({ sourceCheck: SourceCheck.off });
  const rows = ['::1', 'fe80::1', '::ffff:127.0.0.1', 'ff02::1'].map((destination) => row({ destination }));
  t.same(fatesOf(rows, lane), ['martian', 'martian', 'martian', 'notUnicast']);
  t.end();
});

t.test('hop limit 1 and 0 are answered with time exceeded, to the peer of the inner source', (t) => {
  for (const hopLimit of [1, 0]) {
    const lane = sampleLane();
    const sent = row({ hopLimit, source: 'fd00:1:0:3::9' }, { outerSource: '192.0.2.3' });
    const burst = burstOf([sent]);
    decideInbound(burst, 1, lane);
    t.equal(fateName(burst.fate[0]!), 'ttlExceeded');
    t.same(rowFrame(burst, 0), sent.frame, 'the frame is left as it was');
    t.equal(lane.answers.count, 1);
    t.equal(lane.answers.burst.fate[0], 2, 'leaves to the next hop of fd00:1:0:3::9');
    const answer = rowFrame(lane.answers.burst, 0);
    t.match(decodeIpv6(answer), { source: TUN_ADDRESS_IPV6, destination: 'fd00:1:0:3::9' });
    t.match(decodeIcmpv6(answer), { type: 3, code: 0, mtu: 0 });
    t.equal(upperChecksum(answer), 0);
    t.same(answer.slice(48), sent.frame);
    finishAnswers(lane, INBOUND, false);
    t.match(snapshotOf(lane).inbound, { answersSent: 1, drops: { ttlExceeded: 1 } });
  }
  t.end();
});

t.test('an answer of 1,280 bytes to a peer behind a narrower path may be fragmented by the underlay', (t) => {
  const lane = sampleLane();
  const sent = row({ hopLimit: 1, payload: new Uint8Array(1300) });
  t.same(fatesOf([sent], lane), ['ttlExceeded']);
  lane.paths.setLimit(1, 1000);
  t.same(fatesOf([sent, row({ hopLimit: 1 })], lane), ['ttlExceeded', 'ttlExceeded']);
  const { cut, length } = lane.answers.burst;
  t.same([...length.subarray(0, 2)], [1280, 1280]);
  t.same([...cut.subarray(0, 3)], [CUT_NONE, CUT_OUTER, CUT_NONE]);
  t.end();
});

t.test('a refused sender gets no answer, nor does an ICMPv6 error or a source without a peer', (t) => {
  const lane = sampleLane();
  const icmpv6Error = { nextHeader: ICMPV6, payload: Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0) };
  const rows = [row({ hopLimit: 1 }, { outerSource: STRANGER }), row({ hopLimit: 1, ...icmpv6Error })];
  t.same(fatesOf(rows, lane), ['unknownPeer', 'ttlExceeded']);
  t.equal(lane.answers.count, 0);
  const open = sampleLane({ sourceCheck: SourceCheck.off });
  t.same(fatesOf([row({ hopLimit: 1, source: 'fd00:99::1' })], open), ['ttlExceeded']);
  t.equal(open.answers.count, 0);
  t.end();
});

t.test('of a superframe only what lies together is looked at and quoted', (t) => {
  const frame = row({
    hopLimit: 1,
    ...chained([extension(DESTINATION_OPTIONS, 1)], ICMPV6, new Uint8Array(200).fill(ECHO_REQUEST)),
  }).frame;
  const cut = sampleLane();
  t.same(fatesOf([{ frame, segments: 2, wireBytes: 56 }], cut), ['ttlExceeded']);
  t.equal(cut.answers.count, 0, 'what is behind the extension header is of another datagram');
  const whole = sampleLane();
  t.same(fatesOf([{ frame, segments: 2, wireBytes: 156 }], whole), ['ttlExceeded']);
  t.same(rowFrame(whole.answers.burst, 0).slice(48), frame.slice(0, 156));
  t.end();
});

t.test('a network carries the families that it has addresses of', (t) => {
  const rows: Row[] = [
    { frame: innerFrame({ source: '10.1.2.2', destination: '10.1.1.2', ttl: 9 }) },
    row({ hopLimit: 9 }),
  ];
  t.same(fatesOf(rows, sampleLane({ families: '46' })), ['local', 'local']);
  t.same(fatesOf(rows, sampleLane({ families: '4' })), ['local', 'ipv6NotCarried']);
  t.same(fatesOf(rows, sampleLane({ families: '6' })), ['ipv4NotCarried', 'local']);
  t.end();
});

t.test('frames of both families are in one count', (t) => {
  const lane = sampleLane();
  const rows: Row[] = [
    { frame: innerFrame({ source: '10.1.2.2', destination: '10.1.1.2', payload: new Uint8Array(80) }) },
    row({ payload: new Uint8Array(3960) }, { segments: 4, wireBytes: 1030 }),
    row({ source: 'fd00:1:0:3::3', payload: new Uint8Array(60) }, { outerSource: '192.0.2.3' }),
    row({}, { outerSource: STRANGER }),
  ];
  const burst = burstOf(rows);
  decideInbound(burst, rows.length, lane);
  countInboundWritten(burst, rows.length, lane, false);
  const { inbound } = snapshotOf(lane);
  t.match(inbound, {
    framesReceived: 7,
    framesSent: 6,
    bytesSent: 100 + 4000 + 100,
    drops: { unknownPeer: 1 },
  });
  t.equal(inbound.framesReceived, inbound.framesSent + droppedFrames(inbound));
  t.same(lane.counters.readPeer(1), { framesOut: 0, bytesOut: 0, framesIn: 5, bytesIn: 4100 });
  t.same(lane.counters.readPeer(2), { framesOut: 0, bytesOut: 0, framesIn: 1, bytesIn: 100 });
  t.end();
});
