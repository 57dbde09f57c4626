import assert from 'node:assert/strict';

import fc from 'fast-check';
import t from 'tap';

import { TokenBucket } from '../../src/encap/token_bucket.js';
import { TEST_SEED } from './test_seed.js';

function takeAll(bucket: TokenBucket, nowMillis: number, tries = 100_000): number {
  let taken = 0;
  while (taken < tries && bucket.tryTake(nowMillis)) taken++;
  return taken;
}

t.test('it starts full, and is then empty', (t) => {
  const bucket = new TokenBucket(1000, 50);
  t.equal(takeAll(bucket, 0), 50);
  t.equal(bucket.tryTake(0), false);
  t.end();
});

t.test('it fills at its rate', (t) => {
  const bucket = new TokenBucket(200, 50);
  takeAll(bucket, 0);
  t.equal(bucket.tryTake(4), false, 'four fifths of a token');
  t.equal(bucket.tryTake(5), true, 'one token after 5 ms');
  t.equal(takeAll(bucket, 105), 20, '100 ms');
  t.end();
});

t.test('fractions of a token are kept from one look to the next', (t) => {
  const bucket = new TokenBucket(1, 1);
  takeAll(bucket, 0);
  const early = Array.from({ length: 999 }, (_, i) => bucket.tryTake(i + 1));
  t.notOk(early.includes(true));
  t.equal(bucket.tryTake(1000), true);
  t.end();
});

t.test('it never holds more than its depth', (t) => {
  const bucket = new TokenBucket(1_000_000, 3);
  t.equal(takeAll(bucket, 2 ** 31 - 1), 3);
  t.end();
});

t.test('the deepest and fastest bucket stays exact', (t) => {
  const bucket = new TokenBucket(1_000_000, 1_000_000);
  t.equal(takeAll(bucket, 0, 2_000_000), 1_000_000);
  t.equal(takeAll(bucket, 1, 2_000_000), 1000);
  t.equal(takeAll(bucket, 2 ** 31 - 1, 2_000_000), 1_000_000);
  t.end();
});

t.test('a rate of 0 never refills', (t) => {
  const bucket = new TokenBucket(0, 2);
  t.equal(takeAll(bucket, 0), 2);
  t.equal(takeAll(bucket, 2_000_000_000), 0);
  t.end();
});

t.test('a depth of 0 gives nothing', (t) => {
  t.equal(takeAll(new TokenBucket(1000, 0), 1_000_000), 0);
  t.end();
});

t.test('a clock that steps back refills nothing, and goes on from there', (t) => {
  const bucket = new TokenBucket(1000, 10, 5000);
  takeAll(bucket, 5000);
  t.equal(takeAll(bucket, 4000), 0);
  t.equal(takeAll(bucket, 4005), 5);
  t.end();
});

t.test('an int32 clock may wrap around', (t) => {
  const bucket = new TokenBucket(1000, 10, 0x7ffffffe);
  takeAll(bucket, 0x7ffffffe);
  t.equal(takeAll(bucket, (0x7ffffffe + 4) | 0), 4);
  t.end();
});

t.test(`over any time no more is given than depth plus rate (TEST_SEED=${TEST_SEED})`, (t) => {
  const steps = fc.array(fc.tuple(fc.nat(300), fc.nat(20)), { maxLength: 60 });
  fc.assert(
    fc.property(fc.nat(5000), fc.nat(40), steps, (perSecond, depth, looks) => {
      const bucket = new TokenBucket(perSecond, depth);
      let now = 0;
      let given = 0;
      let refused = false;
      for (const [millis, tries] of looks) {
        now += millis;
        for (let i = 0; i < tries; i++) {
          if (bucket.tryTake(now)) given++;
          else refused = true;
        }
        assert.ok(given <= depth + (perSecond * now) / 1000);
      }
      const asked = looks.reduce((sum, [, tries]) => sum + tries, 0);
      assert.equal(given < asked, refused);
    }),
    { seed: TEST_SEED, numRuns: 500 },
  );
  t.pass('no counterexample');
  t.end();
});

t.test('a rate below one a second gives a token when its time has come', (t) => {
  const bucket = new TokenBucket(0.1, 1);
  t.equal(bucket.tryTake(0), true);
  for (let second = 1; second < 10; second++)
    t.equal(bucket.tryTake(second * 1000), false, `after ${second} s`);
  t.equal(bucket.tryTake(10_001), true);
  t.end();
});
