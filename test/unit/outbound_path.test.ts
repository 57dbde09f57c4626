/** How a frame is made to fit its path, and with which traffic class it leaves. */

import { constants } from 'node:os';

import t from 'tap';

import { CUT_NONE, CUT_OUTER } from '../../src/tun/burst.js';
import type { Burst } from '../../src/tun/burst.js';
import { droppedFrames } from '../../src/workers/counters.js';
import type { LaneContext } from '../../src/workers/lane_context.js';
import { countOutboundSent, decideOutbound } from '../../src/workers/outbound.js';
import { decodeIcmp, decodeIpv4, innerFrame } from './inner_frame.js';
import { decodeIcmpv6, decodeIpv6, innerIpv6Frame } from './inner_ipv6_frame.js';
import { MAX_PEERS, MTU_BYTES, burstOf, fateName, rowFrame, sampleLane, snapshotOf } from './lane_fixture.js';
import type { Row } from './lane_fixture.js';

const DONT_FRAGMENT = 0x4000;
const { EMSGSIZE, EIO } = constants.errno;

/** An IPv4 frame of so many bytes. */
function ipv4(bytes: number, fragment = 0, destination = '10.1.2.2'): Uint8Array {
  return innerFrame({ destination, fragment, payload: new Uint8Array(bytes - 20) });
}

function ipv6(bytes: number, destination = 'fd00:1:0:2::2'): Uint8Array {
  return innerIpv6Frame({ source: 'fd00:1:0:1::2', destination, payload: new Uint8Array(bytes - 40) });
}

function decided(rows: readonly Row[], lane: LaneContext): Burst {
  const burst = burstOf(rows);
  decideOutbound(burst, rows.length, lane);
  return burst;
}

/** Fate, and how it is made to fit, of each frame. */
function fitsOf(frames: readonly Uint8Array[], lane: LaneContext): string[] {
  const burst = decided(
    frames.map((frame) => ({ frame })),
    lane,
  );
  return frames.map((_, i) => {
    const fate = fateName(burst.fate[i]!);
    return burst.fate[i]! < 0 || burst.cut[i] === CUT_NONE ? fate : `${fate}, cut ${burst.cut[i]}`;
  });
}

/** MTU that the newest answer tells. */
function toldMtu(lane: LaneContext): number {
  const answer = rowFrame(lane.answers.burst, lane.answers.count - 1);
  return answer[0]! >> 4 === 6 ? decodeIcmpv6(answer).mtu : decodeIcmp(answer).nextHopMtu;
}

t.test("IPv4 without don't-fragment is cut to the path's MTU, with it the sender is told", (t) => {
  const lane = sampleLane();
  t.same(
    fitsOf([ipv4(MTU_BYTES), ipv4(MTU_BYTES + 1), ipv4(60_000), ipv4(MTU_BYTES + 1, DONT_FRAGMENT)], lane),
    ['next hop 1', `next hop 1, cut ${MTU_BYTES}`, `next hop 1, cut ${MTU_BYTES}`, 'tooBig'],
  );
  t.equal(lane.answers.count, 1);
  t.equal(toldMtu(lane), MTU_BYTES);
  t.end();
});

t.test('a fragment that is too big is cut again; the TTL of what is cut is one less', (t) => {
  const burst = decided([{ frame: ipv4(2000, 0x2010) }], sampleLane());
  t.equal(burst.cut[0], MTU_BYTES);
  t.equal(decodeIpv4(rowFrame(burst, 0)).ttl, 63);
  t.end();
});

t.test('a narrower path has its own limit for its next hop, and no other', (t) => {
  const lane = sampleLane();
  lane.paths.setLimit(2, 1400);
  const frames = [
    ipv4(1400, DONT_FRAGMENT, '10.1.3.3'),
    ipv4(1401, DONT_FRAGMENT, '10.1.3.3'),
    ipv4(1401, 0, '10.1.3.3'),
    ipv4(1401, DONT_FRAGMENT, '10.1.2.2'),
    ipv6(1400, 'fd00:1:0:3::3'),
    ipv6(1401, 'fd00:1:0:3::3'),
    ipv6(1401, 'fd00:1:0:2::2'),
  ];
  t.same(fitsOf(frames, lane), [
    'next hop 2',
    'tooBig',
    'next hop 2, cut 1400',
    'next hop 1',
    'next hop 2',
    'tooBig',
    'next hop 1',
  ]);
  t.equal(lane.answers.count, 2);
  for (const i of [0, 1]) {
    const answer = rowFrame(lane.answers.burst, i);
    t.equal(answer[0]! >> 4 === 6 ? decodeIcmpv6(answer).mtu : decodeIcmp(answer).nextHopMtu, 1400);
  }
  lane.paths.setLimit(2, 0);
  t.same(fitsOf([ipv4(1401, DONT_FRAGMENT, '10.1.3.3')], lane), ['next hop 2'], 'until it is lifted');
  t.end();
});

t.test('a limit above what the underlay interface takes is none', (t) => {
  const lane = sampleLane();
  lane.paths.setLimit(1, 9000);
  t.same(fitsOf([ipv4(MTU_BYTES + 1, DONT_FRAGMENT)], lane), ['tooBig']);
  t.equal(toldMtu(lane), MTU_BYTES);
  t.end();
});

t.test('IPv6 of up to 1,280 bytes leaves on any path, and no sender is told less', (t) => {
  const lane = sampleLane();
  lane.paths.setLimit(1, 1000);
  t.same(fitsOf([ipv6(1000), ipv6(1001), ipv6(1280), ipv6(1281)], lane), [
    'next hop 1',
    `next hop 1, cut ${CUT_OUTER}`,
    `next hop 1, cut ${CUT_OUTER}`,
    'tooBig',
  ]);
  t.equal(toldMtu(lane), 1280);
  const { payloadBytes } = decodeIpv6(rowFrame(lane.answers.burst, 0));
  t.equal(payloadBytes, 1240, 'the answer is one that any path carries');
  t.end();
});

t.test('a superframe is judged by its largest segment', (t) => {
  const lane = sampleLane();
  lane.paths.setLimit(1, 1300);
  const rows = [
    { frame: ipv4(6000), segments: 5, wireBytes: 1300 },
    { frame: ipv4(6000), segments: 5, wireBytes: 1301 },
    { frame: ipv6(6000), segments: 5, wireBytes: 1300 },
    { frame: ipv6(6000), segments: 5, wireBytes: 1301 },
  ];
  const burst = decided(rows, lane);
  t.same(
    rows.map((_, i) => [fateName(burst.fate[i]!), burst.cut[i]]),
    [
      ['next hop 1', CUT_NONE],
      ['next hop 1', 1300],
      ['next hop 1', CUT_NONE],
      ['tooBig', 12345],
    ],
  );
  t.equal(snapshotOf(lane).outbound.drops.tooBig, 5);
  t.end();
});

/** A send to next hop 1 at which these rows were too large for the underlay. */
function sendTooLarge(rows: readonly Row[], lane: LaneContext, errno = EMSGSIZE): void {
  const burst = decided(rows, lane);
  for (let i = 0; i < rows.length; i++) burst.lost[i] = burst.fate[i]! < 0 ? 0 : burst.segments[i]!;
  burst.lostErrno.fill(errno);
  countOutboundSent(burst, rows.length, lane, true);
}

t.test('what was too large for the underlay teaches the path, and its sender is told', (t) => {
  const asked: number[] = [];
  const lane = sampleLane({
    askPathMtu: (nextHop) => {
      asked.push(nextHop);
      return 1372;
    },
  });
  const frame = ipv4(1400, DONT_FRAGMENT);
  sendTooLarge([{ frame }, { frame }, { frame: ipv6(1400) }], lane);
  t.same(asked, [1], 'the first of several frames asks');
  t.equal(lane.paths.limit(1), 1372);
  t.equal(lane.paths.limit(2), 0);
  t.equal(lane.answers.count, 3, 'each sender is told');
  t.equal(toldMtu(lane), 1372);
  t.same(fitsOf([frame, ipv4(1372, DONT_FRAGMENT), ipv4(1400), ipv6(1400)], lane), [
    'tooBig',
    'next hop 1',
    'next hop 1, cut 1372',
    'tooBig',
  ]);
  const { outbound } = snapshotOf(lane);
  t.match(outbound.drops, { underlayTooBig: 3, tooBig: 2 });
  t.end();
});

t.test('of what may be cut nothing is told: the next one is cut', (t) => {
  const lane = sampleLane({ askPathMtu: () => 1200 });
  sendTooLarge([{ frame: ipv4(1400) }, { frame: ipv6(1280) }], lane);
  t.equal(lane.paths.limit(1), 1200);
  t.equal(lane.answers.count, 0);
  t.same(fitsOf([ipv4(1400), ipv6(1280)], lane), ['next hop 1, cut 1200', `next hop 1, cut ${CUT_OUTER}`]);
  t.equal(snapshotOf(lane).outbound.drops.underlayTooBig, 2);
  t.end();
});

t.test('nothing is learned from a kernel that knows no narrower path, or from another errno', (t) => {
  const frame = ipv4(1400, DONT_FRAGMENT);
  for (const known of [0, 1400, 1472]) {
    const lane = sampleLane({ askPathMtu: () => known });
    sendTooLarge([{ frame }], lane);
    t.equal(lane.paths.limit(1), 0, `the kernel says ${known}`);
    t.equal(lane.answers.count, 0);
    t.equal(snapshotOf(lane).outbound.drops.underlayTooBig, 1);
  }
  const lane = sampleLane({ askPathMtu: () => t.fail('it was asked') as unknown as number });
  sendTooLarge([{ frame }], lane, EIO);
  t.equal(lane.paths.limit(1), 0);
  t.equal(snapshotOf(lane).outbound.drops.sendFailed, 1);
  t.end();
});

t.test('a next hop beyond the room for paths is never limited', (t) => {
  const lane = sampleLane({ askPathMtu: () => 1000 });
  const frame = ipv4(1400, DONT_FRAGMENT, '10.1.4.4');
  sendTooLarge([{ frame }], lane);
  t.equal(lane.paths.limit(MAX_PEERS), 0);
  t.equal(lane.answers.count, 0);
  t.same(fitsOf([frame], lane), ['next hop 3']);
  const { outbound } = snapshotOf(lane);
  t.equal(outbound.drops.underlayTooBig, 1);
  t.equal(droppedFrames(outbound), 1);
  t.end();
});

for (const copyClass of [true, false]) {
  t.test(
    `the outer header has ${copyClass ? 'the class of the frame inside' : 'no class when it is not copied'}`,
    (t) => {
      const lane = sampleLane({ copyClass });
      const classes = [0, 1, 2, 3, 0x2e << 2, 0xff];
      const rows = classes.flatMap((trafficClass) => [
        { frame: innerFrame({ tos: trafficClass }), outerClass: 77 },
        { frame: innerIpv6Frame({ destination: 'fd00:1:0:2::2', trafficClass }), outerClass: 77 },
      ]);
      const burst = decided(rows, lane);
      const expected = classes.flatMap((trafficClass) => (copyClass ? [trafficClass, trafficClass] : [0, 0]));
      t.same(Array.from(burst.outerClass.subarray(0, rows.length)), expected);
      rows.forEach(({ frame }, i) =>
        t.same(rowFrame(burst, i).slice(0, 2), frame.slice(0, 2), 'the inner one stays'),
      );
      t.end();
    },
  );
}
