import assert from 'node:assert/strict';

import fc from 'fast-check';
import t from 'tap';

import { classifyIpv6 } from '../../src/encap/classify_ipv6.js';
import { dropReasonName } from '../../src/encap/drop_reason.js';
import { referenceClassifyIpv6 } from '../reference/classify.js';
import { innerFrame } from './inner_frame.js';
import { chained, extension, fragmentHeader, innerIpv6Frame } from './inner_ipv6_frame.js';
import { MALFORMED_IPV6_FRAMES } from './malformed_ipv6_frames.js';
import { TEST_SEED } from './test_seed.js';

/** The verdict in words, over a slab in which `around` lies before and behind the frame. */
function classify(frame: Uint8Array, segments = 1, at = 3, around = 0xff): string {
  const slab = new Uint8Array(at + frame.length + 64).fill(around);
  slab.set(frame, at);
  const verdict = classifyIpv6(slab, at, frame.length, segments);
  return verdict === 0 ? 'sound' : dropReasonName(-verdict);
}

const UDP = 17;

const soundFrames: readonly { rule: string; frame: Uint8Array; segments?: number }[] = [
  { rule: 'a frame with 8 bytes of payload', frame: innerIpv6Frame() },
  { rule: 'a header without payload', frame: innerIpv6Frame({ payload: new Uint8Array(0) }) },
  { rule: '65,575 bytes', frame: innerIpv6Frame({ payload: new Uint8Array(65_535) }) },
  { rule: 'every traffic class', frame: innerIpv6Frame({ trafficClass: 255 }) },
  { rule: 'hop limit 0, which is judged later', frame: innerIpv6Frame({ hopLimit: 0 }) },
  {
    rule: 'hop-by-hop options with their bytes',
    frame: innerIpv6Frame(chained([extension(0)], UDP, new Uint8Array(8))),
  },
  {
    rule: 'a later fragment',
    frame: innerIpv6Frame(chained([fragmentHeader(185)], UDP, new Uint8Array(8))),
  },
  { rule: 'a chain that is cut: nobody on the way reads it', frame: innerIpv6Frame({ nextHeader: 43 }) },
  { rule: 'an unassigned next header', frame: innerIpv6Frame({ nextHeader: 255 }) },
  {
    rule: 'bytes beyond the payload length',
    frame: innerIpv6Frame({ payload: new Uint8Array(26), payloadBytes: 8 }),
  },
  { rule: 'a superframe', frame: innerIpv6Frame({ payload: new Uint8Array(3000) }), segments: 3 },
  {
    rule: 'a superframe with extension headers',
    frame: innerIpv6Frame(chained([extension(0), extension(60)], 6, new Uint8Array(3000))),
    segments: 3,
  },
];

for (const { rule, frame, segments = 1 } of soundFrames) {
  t.test(`passes: ${rule}`, (t) => {
    t.equal(classify(frame, segments), 'sound');
    t.equal(referenceClassifyIpv6(frame, segments), 'sound');
    t.end();
  });
}

const laterReasons = ['martian', 'notUnicast'];
for (const { rule, frame, segments = 1, reason } of MALFORMED_IPV6_FRAMES) {
  if (segments === 0) continue; // judged by the caller
  const expected = laterReasons.includes(reason) ? 'sound' : reason;
  t.test(`${expected === 'sound' ? 'leaves to the caller' : expected}: ${rule}`, (t) => {
    t.equal(classify(frame, segments), expected);
    t.equal(referenceClassifyIpv6(frame, segments), expected);
    t.end();
  });
}

t.test('the version is told before the length: a short IPv4 frame is no cut IPv6 frame', (t) => {
  for (const length of [1, 20, 28]) t.equal(classify(innerFrame().slice(0, length)), 'ipv4NotCarried');
  t.equal(classify(innerFrame({ payload: new Uint8Array(100) })), 'ipv4NotCarried');
  t.equal(classify(Uint8Array.of(0x55)), 'badVersion');
  t.equal(classify(new Uint8Array(0)), 'truncated');
  t.end();
});

/** A sound frame of which some bytes were changed, and which was cut or extended; or bytes of no frame at all. */
const mutatedFrame = fc.oneof(
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 80 }) },
  {
    weight: 3,
    arbitrary: fc
      .record({
        version: fc.oneof(
          { weight: 6, arbitrary: fc.constant(6) },
          { weight: 1, arbitrary: fc.constantFrom(4, 5, 7) },
        ),
        nextHeader: fc.constantFrom(0, 6, 17, 43, 44, 58, 59),
        payloadBytes: fc.oneof(
          { weight: 4, arbitrary: fc.constant(-1) },
          { weight: 1, arbitrary: fc.nat(60) },
          { weight: 1, arbitrary: fc.constant(0) },
        ),
        payload: fc.uint8Array({ maxLength: 40 }),
        cut: fc.oneof(
          { weight: 3, arbitrary: fc.constant(0) },
          { weight: 1, arbitrary: fc.integer({ min: -8, max: 60 }) },
        ),
      })
      .map(({ payloadBytes, cut, ...spec }) => {
        const whole = innerIpv6Frame({ ...spec, ...(payloadBytes < 0 ? {} : { payloadBytes }) });
        const frame = new Uint8Array(Math.max(0, whole.length - cut));
        frame.set(whole.subarray(0, frame.length));
        return frame;
      }),
  },
);

t.test(
  `agrees with the rules one by one, and reads nothing around the frame (TEST_SEED=${TEST_SEED})`,
  (t) => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(mutatedFrame, fc.integer({ min: 1, max: 3 }), fc.nat(15), (frame, segments, at) => {
        const expected = referenceClassifyIpv6(frame, segments);
        seen.add(expected);
        assert.equal(classify(frame, segments, at, 0x00), expected);
        assert.equal(classify(frame, segments, at, 0xff), expected);
        assert.equal(classify(frame, segments, at, 0x60), expected);
      }),
      { seed: TEST_SEED, numRuns: 10_000 },
    );
    const verdicts = ['sound', 'truncated', 'badVersion', 'ipv4NotCarried', 'badHeaderLength', 'badGso'];
    t.same([...seen].sort(), verdicts.sort(), 'every verdict was reached');
    t.end();
  },
);
