import t from 'tap';

import { DROP_REASONS, DropReason } from '../../src/encap/drop_reason.js';
import {
  INBOUND,
  LaneCounters,
  OUTBOUND,
  droppedFrames,
  readCounters,
  sumCounters,
  sumPeer,
} from '../../src/workers/counters.js';
import type { DirectionCounters } from '../../src/workers/counters.js';

function counters(maxPeers = 4): LaneCounters {
  return new LaneCounters(new SharedArrayBuffer(LaneCounters.byteLength(maxPeers)), maxPeers);
}

/** Every number of a direction, drops under their own names. */
function numbers({ drops, ...fields }: DirectionCounters): Record<string, number> {
  return { ...fields, ...drops };
}

t.test('a fresh buffer counts zero everywhere', (t) => {
  const { outbound, inbound } = readCounters(counters());
  for (const direction of [outbound, inbound]) {
    t.ok(Object.values(numbers(direction)).every((value) => value === 0));
    t.same(
      Object.keys(direction.drops),
      DROP_REASONS.map(({ name }) => name),
    );
  }
  t.end();
});

t.test('every count has a word of its own, in each direction', (t) => {
  const lane = counters();
  const expected: Record<string, number>[] = [];
  let next = 1;
  for (const direction of [OUTBOUND, INBOUND]) {
    const [frames, bytes, rows, superframes] = [next++, next++, next++, next++] as const;
    lane.addReceived(direction, frames, bytes, rows, superframes);
    const [sentFrames, sentBytes, sentRows, sentSuperframes] = [next++, next++, next++, next++] as const;
    lane.addSent(direction, sentFrames, sentBytes, sentRows, sentSuperframes);
    const [answersSent, answersLost] = [next++, next++] as const;
    lane.addAnswers(direction, answersSent, answersLost);
    lane.addSuppressedAnswer(direction);
    const drops: Record<string, number> = {};
    for (const { name, code } of DROP_REASONS) {
      drops[name] = next;
      lane.addDrop(direction, code, next++);
    }
    expected.push({
      framesReceived: frames,
      bytesReceived: bytes,
      rowsReceived: rows,
      superframesReceived: superframes,
      framesSent: sentFrames,
      bytesSent: sentBytes,
      rowsSent: sentRows,
      superframesSent: sentSuperframes,
      answersSent,
      answersSuppressed: 1,
      answersLost,
      bursts: 1,
      ...drops,
    });
  }
  const { outbound, inbound } = readCounters(lane);
  t.same([numbers(outbound), numbers(inbound)], expected);
  for (let id = 0; id < 4; id++) {
    t.same(
      lane.readPeer(id),
      { framesOut: 0, bytesOut: 0, framesIn: 0, bytesIn: 0 },
      'peers are apart from drops',
    );
  }
  t.end();
});

t.test('peers have words of their own, and ids beyond the room are only in the totals', (t) => {
  const lane = counters(2);
  lane.addToPeer(1, 3, 300);
  lane.addFromPeer(1, 4, 400);
  lane.addToPeer(0, 1, 10);
  lane.addToPeer(2, 7, 700);
  lane.addFromPeer(65_000, 7, 700);
  t.same(lane.readPeer(0), { framesOut: 1, bytesOut: 10, framesIn: 0, bytesIn: 0 });
  t.same(lane.readPeer(1), { framesOut: 3, bytesOut: 300, framesIn: 4, bytesIn: 400 });
  t.same(lane.readPeer(2), { framesOut: 0, bytesOut: 0, framesIn: 0, bytesIn: 0 });
  t.same(lane.readPeer(65_000), { framesOut: 0, bytesOut: 0, framesIn: 0, bytesIn: 0 });
  t.equal(droppedFrames(readCounters(lane).inbound), 0);
  t.end();
});

t.test('two views of one buffer see one count', (t) => {
  const buffer = new SharedArrayBuffer(LaneCounters.byteLength(1));
  new LaneCounters(buffer, 1).addDrop(INBOUND, DropReason.martian, 5);
  t.equal(readCounters(new LaneCounters(buffer, 1)).inbound.drops.martian, 5);
  t.end();
});

t.test('numbers beyond 32 bits are exact', (t) => {
  const lane = counters();
  lane.addSent(OUTBOUND, 2 ** 32, 2 ** 52, 1, 0);
  lane.addSent(OUTBOUND, 1, 1, 1, 0);
  t.match(readCounters(lane).outbound, { framesSent: 2 ** 32 + 1, bytesSent: 2 ** 52 + 1, rowsSent: 2 });
  t.end();
});

t.test('a buffer that is too small is refused', (t) => {
  t.throws(() => new LaneCounters(new SharedArrayBuffer(LaneCounters.byteLength(4) - 8), 4), RangeError);
  t.end();
});

t.test('lanes add up', (t) => {
  const [a, b] = [counters(), counters()];
  a.addReceived(OUTBOUND, 10, 1000, 5, 1);
  b.addReceived(OUTBOUND, 20, 2000, 7, 2);
  a.addDrop(OUTBOUND, DropReason.noRoute, 3);
  b.addDrop(OUTBOUND, DropReason.noRoute, 4);
  b.addDrop(OUTBOUND, DropReason.tooBig, 1);
  b.addSent(INBOUND, 1, 2, 3, 4);
  a.addToPeer(1, 5, 50);
  b.addToPeer(1, 6, 60);
  b.addFromPeer(1, 1, 9);
  const total = sumCounters([readCounters(a), readCounters(b)]);
  t.match(total.outbound, {
    framesReceived: 30,
    bytesReceived: 3000,
    rowsReceived: 12,
    superframesReceived: 3,
  });
  t.equal(total.outbound.bursts, 2);
  t.equal(total.outbound.drops.noRoute, 7);
  t.equal(droppedFrames(total.outbound), 8);
  t.match(total.inbound, { framesSent: 1, bytesSent: 2, rowsSent: 3, superframesSent: 4 });
  t.same(sumPeer([a, b], 1), { framesOut: 11, bytesOut: 110, framesIn: 1, bytesIn: 9 });
  t.end();
});

t.test('no lane at all adds up to zeros, and a sum leaves its parts alone', (t) => {
  t.same(sumCounters([]), readCounters(counters()));
  const lane = counters();
  lane.addDrop(INBOUND, DropReason.martian, 1);
  const snapshot = readCounters(lane);
  sumCounters([snapshot, snapshot]);
  t.equal(snapshot.inbound.drops.martian, 1);
  t.end();
});
