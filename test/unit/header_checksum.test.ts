import assert from 'node:assert/strict';

import fc from 'fast-check';
import t from 'tap';

import { checksumSum, finishChecksum } from '../../src/encap/checksum.js';
import { referenceChecksum } from '../reference/checksum.js';
import { TEST_SEED } from './test_seed.js';

t.test('every length 0..600 at every alignment 0..15 agrees with RFC 1071 word by word', (t) => {
  const bytes = Uint8Array.from({ length: 700 }, (_, i) => (i * 193 + 7) ^ (i >> 3));
  let wrong = 0;
  for (let length = 0; length <= 600; length++) {
    for (let at = 0; at < 16; at++) {
      const expected = referenceChecksum(bytes.subarray(at, at + length));
      if (finishChecksum(checksumSum(bytes, at, length)) !== expected) wrong++;
    }
  }
  t.equal(wrong, 0);
  t.end();
});

t.test('the longest sum does not overflow', (t) => {
  const ones = new Uint8Array(65_535).fill(0xff);
  t.equal(finishChecksum(checksumSum(ones, 0, 65_535)), referenceChecksum(ones));
  t.end();
});

t.test(`any bytes agree with RFC 1071 word by word (TEST_SEED=${TEST_SEED})`, (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
      assert.equal(finishChecksum(checksumSum(bytes, 0, bytes.length)), referenceChecksum(bytes));
    }),
    { seed: TEST_SEED, numRuns: 200 },
  );
  t.pass('no counterexample');
  t.end();
});
