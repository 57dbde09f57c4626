import assert from 'node:assert/strict';

import fc from 'fast-check';
import t from 'tap';

import {
  MAX_EXTENSION_HEADERS,
  UPPER_LAYER_UNKNOWN,
  findUpperLayer,
  upperOffset,
  upperProtocol,
} from '../../src/encap/ipv6_extensions.js';
import { referenceUpperLayer } from '../reference/upper_layer.js';
import type { UpperLayer } from '../reference/upper_layer.js';
import type { Extension } from './inner_ipv6_frame.js';
import { authentication, chained, extension, fragmentHeader, innerIpv6Frame } from './inner_ipv6_frame.js';
import { TEST_SEED } from './test_seed.js';

const [HOP_BY_HOP, ROUTING, ESP, NO_NEXT_HEADER, DESTINATION_OPTIONS] = [0, 43, 50, 59, 60];
const [TCP, UDP, ICMPV6] = [6, 17, 58];

/** Over a slab in which `around` lies before and behind what is there of the packet. */
function upperLayerOf(frame: Uint8Array, length = frame.length, at = 3, around = 0): UpperLayer {
  const slab = new Uint8Array(at + length + 3000).fill(around);
  slab.set(frame.subarray(0, length), at);
  const found = findUpperLayer(slab, at, length);
  return found === UPPER_LAYER_UNKNOWN
    ? 'unknown'
    : { protocol: upperProtocol(found), offset: upperOffset(found) };
}

function frameWith(extensions: readonly Extension[], protocol = UDP, upper = new Uint8Array(8)): Uint8Array {
  return innerIpv6Frame(chained(extensions, protocol, upper));
}

const rows: readonly { rule: string; frame: Uint8Array; upper: UpperLayer }[] = [
  { rule: 'no extension header', frame: frameWith([]), upper: { protocol: UDP, offset: 40 } },
  ...([HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS, 135, 139, 140] as const).map((header) => ({
    rule: `header ${header} is counted in units of 8 bytes, but for the first`,
    frame: frameWith([extension(header, 2)], TCP),
    upper: { protocol: TCP, offset: 64 },
  })),
  {
    rule: 'an authentication header is counted in words, but for the first two',
    frame: frameWith([authentication(4)]),
    upper: { protocol: UDP, offset: 64 },
  },
  {
    rule: 'a first fragment has its upper layer',
    frame: frameWith([fragmentHeader(0)], ICMPV6),
    upper: { protocol: ICMPV6, offset: 48 },
  },
  {
    rule: 'a later fragment tells the protocol, and has none of its header',
    frame: frameWith([fragmentHeader(1)], ICMPV6),
    upper: { protocol: ICMPV6, offset: 0 },
  },
  {
    rule: 'the last fragment of all',
    frame: frameWith([fragmentHeader(8191, false)], TCP),
    upper: { protocol: TCP, offset: 0 },
  },
  {
    rule: 'a later fragment of a chain of options tells nothing',
    frame: frameWith([fragmentHeader(1)], DESTINATION_OPTIONS),
    upper: 'unknown',
  },
  {
    rule: 'the usual order of RFC 8200 section 4.1',
    frame: frameWith([
      extension(HOP_BY_HOP),
      extension(DESTINATION_OPTIONS),
      extension(ROUTING, 4),
      fragmentHeader(0),
      authentication(),
      extension(DESTINATION_OPTIONS, 1),
    ]),
    upper: { protocol: UDP, offset: 40 + 8 + 8 + 40 + 8 + 24 + 16 },
  },
  { rule: 'ESP hides what follows', frame: frameWith([], ESP), upper: { protocol: ESP, offset: 40 } },
  {
    rule: 'nothing follows "no next header"',
    frame: frameWith([extension(HOP_BY_HOP)], NO_NEXT_HEADER),
    upper: { protocol: NO_NEXT_HEADER, offset: 48 },
  },
  { rule: 'an unassigned number', frame: frameWith([], 254), upper: { protocol: 254, offset: 40 } },
  {
    rule: 'a header that is announced and not there',
    frame: frameWith([extension(HOP_BY_HOP)], UDP, new Uint8Array(0)),
    upper: { protocol: UDP, offset: 48 },
  },
  {
    rule: `${MAX_EXTENSION_HEADERS} headers are walked`,
    frame: frameWith(Array.from({ length: 8 }, () => extension(DESTINATION_OPTIONS))),
    upper: { protocol: UDP, offset: 40 + 8 * 8 },
  },
  {
    rule: 'one more is too many',
    frame: frameWith(Array.from({ length: 9 }, () => extension(DESTINATION_OPTIONS))),
    upper: 'unknown',
  },
  {
    rule: 'a header longer than the packet',
    frame: innerIpv6Frame({ nextHeader: ROUTING, payload: Uint8Array.of(UDP, 255, 0, 0, 0, 0, 0, 0) }),
    upper: 'unknown',
  },
];

for (const { rule, frame, upper } of rows) {
  t.test(rule, (t) => {
    t.same(upperLayerOf(frame), upper);
    t.same(referenceUpperLayer(frame), upper);
    t.end();
  });
}

t.test('a chain that is cut anywhere is unknown, whatever lies behind it', (t) => {
  const frame = frameWith([extension(HOP_BY_HOP, 1), fragmentHeader(0), authentication()], TCP);
  const upperAt = 40 + 16 + 8 + 24;
  for (let length = 40; length < upperAt; length++) {
    for (const around of [0, TCP, 0xff]) {
      t.equal(upperLayerOf(frame, length, 3, around), 'unknown', `${length} bytes`);
    }
  }
  t.same(upperLayerOf(frame, upperAt), { protocol: TCP, offset: upperAt });
  t.end();
});

t.test('bytes beyond the payload length are none of the packet', (t) => {
  const frame = innerIpv6Frame({ ...chained([extension(ROUTING)], UDP, new Uint8Array(8)), payloadBytes: 4 });
  t.equal(upperLayerOf(frame), 'unknown');
  t.end();
});

const anyHeader = fc.constantFrom(0, 43, 44, 50, 51, 58, 59, 60, 135, 6, 17);
const lastHeader = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(TCP, UDP, ICMPV6, ESP) }, anyHeader);
const chain = fc
  .array(
    fc.oneof(
      {
        weight: 4,
        arbitrary: fc.tuple(fc.constantFrom(0, 43, 60, 135), fc.nat(2)).map((x) => extension(...x)),
      },
      { weight: 2, arbitrary: fc.constantFrom(0, 3).map((offset) => fragmentHeader(offset)) },
      { weight: 1, arbitrary: fc.nat(6).map((words) => authentication(words)) },
    ),
    { maxLength: 10 },
  )
  .chain((extensions) => fc.tuple(fc.constant(extensions), lastHeader, fc.uint8Array({ maxLength: 24 })));

t.test(`any chain, damaged and cut, agrees with the rules one by one (TEST_SEED=${TEST_SEED})`, (t) => {
  const seen = { unknown: 0, later: 0, found: 0 };
  const damage = fc.option(fc.tuple(fc.nat(100), fc.oneof(anyHeader, fc.nat(255))), {
    freq: 1,
    nil: undefined,
  });
  fc.assert(
    fc.property(
      chain,
      damage,
      fc.constantFrom(0, 0, 0, 1, 8, 12),
      fc.constantFrom(0, 6, 255),
      ([list, next, upper], hurt, cut, around) => {
        const frame = frameWith(list, next, upper);
        if (hurt !== undefined && hurt[0] < frame.length - 40) frame[40 + hurt[0]] = hurt[1];
        const length = Math.max(40, frame.length - cut);
        const expected = referenceUpperLayer(frame.slice(0, length));
        if (expected === 'unknown') seen.unknown++;
        else if (expected.offset === 0) seen.later++;
        else seen.found++;
        assert.deepEqual(upperLayerOf(frame, length, 1, around), expected);
      },
    ),
    { seed: TEST_SEED, numRuns: 5000 },
  );
  for (const [what, count] of Object.entries(seen)) t.ok(count > 100, `${what}: ${count}`);
  t.end();
});
