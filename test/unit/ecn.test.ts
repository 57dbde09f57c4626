import assert from 'node:assert/strict';

import fc from 'fast-check';
import t from 'tap';

import {
  ECN_CE,
  ECN_DROP,
  ECN_ECT_0,
  ECN_ECT_1,
  ECN_NOT_ECT,
  applyOuterEcn,
  decapsulatedEcn,
  outerClassOf,
} from '../../src/encap/ecn.js';
import { putTrafficClass, trafficClassOf } from '../../src/encap/traffic_class.js';
import { referenceChecksum } from '../reference/checksum.js';
import { decodeIpv4, innerFrame } from './inner_frame.js';
import { decodeIpv6, innerIpv6Frame } from './inner_ipv6_frame.js';
import { TEST_SEED } from './test_seed.js';

/** RFC 6040 figure 4: rows are the inner codepoint, columns the outer one. */
const OUTER = ['Not-ECT', 'ECT(0)', 'ECT(1)', 'CE'] as const;
const FIGURE_4 = {
  'Not-ECT': ['Not-ECT', 'Not-ECT', 'Not-ECT', 'drop'],
  'ECT(0)': ['ECT(0)', 'ECT(0)', 'ECT(1)', 'CE'],
  'ECT(1)': ['ECT(1)', 'ECT(1)', 'ECT(1)', 'CE'],
  CE: ['CE', 'CE', 'CE', 'CE'],
} as const;
/** RFC 3168 section 5, figure 1. */
const CODEPOINTS = {
  'Not-ECT': 0b00,
  'ECT(1)': 0b01,
  'ECT(0)': 0b10,
  CE: 0b11,
};

/** One builder for each family; the header's checksum, if it has one, is right. */
const FAMILIES = {
  IPv4: {
    build: (trafficClass: number) => innerFrame({ tos: trafficClass, options: Uint8Array.of(1, 1, 1, 0) }),
    read: (frame: Uint8Array) => decodeIpv4(frame).tos,
  },
  IPv6: {
    build: (trafficClass: number) => innerIpv6Frame({ trafficClass }),
    read: (frame: Uint8Array) => decodeIpv6(frame).trafficClass,
  },
} as const;

function inSlab(frame: Uint8Array, at: number, act: (slab: Uint8Array) => void): Uint8Array {
  const slab = new Uint8Array(at + frame.length + 8).fill(0xa5);
  slab.set(frame, at);
  act(slab);
  assert.ok(slab.subarray(0, at).every((byte) => byte === 0xa5));
  assert.ok(slab.subarray(at + frame.length).every((byte) => byte === 0xa5));
  return slab.slice(at, at + frame.length);
}

t.test('codepoints are those of RFC 3168', (t) => {
  t.same([ECN_NOT_ECT, ECN_ECT_1, ECN_ECT_0, ECN_CE], [0, 1, 2, 3]);
  t.end();
});

for (const inner of OUTER) {
  FIGURE_4[inner].forEach((outcome, column) => {
    const outer = OUTER[column]!;
    t.test(`inner ${inner}, outer ${outer}: ${outcome}`, (t) => {
      const [innerEcn, outerEcn] = [CODEPOINTS[inner], CODEPOINTS[outer]];
      const expected = outcome === 'drop' ? ECN_DROP : CODEPOINTS[outcome];
      t.equal(decapsulatedEcn(innerEcn, outerEcn), expected);
      for (const [family, { build }] of Object.entries(FAMILIES)) {
        for (const [innerDscp, outerDscp] of [
          [0, 0],
          [46, 0],
          [0, 63],
          [63, 10],
        ] as const) {
          const frame = build((innerDscp << 2) | innerEcn);
          let passed;
          const after = inSlab(frame, 3, (slab) => {
            passed = applyOuterEcn(slab, 3, (outerDscp << 2) | outerEcn);
          });
          t.equal(passed, outcome !== 'drop', family);
          const ecn = outcome === 'drop' ? innerEcn : expected;
          t.same(
            after,
            build((innerDscp << 2) | ecn),
            `${family}: only the mark may change, and the checksum`,
          );
        }
      }
      t.end();
    });
  });
}

for (const [family, { build, read }] of Object.entries(FAMILIES)) {
  t.test(`${family}: the outer class is the inner one, DSCP and ECN`, (t) => {
    for (let trafficClass = 0; trafficClass < 256; trafficClass++) {
      const frame = build(trafficClass);
      inSlab(frame, 7, (slab) => {
        assert.equal(outerClassOf(slab, 7), trafficClass);
        assert.equal(trafficClassOf(slab, 7), trafficClass);
      });
    }
    t.pass('all 256');
    t.end();
  });

  t.test(`${family}: a traffic class that is set is the only thing that changes`, (t) => {
    let wrong = 0;
    for (let before = 0; before < 256; before++) {
      for (let after = 0; after < 256; after++) {
        const frame = inSlab(build(before), 0, (slab) => putTrafficClass(slab, 0, after));
        if (read(frame) !== after || Buffer.compare(frame, build(after)) !== 0) wrong++;
      }
    }
    t.equal(wrong, 0);
    t.end();
  });
}

t.test(`IPv4: the corrected checksum is that of a computation from scratch (TEST_SEED=${TEST_SEED})`, (t) => {
  const spec = fc.record({
    tos: fc.nat(255),
    ttl: fc.nat(255),
    identification: fc.nat(0xffff),
    source: fc.ipV4(),
    destination: fc.ipV4(),
  });
  fc.assert(
    fc.property(spec, fc.nat(255), fc.nat(15), (fields, trafficClass, at) => {
      const frame = inSlab(innerFrame(fields), at, (slab) => putTrafficClass(slab, at, trafficClass));
      assert.deepEqual(frame, innerFrame({ ...fields, tos: trafficClass }));
      assert.equal(referenceChecksum(frame.slice(0, 20)), 0);
    }),
    { seed: TEST_SEED, numRuns: 1000 },
  );
  t.pass('no counterexample');
  t.end();
});

t.test('IPv4: every checksum 0x0000..0xfffe is corrected, reached through the identification', (t) => {
  let wrong = 0;
  for (let identification = 0; identification <= 0xffff; identification++) {
    const frame = inSlab(innerFrame({ identification, tos: 2 }), 0, (slab) => putTrafficClass(slab, 0, 3));
    if (Buffer.compare(frame, innerFrame({ identification, tos: 3 })) !== 0) wrong++;
  }
  t.equal(wrong, 0);
  t.end();
});

t.test('IPv4: a sender may write the zero of ones complement as 0xffff: the result is still right', (t) => {
  const identification = Array.from({ length: 0x10000 }, (_, i) => i).find(
    (i) => decodeIpv4(innerFrame({ identification: i })).checksum === 0,
  )!;
  const frame = innerFrame({ identification, checksum: 0xffff });
  const after = inSlab(frame, 0, (slab) => putTrafficClass(slab, 0, 1));
  t.same(after, innerFrame({ identification, tos: 1 }));
  t.end();
});
