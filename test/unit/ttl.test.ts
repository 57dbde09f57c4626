import assert from 'node:assert/strict';

import fc from 'fast-check';
import t from 'tap';

import { decrementHopLimit, decrementTtl } from '../../src/encap/ttl.js';
import { referenceChecksum } from '../reference/checksum.js';
import { innerFrame } from './inner_frame.js';
import { innerIpv6Frame } from './inner_ipv6_frame.js';
import { TEST_SEED } from './test_seed.js';

/** The header after the step, with its checksum computed from scratch. */
function recomputed(header: Uint8Array): Uint8Array {
  const expected = header.slice();
  expected[8] = expected[8]! - 1;
  expected[10] = 0;
  expected[11] = 0;
  const checksum = referenceChecksum(expected);
  expected[10] = checksum >> 8;
  expected[11] = checksum & 255;
  return expected;
}

function stepped(header: Uint8Array, at: number): Uint8Array {
  const slab = new Uint8Array(at + header.length + 1);
  slab.set(header, at);
  decrementTtl(slab, at);
  return slab.slice(at, at + header.length);
}

t.test('every TTL 1..255 with every protocol: the checksum is that of a computation from scratch', (t) => {
  let wrong = 0;
  for (let ttl = 1; ttl <= 255; ttl++) {
    for (let protocol = 0; protocol <= 255; protocol++) {
      const header = innerFrame({ ttl, protocol, payload: new Uint8Array(0) });
      if (Buffer.compare(stepped(header, 0), recomputed(header)) !== 0) wrong++;
    }
  }
  t.equal(wrong, 0);
  t.end();
});

t.test('every checksum 0x0000..0xfffe, reached through the identification, is corrected', (t) => {
  const seen = new Set<number>();
  let wrong = 0;
  for (let identification = 0; identification <= 0xffff; identification++) {
    const header = innerFrame({ identification, payload: new Uint8Array(0) });
    seen.add((header[10]! << 8) | header[11]!);
    if (Buffer.compare(stepped(header, 0), recomputed(header)) !== 0) wrong++;
  }
  t.equal(wrong, 0);
  t.equal(seen.size, 0xffff, 'a right checksum is never 0xffff, and is everything else');
  t.end();
});

t.test('a sender may write the zero of ones complement as 0xffff: the result is still right', (t) => {
  const zeroChecksum = Array.from({ length: 0x10000 }, (_, identification) =>
    innerFrame({ identification, payload: new Uint8Array(0) }),
  ).find((header) => header[10] === 0 && header[11] === 0)!;
  const otherZero = zeroChecksum.slice();
  otherZero.fill(0xff, 10, 12);
  t.same(stepped(otherZero, 0), recomputed(zeroChecksum));
  t.end();
});

t.test(`any header, with options, at any alignment (TEST_SEED=${TEST_SEED})`, (t) => {
  const header = fc.record({
    tos: fc.nat(255),
    ttl: fc.integer({ min: 1, max: 255 }),
    protocol: fc.nat(255),
    identification: fc.nat(0xffff),
    fragment: fc.nat(0xffff),
    totalBytes: fc.nat(0xffff),
    source: fc.ipV4(),
    destination: fc.ipV4(),
    options: fc.nat(10).chain((words) => fc.uint8Array({ minLength: words * 4, maxLength: words * 4 })),
  });
  fc.assert(
    fc.property(header, fc.nat(15), (spec, at) => {
      const bytes = innerFrame({ ...spec, payload: new Uint8Array(0) });
      assert.deepEqual(stepped(bytes, at), recomputed(bytes));
    }),
    { seed: TEST_SEED, numRuns: 500 },
  );
  t.pass('no counterexample');
  t.end();
});

t.test('every hop limit 1..255: one less, and nothing else changes', (t) => {
  let wrong = 0;
  for (let hopLimit = 1; hopLimit <= 255; hopLimit++) {
    const slab = Uint8Array.of(9, ...innerIpv6Frame({ hopLimit }), 9);
    decrementHopLimit(slab, 1);
    const expected = Uint8Array.of(9, ...innerIpv6Frame({ hopLimit: hopLimit - 1 }), 9);
    if (Buffer.compare(slab, expected) !== 0) wrong++;
  }
  t.equal(wrong, 0);
  t.end();
});
