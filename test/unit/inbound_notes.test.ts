/** What a lane takes from what comes in besides the frames: congestion marks, who was refused, echoes of path probes. */

import t from 'tap';

import { DropReason } from '../../src/encap/drop_reason.js';
import { ECN_CE, ECN_ECT_0, ECN_ECT_1, ECN_NOT_ECT } from '../../src/encap/ecn.js';
import { writeEcho } from '../../src/encap/icmp_echo.js';
import { formatAddress, parseAddress } from '../../src/ip_address.js';
import { decideInbound } from '../../src/workers/inbound.js';
import { LaneContext, SourceCheck } from '../../src/workers/lane_context.js';
import { referenceChecksum } from '../reference/checksum.js';
import { innerFrame } from './inner_frame.js';
import { decodeIpv6, innerIpv6Frame } from './inner_ipv6_frame.js';
import {
  ECHO_IDENTIFIER,
  STRANGER,
  burstOf,
  fateName,
  rowFrame,
  sampleLane,
  snapshotOf,
} from './lane_fixture.js';
import type { Row } from './lane_fixture.js';

const DSCP = 0x2e << 2;

/** Frames of a traffic class from 10.1.2.2 and fd00:1:0:2::2 to our subnets. */
function ofBothFamilies(trafficClass: number, hopLimit = 64): Uint8Array[] {
  return [
    innerFrame({ source: '10.1.2.2', destination: '10.1.1.2', tos: trafficClass, ttl: hopLimit }),
    innerIpv6Frame({ source: 'fd00:1:0:2::2', destination: 'fd00:1:0:1::2', trafficClass, hopLimit }),
  ];
}

function classOf(frame: Uint8Array): number {
  return frame[0]! >> 4 === 6 ? decodeIpv6(frame).trafficClass : frame[1]!;
}

/** Fate and traffic class of each frame that came in under an outer header of this class. */
function marked(innerClass: number, outerClass: number, lane = sampleLane()): (string | number)[][] {
  const rows = ofBothFamilies(innerClass).map((frame) => ({ frame, outerClass }));
  const burst = burstOf(rows);
  decideInbound(burst, rows.length, lane);
  const ipv4 = rowFrame(burst, 0);
  t.equal(referenceChecksum(ipv4.subarray(0, 20)), 0, 'the checksum is right');
  return [0, 1].map((i) => [fateName(burst.fate[i]!), classOf(rowFrame(burst, i))]);
}

t.test(
  'a congestion mark of the underlay reaches a transport that knows marks; the inner DSCP stays',
  (t) => {
    for (const [inner, outer, after] of [
      [ECN_ECT_0, ECN_CE, ECN_CE],
      [ECN_ECT_1, ECN_CE, ECN_CE],
      [ECN_CE, ECN_NOT_ECT, ECN_CE],
      [ECN_ECT_0, ECN_ECT_1, ECN_ECT_1],
      [ECN_ECT_0, ECN_ECT_0, ECN_ECT_0],
      [ECN_NOT_ECT, ECN_ECT_0, ECN_NOT_ECT],
      [ECN_NOT_ECT, ECN_NOT_ECT, ECN_NOT_ECT],
    ] as const) {
      const expected = ['local', DSCP | after];
      t.same(
        marked(DSCP | inner, (0x0a << 2) | outer),
        [expected, expected],
        `inner ${inner}, outer ${outer}`,
      );
    }
    t.end();
  },
);

t.test('a mark on a frame whose transport knows none is a loss, and the frame is as it was', (t) => {
  const lane = sampleLane();
  const expected = ['ecnNotCapable', DSCP];
  t.same(marked(DSCP, ECN_CE, lane), [expected, expected]);
  t.equal(snapshotOf(lane).inbound.drops.ecnNotCapable, 2);
  t.equal(lane.answers.count, 0);
  t.same(lane.counters.readPeer(1).framesIn, 0, 'it counts for no peer');
  t.end();
});

t.test('time exceeded is said before the mark is looked at', (t) => {
  const lane = sampleLane();
  const rows = ofBothFamilies(ECN_NOT_ECT, 1).map((frame) => ({ frame, outerClass: ECN_CE }));
  decideInbound(burstOf(rows), rows.length, lane);
  t.match(snapshotOf(lane).inbound.drops, { ttlExceeded: 2, ecnNotCapable: 0 });
  t.end();
});

t.test('an answer to a peer leaves with the class that it has itself', (t) => {
  for (const copyClass of [true, false]) {
    const lane = sampleLane({ copyClass });
    const rows = ofBothFamilies(DSCP | ECN_ECT_0, 1).map((frame) => ({ frame, outerClass: ECN_CE }));
    decideInbound(burstOf(rows), rows.length, lane);
    t.equal(lane.answers.count, 2);
    for (const i of [0, 1]) {
      const own = classOf(rowFrame(lane.answers.burst, i));
      t.equal(lane.answers.burst.outerClass[i], copyClass ? own : 0);
    }
  }
  t.end();
});

function decide(lane: LaneContext, ...rows: Row[]): void {
  decideInbound(burstOf(rows), rows.length, lane);
}

/** The last frame that was refused for this reason, in words. */
function suspectOf(lane: LaneContext, reason: number): Record<string, unknown> | undefined {
  const suspect = lane.suspects.read(reason);
  return (
    suspect && {
      outerSource: formatAddress(4, suspect.outerSource),
      innerSource: formatAddress(suspect.family, suspect.innerSource),
    }
  );
}

t.test('the last frame that was refused for its sender is noted, of either family', (t) => {
  const [ipv4, ipv6] = ofBothFamilies(0) as [Uint8Array, Uint8Array];
  const lane = sampleLane();
  decide(lane, { frame: ipv4 }, { frame: ipv6 });
  const { unknownPeer, spoofedSource } = DropReason;
  t.equal(suspectOf(lane, unknownPeer), undefined, 'nothing is noted of those that are let in');
  decide(lane, { frame: ipv6, outerSource: STRANGER }, { frame: ipv4, outerSource: STRANGER });
  t.same(suspectOf(lane, unknownPeer), { outerSource: STRANGER, innerSource: '10.1.2.2' });
  t.equal(suspectOf(lane, spoofedSource), undefined);
  decide(lane, { frame: ipv6, outerSource: '192.0.2.3' }, { frame: ipv4, outerSource: STRANGER });
  t.same(suspectOf(lane, spoofedSource), {
    outerSource: '192.0.2.3',
    innerSource: 'fd00:1:0:2::2',
  });
  t.end();
});

t.test('a frame that is refused for something else makes nobody a suspect', (t) => {
  const lane = sampleLane();
  decide(
    lane,
    { frame: new Uint8Array(0), outerSource: STRANGER },
    { frame: innerFrame({ source: '127.0.0.1' }), outerSource: STRANGER },
    { frame: innerFrame({ source: '10.1.2.2', destination: '10.99.0.1' }) },
  );
  for (const reason of [DropReason.unknownPeer, DropReason.spoofedSource])
    t.equal(lane.suspects.read(reason), undefined);
  t.end();
});

/** What comes back when the peer answers our echo request. */
function echoReply(
  source: string,
  destination: string,
  totalBytes: number,
  sequence: number,
  identifier = ECHO_IDENTIFIER,
): Uint8Array {
  const frame = writeEcho({
    source: parseAddress(source),
    destination: parseAddress(destination),
    identifier,
    sequence,
    totalBytes,
  });
  if (frame[0]! >> 4 === 6) frame[40] = 129;
  else frame[20] = 0;
  return frame;
}

t.test('an echo reply is noted for the peer that it came from, by round', (t) => {
  const lane = sampleLane();
  decide(
    lane,
    { frame: echoReply('10.1.2.0', '10.1.1.0', 1400, 7) },
    { frame: echoReply('10.1.2.0', '10.1.1.0', 1200, 7) },
    { frame: echoReply('fd00:1:0:3::', 'fd00:1:0:1::', 1300, 8), outerSource: '192.0.2.3' },
  );
  t.equal(lane.paths.largestEcho(1, 7), 1400, 'the largest of a round');
  t.equal(lane.paths.largestEcho(1, 8), 0);
  t.equal(lane.paths.largestEcho(2, 8), 1300);
  t.equal(snapshotOf(lane).inbound.framesReceived, 3);
  decide(lane, { frame: echoReply('10.1.2.0', '10.1.1.0', 1000, 9) });
  t.equal(lane.paths.largestEcho(1, 9), 1000, 'a new round begins anew');
  t.end();
});

t.test(
  'no echo is noted of another identifier, another sender, a request, or where nothing is probed',
  (t) => {
    const request = echoReply('10.1.2.0', '10.1.1.0', 1400, 7);
    request[20] = 8;
    const lane = sampleLane();
    decide(
      lane,
      { frame: echoReply('10.1.2.0', '10.1.1.0', 1400, 7, ECHO_IDENTIFIER + 1) },
      { frame: echoReply('fd00:1:0:2::', 'fd00:1:0:1::', 1400, 7, ECHO_IDENTIFIER - 1) },
      { frame: echoReply('10.1.2.0', '10.1.1.0', 1400, 7), outerSource: '192.0.2.3' },
      { frame: echoReply('10.1.2.0', '10.1.1.0', 1400, 7), outerSource: STRANGER },
      { frame: echoReply('10.1.2.0', '10.99.0.1', 1400, 7) },
      { frame: request },
    );
    for (const id of [1, 2]) t.equal(lane.paths.largestEcho(id, 7), 0);
    t.match(snapshotOf(lane).inbound.drops, { spoofedSource: 1, unknownPeer: 1, notLocal: 1 });

    const idle = new LaneContext({
      ...sampleLane(),
      tunAddress: lane.tunAddress,
      tunAddressIpv6: lane.tunAddressIpv6,
      echoIdentifier: 0,
    });
    decide(idle, { frame: echoReply('10.1.2.0', '10.1.1.0', 1400, 7, 0) });
    t.equal(idle.paths.largestEcho(1, 7), 0, 'identifier 0 is nobody');
    t.end();
  },
);

t.test('an echo of nobody, where anybody may send, is noted for nobody', (t) => {
  const lane = sampleLane({ sourceCheck: SourceCheck.off });
  decide(lane, { frame: echoReply('10.99.0.1', '10.1.1.0', 1400, 7), outerSource: STRANGER });
  t.equal(snapshotOf(lane).inbound.framesReceived, 1);
  for (const id of [0, 1, 2]) t.equal(lane.paths.largestEcho(id, 7), 0);
  t.end();
});
