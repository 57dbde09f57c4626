import t from 'tap';

import { DropReason } from '../../src/encap/drop_reason.js';
import { INBOUND, OUTBOUND } from '../../src/workers/counters.js';
import { TraceReader } from '../../src/workers/trace_reader.js';
import { TraceRing } from '../../src/workers/trace_ring.js';
import { Tracer } from '../../src/workers/tracer.js';
import { innerFrame } from './inner_frame.js';
import { numbered, ports, readAll, traced, tracedBurst } from './trace_fixture.js';

/** What a ring holds. */
const SLOTS = 512;

function numbersOf(records: readonly { head: Uint8Array }[]): number[] {
  return records.map(({ head }) => (head[4]! << 8) | head[5]!);
}

t.test('a record tells where a frame went, or came from and why it ended', (t) => {
  const { tracers, reader } = traced();
  const frame = innerFrame({ protocol: 6, payload: ports(40000, 80, 4000) });
  const rows = [
    { frame, fate: 1 },
    { frame, fate: 2, segments: 3, wireBytes: 1460, lost: 2, lostErrno: 11 },
    { frame, fate: 1, lost: 1, lostErrno: 113 },
    { frame, fate: -DropReason.noRoute, lost: 7 },
    { frame, fate: 9 },
  ];
  reader.start({});
  tracers[0]!.record(OUTBOUND, tracedBurst(rows), rows.length, 1234, true);
  const records = readAll(reader);
  const hop = { address: '192.0.2.2', port: 8285 };
  t.match(records, [
    {
      direction: 'outbound',
      nextHop: hop,
      reason: null,
      lostSegments: 0,
      segments: 1,
      lengthBytes: frame.length,
    },
    {
      nextHop: { address: '192.0.2.3' },
      reason: 'sendBufferFull',
      lostSegments: 2,
      segments: 3,
      wireBytes: 1460,
    },
    { nextHop: hop, reason: 'underlayUnreachable', lostSegments: 1 },
    { nextHop: null, reason: 'noRoute', lostSegments: 1 },
    { nextHop: null, reason: null },
  ]);
  t.ok(records.every(({ outerSource }) => outerSource === null));
  t.ok(records.every(({ time }) => time.getTime() === 1234));
  t.strictSame(records[0]!.head, frame.slice(0, 120), 'the first 120 bytes');
  t.strictSame(records[0]!.flow, {
    family: 4,
    source: '10.1.1.2',
    destination: '10.1.2.2',
    protocol: 6,
    sourcePort: 40000,
    destinationPort: 80,
  });

  const outerSource = '198.51.100.7';
  const inbound = [
    { frame, outerSource },
    { frame, outerSource, fate: -DropReason.spoofedSource },
    { frame, outerSource, lost: 1 },
    { frame: Uint8Array.from([0x45, 1]), outerSource, fate: -DropReason.truncated },
  ];
  tracers[0]!.record(INBOUND, tracedBurst(inbound), inbound.length, 0, true);
  const reasons = [null, 'spoofedSource', 'tunWriteFailed', 'truncated'];
  t.match(
    readAll(reader),
    reasons.map((reason) => ({ direction: 'inbound', nextHop: null, reason, outerSource })),
  );
  t.end();
});

t.test('of an inbound superframe only the first datagram is kept, as another one lies behind it', (t) => {
  const { tracers, reader } = traced();
  const frame = innerFrame({ protocol: 17, payload: ports(40000, 53, 12) });
  const rows = [{ frame, segments: 3, length: frame.length + 24, wireBytes: frame.length }];
  reader.start({});
  tracers[0]!.record(INBOUND, tracedBurst(rows), 1, 0, false);
  const [record] = readAll(reader);
  t.strictSame(record!.head, frame);
  t.match(record, { lengthBytes: frame.length + 24, flow: { sourcePort: 40000, destinationPort: 53 } });
  tracers[0]!.record(OUTBOUND, tracedBurst([{ ...rows[0]!, fate: 1 }]), 1, 0, false);
  t.equal(readAll(reader)[0]!.head.length, frame.length + 24, 'an outbound one lies together');
  t.end();
});

t.test('no trace begins before the last records of the one before are read', async (t) => {
  const ends = traced();
  const shown: string[] = [];
  const listener = (name: string) => ({
    onRecord: () => void shown.push(name),
    onTotals: () => undefined,
    onEnd: () => void shown.push(`end of ${name}`),
  });
  const offer = (): void =>
    ends.tracers[0]!.record(INBOUND, tracedBurst([{ frame: numbered(1) }]), 1, 0, false);
  const first = ends.start({}, listener('first'));
  offer();
  const closing = first.close();
  t.throws(() => ends.start({}, listener('second')), { code: 'ERR_TRACE_BUSY' });
  t.match(await closing, { matched: 1, shown: 1 });
  const second = ends.start({}, listener('second'));
  offer();
  await second.close();
  t.strictSame(shown, ['first', 'end of first', 'second', 'end of second']);
});

t.test('losses of an earlier burst are not read', (t) => {
  const { tracers, reader } = traced();
  reader.start({});
  tracers[0]!.record(
    OUTBOUND,
    tracedBurst([{ frame: numbered(1), fate: 1, lost: 1, lostErrno: 11 }]),
    1,
    0,
    false,
  );
  t.match(readAll(reader), [{ reason: null, lostSegments: 0 }]);
  t.end();
});

t.test('nothing is recorded before a trace begins and after it ended', (t) => {
  const { tracers, reader } = traced();
  const [tracer] = tracers;
  const burst = tracedBurst([{ frame: numbered(1) }]);
  const offer = (): void => tracer!.record(INBOUND, burst, 1, 0, false);
  t.equal(tracer!.enabled, false);
  offer();
  reader.start({});
  t.equal(tracer!.enabled, true);
  t.equal(reader.idle, false);
  t.throws(() => reader.start({}), { code: 'ERR_TRACE_BUSY' }, 'a second trace is refused');
  offer();
  reader.stop();
  reader.stop();
  t.equal(tracer!.enabled, false);
  t.equal(reader.idle, true);
  offer();
  t.equal(readAll(reader).length, 1);
  t.match(reader.totals(), { matched: 1, shown: 1 });

  reader.start({});
  offer();
  reader.stop();
  reader.start({ reason: 'noRoute' });
  offer();
  t.equal(readAll(reader).length, 0, 'what the trace before left is gone, and so is its filter');
  t.match(reader.totals(), { matched: 0, shown: 0, limited: 0, overrun: 0 });
  t.end();
});

t.test('the rate limit and a full ring keep frames back, and each is counted', (t) => {
  const { tracers, reader } = traced();
  const rows = Array.from({ length: 300 }, (_, i) => ({ frame: numbered(i) }));
  const burst = tracedBurst(rows);
  reader.start({ recordsPerSecond: 1000 });
  tracers[0]!.record(INBOUND, burst, 300, 5, false);
  t.strictSame(
    numbersOf(readAll(reader)),
    Array.from({ length: 200 }, (_, i) => i),
    'a fifth of a second at once',
  );
  t.strictSame(reader.totals(), { matched: 300, shown: 200, limited: 100, overrun: 0, unsent: 0 });
  tracers[0]!.record(INBOUND, burst, 300, 55, false);
  t.equal(readAll(reader).length, 50, 'and what the time since brought');
  reader.stop();

  reader.start({ recordsPerSecond: 10_000 });
  for (let i = 0; i < 6; i++) tracers[0]!.record(INBOUND, burst, 100, 0, false);
  t.equal(readAll(reader).length, SLOTS);
  t.strictSame(reader.totals(), { matched: 600, shown: SLOTS, limited: 0, overrun: 600 - SLOTS, unsent: 0 });
  tracers[0]!.record(INBOUND, burst, 3, 0, false);
  t.strictSame(numbersOf(readAll(reader)), [0, 1, 2], 'once it was read, there is room');
  t.end();
});

t.test('records of several lanes come in the order of their times', (t) => {
  const { tracers, reader } = traced(2);
  reader.start({});
  const offer = (lane: number, number: number, nowMillis: number): void =>
    tracers[lane]!.record(INBOUND, tracedBurst([{ frame: numbered(number) }]), 1, nowMillis, false);
  offer(0, 1, 10);
  offer(0, 2, 30);
  offer(1, 3, 10);
  offer(1, 4, 20);
  const records = readAll(reader);
  t.strictSame(numbersOf(records), [1, 3, 4, 2]);
  t.strictSame(
    records.map(({ lane }) => lane),
    [0, 1, 1, 0],
  );
  t.end();
});

t.test('a lane that is started again goes on in the ring', (t) => {
  const buffer = TraceRing.allocate();
  const nextHops = { endpointOf: () => undefined, idsOf: () => [] };
  const reader = new TraceReader({ buffers: [buffer], underlay: 4, nextHops });
  reader.start({});
  for (const number of [1, 2, 3]) {
    new Tracer(buffer).record(INBOUND, tracedBurst([{ frame: numbered(number) }]), 1, 0, false);
  }
  t.strictSame(numbersOf(readAll(reader)), [1, 2, 3]);
  t.end();
});

t.test("the lanes' clock becomes the time of day, also where it wraps around", (t) => {
  const buffer = TraceRing.allocate();
  const nextHops = { endpointOf: () => undefined, idsOf: () => [] };
  const reader = new TraceReader({ buffers: [buffer], underlay: 4, nextHops });
  const tracer = new Tracer(buffer);
  reader.start({});
  const monotonic = Number(process.hrtime.bigint() / 1_000_000n) | 0;
  const burst = tracedBurst([{ frame: numbered(1) }]);
  for (const age of [0, 5000, 2 ** 30]) tracer.record(INBOUND, burst, 1, (monotonic - age) | 0, false);
  const now = Date.now();
  const ages = readAll(reader).map(({ time }) => now - time.getTime());
  ages.forEach((age, i) => {
    const expected = [0, 5000, 2 ** 30][i]!;
    t.ok(Math.abs(age - expected) < 1000, `${age} is about ${expected}`);
  });
  t.end();
});
