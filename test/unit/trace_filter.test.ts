import t from 'tap';

import { DROP_REASONS } from '../../src/encap/drop_reason.js';
import { INBOUND, OUTBOUND } from '../../src/workers/counters.js';
import { checkTraceOptions, type TraceFilter, type TraceOptions } from '../../src/workers/trace_filter.js';
import { type PlainFrame, referenceMatch } from '../reference/trace_match.js';
import { seededRandom } from '../reference/seeded_random.js';
import { parseAddress } from '../../src/ip_address.js';
import { innerFrame } from './inner_frame.js';
import { NEXT_HOPS, ports, readAll, traced, tracedBurst, type TracedRow } from './trace_fixture.js';

const seed = Number(process.env['TEST_SEED'] ?? Date.now() % 1_000_000);
const random = seededRandom(seed);

function pick<T>(choices: readonly T[]): T {
  return choices[Math.floor(random() * choices.length)]!;
}

function maybe<T>(choices: readonly T[]): T | undefined {
  return random() < 0.25 ? pick(choices) : undefined;
}

const HOSTS4 = ['10.1.1.2', '10.1.1.3', '10.1.2.2', '10.2.0.1', '192.168.7.7'];
const HOSTS6 = ['fd00::1', 'fd00::1:2', 'fd00:1::', '2001:db8::8000:0:0:1', '2001:db8::1'];
const PREFIXES = [
  ...['0.0.0.0/0', '10.1.0.0/16', '10.1.1.0/24', '10.1.1.2/31', '10.1.1.2', '192.168.7.7/32', '128.0.0.0/1'],
  ...['::/0', 'fd00::/8', 'fd00::/64', 'fd00::1', '2001:db8::/65', '2001:db8:0:0:8000::/65', 'fd00::1:2/128'],
];
const PORTS = [0, 80, 443, 40000, 65535];
const PROTOCOLS = [1, 6, 17, 33, 47, 58, 132, 136];
const WITH_PORTS = new Set([6, 17, 33, 132, 136]);
const PEERS = ['192.0.2.2', '192.0.2.3', '192.0.2.9'];
const ERRNO = { EAGAIN: 11, EHOSTUNREACH: 113, EPERM: 1, EMSGSIZE: 90, EINVAL: 22 };
const REASON_OF_ERRNO: Record<number, string> = {
  11: 'sendBufferFull',
  113: 'underlayUnreachable',
  1: 'sendRefused',
  90: 'underlayTooBig',
  22: 'sendFailed',
};

function reasonCode(name: string): number {
  return DROP_REASONS.find((entry) => entry.name === name)!.code;
}

interface Built {
  readonly frame: Uint8Array;
  readonly flow: PlainFrame['flow'];
}

function ipv4(): Built {
  const [source, destination, protocol] = [pick(HOSTS4), pick(HOSTS4), pick(PROTOCOLS)];
  const pair = [pick(PORTS), pick(PORTS)] as const;
  const options = new Uint8Array(pick([0, 0, 4, 40]));
  const fragment = pick([0, 0, 0x4000, 0x2000, 0x0001, 0x2007, 0x1fff]);
  const payload = pick([ports(...pair), ports(...pair), new Uint8Array(3), ports(...pair, 1400)]);
  const frame = innerFrame({ source, destination, protocol, fragment, options, payload });
  const hasPorts = WITH_PORTS.has(protocol) && (fragment & 0x1fff) === 0 && payload.length > 3;
  return { frame, flow: { source, destination, protocol, ports: hasPorts ? pair : undefined } };
}

/** An IPv6 frame, perhaps with extension headers (RFC 8200 section 4). */
function ipv6(): Built {
  const [source, destination, protocol] = [pick(HOSTS6), pick(HOSTS6), pick(PROTOCOLS)];
  const pair = [pick(PORTS), pick(PORTS)] as const;
  const later = random() < 0.1;
  const kinds = pick([[], [], [0], [60, 43], [51], [0, 44]]).map((kind) => kind);
  if (later) kinds.push(44);
  const bytes: number[] = [0x60, 0, 0, 0, 0, 0, kinds[0] ?? protocol, 64];
  for (const text of [source, destination]) {
    for (const word of parseAddress(text).words) {
      bytes.push((word >>> 24) & 255, (word >>> 16) & 255, (word >>> 8) & 255, word & 255);
    }
  }
  kinds.forEach((kind, i) => {
    const units = kind === 44 ? 0 : pick([0, 1]);
    const length = 8 + units * (kind === 51 ? 4 : 8);
    const extension = new Array<number>(length).fill(0);
    extension[0] = kinds[i + 1] ?? protocol;
    extension[1] = units;
    if (kind === 44 && later && i === kinds.length - 1) extension[3] = 8;
    bytes.push(...extension);
  });
  const payload = random() < 0.8;
  const frame = Uint8Array.from([...bytes, ...(payload ? ports(...pair) : [])]);
  frame[5] = frame.length - 40; // below 256
  const hasPorts = WITH_PORTS.has(protocol) && payload && !later;
  return { frame, flow: { source, destination, protocol, ports: hasPorts ? pair : undefined } };
}

function noHeader(): Built {
  const frames = [
    [],
    [0x45],
    new Array<number>(19).fill(0x45),
    new Array<number>(39).fill(0x60),
    new Array<number>(60).fill(0x15),
  ];
  return { frame: Uint8Array.from(pick(frames)), flow: undefined };
}

function randomRow(direction: PlainFrame['direction']): { row: TracedRow; plain: PlainFrame } {
  const { frame, flow } = random() < 0.05 ? noHeader() : random() < 0.5 ? ipv4() : ipv6();
  const outerSource = pick(PEERS);
  const dropped = random() < 0.4 ? pick(DROP_REASONS).code : 0;
  const id = pick([...NEXT_HOPS.keys()]);
  const fate = dropped > 0 ? -dropped : direction === 'outbound' ? id : 0;
  const lost = random() < 0.2 ? 1 : 0;
  const lostErrno = lost > 0 ? pick(Object.values(ERRNO)) : 0;
  const lossReason = direction === 'inbound' ? 'tunWriteFailed' : REASON_OF_ERRNO[lostErrno]!;
  const reason = dropped > 0 ? dropped : lost > 0 ? reasonCode(lossReason) : 0;
  const leaves = fate > 0 ? NEXT_HOPS.get(id)!.address : undefined;
  const peer = direction === 'inbound' ? outerSource : leaves;
  return {
    row: { frame, fate, outerSource, lost, lostErrno },
    plain: { direction, flow, reason, peer },
  };
}

function randomFilter(): TraceFilter {
  return {
    host: maybe(PREFIXES),
    source: maybe(PREFIXES),
    destination: maybe(PREFIXES),
    protocol: maybe(PROTOCOLS),
    port: maybe(PORTS),
    sourcePort: maybe(PORTS),
    destinationPort: maybe(PORTS),
    direction: maybe(['outbound', 'inbound'] as const),
    verdict: maybe(['forwarded', 'dropped'] as const),
    reason: maybe(DROP_REASONS)?.name,
    peer: maybe(PEERS),
  };
}

t.test(`a lane records the frames that a plain reference picks (TEST_SEED=${seed})`, (t) => {
  let matches = 0;
  for (let round = 0; round < 200; round++) {
    const { tracers, reader } = traced();
    // Single conditions first: together they seldom let anything through.
    const filter = randomFilter();
    const fields = Object.entries(filter).filter(([, value]) => value !== undefined);
    const options = (round % 2 === 0 ? filter : Object.fromEntries(fields.slice(0, 1))) as TraceOptions;
    reader.start({ ...options, recordsPerSecond: 10_000 });
    for (const direction of ['outbound', 'inbound'] as const) {
      const rows = Array.from({ length: 24 }, () => randomRow(direction));
      const burst = tracedBurst(rows.map(({ row }) => row));
      tracers[0]!.record(direction === 'outbound' ? OUTBOUND : INBOUND, burst, rows.length, 0, true);
      const records = readAll(reader);
      const expected = rows.filter(({ plain }) => referenceMatch(options, plain));
      matches += expected.length;
      const seen = records.map(({ head }) => [...head]);
      const wanted = expected.map(({ row }) => [...row.frame.subarray(0, 120)]);
      if (!t.strictSame(seen, wanted, JSON.stringify(options))) return t.end();
      for (const [i, { flow, reason }] of records.entries()) {
        const { plain } = expected[i]!;
        t.equal(reason, DROP_REASONS.find(({ code }) => code === plain.reason)?.name ?? null);
        const [sourcePort, destinationPort] = plain.flow?.ports ?? [-1, -1];
        t.match(
          flow,
          plain.flow && {
            source: plain.flow.source,
            destination: plain.flow.destination,
            protocol: plain.flow.protocol,
            sourcePort,
            destinationPort,
          },
        );
      }
    }
    reader.stop();
  }
  t.ok(matches > 500, `${matches} frames matched`);
  t.end();
});

t.test('whatever the bytes are, a lane neither throws nor reads beyond its frame', (t) => {
  const lanes = [0x45, 0x00, 0x11].map((filler) => ({ filler, ...traced() }));
  for (const { reader } of lanes) reader.start({ recordsPerSecond: 10_000 });
  for (let round = 0; round < 800; round++) {
    const frame = Uint8Array.from({ length: Math.floor(random() * 130) }, () => Math.floor(random() * 256));
    frame[0] = pick([0x40, 0x4f, 0x60, 0x45, 0x00]);
    if (frame.length > 9) frame[6] = pick([0, 43, 44, 51, 60, 6]);
    if (frame.length > 9) frame[9] = pick([6, 17, 1]);
    const segments = pick([0, 1, 44]);
    const hadLoss = random() < 0.5;
    const shown = lanes.map(({ filler, tracers, reader }) => {
      tracers[0]!.record(INBOUND, tracedBurst([{ frame, segments }], filler), 1, round, hadLoss);
      return readAll(reader);
    });
    if (!t.strictSame(shown[0], shown[1]) || !t.strictSame(shown[0], shown[2])) return t.end();
    t.equal(shown[0]!.length, 1);
    for (const { tracers } of lanes) {
      tracers[0]!.record(OUTBOUND, tracedBurst([{ frame, length: pick([-1, 70_000]) }]), 1, round, hadLoss);
    }
    for (const { reader } of lanes) readAll(reader);
  }
  t.end();
});

t.test('a filter that means nothing is refused by its name', (t) => {
  const rows: [object, RegExp][] = [
    [{ host: '10.1.2' }, /^host: .*10\.1\.2.* is not an IPv4 address/],
    [{ source: '10.1.2.3/24' }, /^source: .*the prefix is 10\.1\.2\.0\/24/],
    [{ destination: 'fd00::g' }, /^destination: .*is not an IPv6 address/],
    [{ peer: '10.1.0.0/16' }, /^peer: /],
    [{ protocol: 256 }, /^protocol: 256 is not a whole number from 0 to 255/],
    [{ port: 65_536 }, /^port: /],
    [{ sourcePort: -1 }, /^sourcePort: /],
    [{ destinationPort: NaN }, /^destinationPort: /],
    [{ direction: 'up' }, /^direction: "up" is not one of outbound, inbound/],
    [{ verdict: 'lost' }, /^verdict: "lost" is not one of/],
    [{ reason: 'spoofedSorce' }, /^reason: .*did you mean spoofedSource\?/],
    [{ reason: 'toString' }, /^reason: .*there are noRoute, /],
    [{ recordsPerSecond: 0 }, /^recordsPerSecond: 0 is not a whole number from 1 to 10000/],
    [{ recordsPerSecond: 10_001 }, /^recordsPerSecond: /],
  ];
  for (const [options, message] of rows) {
    t.throws(() => checkTraceOptions(options), { code: 'ERR_TRACE_FILTER', message });
    t.throws(() => traced().reader.start(options), { code: 'ERR_TRACE_FILTER' });
  }
  t.doesNotThrow(() => checkTraceOptions({}));
  t.end();
});
