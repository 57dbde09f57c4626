import assert from 'node:assert/strict';

import fc from 'fast-check';
import t from 'tap';

import { classifyIpv4 } from '../../src/encap/classify.js';
import { DropReason, dropReasonName } from '../../src/encap/drop_reason.js';
import { referenceClassify } from '../reference/classify.js';
import { innerFrame } from './inner_frame.js';
import { MALFORMED_FRAMES } from './malformed_frames.js';
import { TEST_SEED } from './test_seed.js';

/** The verdict in words, over a slab in which `around` lies before and behind the frame. */
function classify(frame: Uint8Array, segments = 1, at = 3, around = 0xff): string {
  const slab = new Uint8Array(at + frame.length + 64).fill(around);
  slab.set(frame, at);
  const verdict = classifyIpv4(slab, at, frame.length, segments);
  return verdict === 0 ? 'sound' : dropReasonName(-verdict);
}

const soundFrames: readonly { rule: string; frame: Uint8Array; segments?: number }[] = [
  { rule: 'a frame with 8 bytes of payload', frame: innerFrame() },
  { rule: 'a header without payload', frame: innerFrame({ payload: new Uint8Array(0) }) },
  { rule: '65,535 bytes', frame: innerFrame({ payload: new Uint8Array(65_515) }) },
  { rule: 'options of 4 bytes', frame: innerFrame({ options: Uint8Array.of(1, 1, 1, 0) }) },
  { rule: 'options of 40 bytes', frame: innerFrame({ options: new Uint8Array(40).fill(1) }) },
  { rule: 'a first fragment', frame: innerFrame({ fragment: 0x2000 }) },
  { rule: 'a later fragment', frame: innerFrame({ fragment: 0x00b9 }) },
  { rule: 'TTL 0, which is judged later', frame: innerFrame({ ttl: 0 }) },
  {
    rule: 'bytes beyond the total length',
    frame: innerFrame({ payload: new Uint8Array(26), totalBytes: 28 }),
  },
  { rule: 'a superframe', frame: innerFrame({ payload: new Uint8Array(3000) }), segments: 3 },
  { rule: "a superframe with don't-fragment", frame: innerFrame({ fragment: 0x4000 }), segments: 2 },
  {
    rule: 'a superframe with options',
    frame: innerFrame({ options: new Uint8Array(4).fill(1) }),
    segments: 2,
  },
];

for (const { rule, frame, segments = 1 } of soundFrames) {
  t.test(`passes: ${rule}`, (t) => {
    t.equal(classify(frame, segments), 'sound');
    t.equal(referenceClassify(frame, segments), 'sound');
    t.end();
  });
}

const laterReasons = ['martian', 'notUnicast'];
for (const { rule, frame, segments = 1, reason } of MALFORMED_FRAMES) {
  if (segments === 0) continue; // judged by the caller
  const expected = laterReasons.includes(reason) ? 'sound' : reason;
  t.test(`${expected === 'sound' ? 'leaves to the caller' : expected}: ${rule}`, (t) => {
    t.equal(classify(frame, segments), expected);
    t.equal(referenceClassify(frame, segments), expected);
    t.end();
  });
}

t.test('the zero of ones complement may be written as 0xffff', (t) => {
  const frames = Array.from({ length: 0x10000 }, (_, identification) => innerFrame({ identification }));
  const frame = frames.find((header) => header[10] === 0 && header[11] === 0)!;
  t.equal(classify(frame), 'sound');
  frame.fill(0xff, 10, 12);
  t.equal(classify(frame), 'sound');
  t.end();
});

t.test('every single-bit error in a header is found', (t) => {
  for (const options of [new Uint8Array(0), new Uint8Array(12).fill(1)]) {
    const frame = innerFrame({ options });
    const headerBits = (20 + options.length) * 8;
    const passed = [];
    for (let bit = 0; bit < headerBits; bit++) {
      const damaged = frame.slice();
      damaged[bit >> 3] = damaged[bit >> 3]! ^ (1 << (bit & 7));
      if (classify(damaged) === 'sound') passed.push(bit);
    }
    t.same(passed, []);
  }
  t.end();
});

/** A sound frame of which some bytes were changed, and which was cut or extended; or bytes of no frame at all. */
const mutatedFrame = fc.oneof(
  fc.uint8Array({ maxLength: 80 }),
  fc
    .record({
      fragment: fc.constantFrom(0, 0x4000, 0x2000, 0x0001, 0x1fff),
      options: fc.constantFrom(0, 4, 40).map((bytes) => new Uint8Array(bytes).fill(1)),
      versionIhl: fc.oneof({ weight: 4, arbitrary: fc.constant(-1) }, { weight: 1, arbitrary: fc.nat(255) }),
      totalBytes: fc.oneof({ weight: 4, arbitrary: fc.constant(-1) }, { weight: 1, arbitrary: fc.nat(100) }),
      payload: fc.uint8Array({ maxLength: 40 }),
      damage: fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 1 }),
      cut: fc.oneof(
        { weight: 3, arbitrary: fc.constant(0) },
        { weight: 1, arbitrary: fc.integer({ min: -8, max: 40 }) },
      ),
    })
    .map(({ versionIhl, totalBytes, damage, cut, ...spec }) => {
      const whole = innerFrame({
        ...spec,
        ...(versionIhl < 0 ? {} : { versionIhl }),
        ...(totalBytes < 0 ? {} : { totalBytes }),
      });
      for (const [at, byte] of damage) if (at < whole.length) whole[at] = byte;
      const frame = new Uint8Array(Math.max(0, whole.length - cut));
      frame.set(whole.subarray(0, frame.length));
      return frame;
    }),
);

t.test(
  `agrees with the rules one by one, and reads nothing around the frame (TEST_SEED=${TEST_SEED})`,
  (t) => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(mutatedFrame, fc.integer({ min: 1, max: 3 }), fc.nat(15), (frame, segments, at) => {
        const expected = referenceClassify(frame, segments);
        seen.add(expected);
        assert.equal(classify(frame, segments, at, 0x00), expected);
        assert.equal(classify(frame, segments, at, 0xff), expected);
        assert.equal(classify(frame, segments, at, 0x45), expected);
      }),
      { seed: TEST_SEED, numRuns: 20_000 },
    );
    const reasons = [
      'sound',
      'truncated',
      'badVersion',
      'ipv6NotCarried',
      'badHeaderLength',
      'badChecksum',
      'badGso',
    ];
    t.same([...seen].sort(), [...reasons].sort(), 'every verdict was reached');
    t.equal(reasons.filter((name) => name in DropReason).length, reasons.length - 1);
    t.end();
  },
);
