import assert from 'node:assert/strict';

import fc from 'fast-check';
import t from 'tap';

import { ICMP_ERROR_MAX_BYTES, mayAnswer, writeIcmpError } from '../../src/encap/icmp_error.js';
import { parseIpv4 } from '../../src/ipv4_prefix.js';
import { referenceChecksum } from '../reference/checksum.js';
import { decodeIcmp, decodeIpv4, icmpMessage, innerFrame } from './inner_frame.js';
import type { InnerFrame } from './inner_frame.js';
import { TEST_SEED } from './test_seed.js';

function answers(frame: Uint8Array, at = 5): boolean {
  const slab = new Uint8Array(at + frame.length + 8).fill(8); // 8: "echo", were it read beyond the frame
  slab.set(frame, at);
  return mayAnswer(slab, at, frame.length);
}

const icmp = (type: number): InnerFrame => ({ protocol: 1, payload: icmpMessage(type) });

const rules: readonly { rule: string; spec: InnerFrame; answered: boolean }[] = [
  { rule: 'UDP is answered', spec: {}, answered: true },
  { rule: 'TCP is answered', spec: { protocol: 6, payload: new Uint8Array(20) }, answered: true },
  { rule: 'an echo is answered', spec: icmp(8), answered: true },
  { rule: 'an echo reply is answered', spec: icmp(0), answered: true },
  { rule: 'a timestamp request is answered', spec: icmp(13), answered: true },
  {
    rule: 'an echo behind options is answered',
    spec: { ...icmp(8), options: new Uint8Array(12).fill(3) },
    answered: true,
  },
  { rule: 'destination unreachable is not answered', spec: icmp(3), answered: false },
  { rule: 'source quench is not answered', spec: icmp(4), answered: false },
  { rule: 'a redirect is not answered', spec: icmp(5), answered: false },
  { rule: 'time exceeded is not answered', spec: icmp(11), answered: false },
  { rule: 'a parameter problem is not answered', spec: icmp(12), answered: false },
  {
    rule: 'an error behind options is not answered',
    spec: { ...icmp(11), options: new Uint8Array(4).fill(8) },
    answered: false,
  },
  { rule: 'an ICMP message of unknown type is not answered', spec: icmp(200), answered: false },
  {
    rule: 'an ICMP message without a type is not answered',
    spec: { protocol: 1, payload: new Uint8Array(0) },
    answered: false,
  },
  {
    rule: 'an ICMP message whose type lies beyond the total length is not answered',
    spec: { ...icmp(8), totalBytes: 20 },
    answered: false,
  },
  { rule: 'a first fragment is answered', spec: { fragment: 0x2000 }, answered: true },
  { rule: 'a later fragment is not answered', spec: { fragment: 0x2001 }, answered: false },
  { rule: 'the last fragment is not answered', spec: { fragment: 0x00b9 }, answered: false },
  { rule: "don't-fragment is no fragment", spec: { fragment: 0x4000 }, answered: true },
  { rule: 'multicast is not answered', spec: { destination: '224.0.0.1' }, answered: false },
  {
    rule: 'the limited broadcast is not answered',
    spec: { destination: '255.255.255.255' },
    answered: false,
  },
  { rule: 'source 0.0.0.0 is not answered', spec: { source: '0.0.0.0' }, answered: false },
  { rule: 'a loopback source is not answered', spec: { source: '127.0.0.1' }, answered: false },
  { rule: 'a multicast source is not answered', spec: { source: '239.1.1.1' }, answered: false },
  { rule: 'a class E source is not answered', spec: { source: '241.0.0.1' }, answered: false },
  { rule: 'a broadcast source is not answered', spec: { source: '255.255.255.255' }, answered: false },
];

for (const { rule, spec, answered } of rules) {
  t.test(rule, (t) => {
    t.equal(answers(innerFrame(spec)), answered);
    t.end();
  });
}

interface AnswerSpec {
  readonly frame: Uint8Array;
  readonly quotable?: number;
  readonly type?: number;
  readonly code?: number;
  readonly mtu?: number;
  readonly at?: number;
}

/** Writes an answer into memory that is not clean, and checks that nothing before or behind it was touched. */
function answerTo({
  frame,
  quotable = frame.length,
  type = 3,
  code = 0,
  mtu = 0,
  at = 7,
}: AnswerSpec): Uint8Array {
  const slab = new Uint8Array(at + frame.length);
  slab.set(frame, at);
  const before = slab.slice();
  const out = new Uint8Array(700).fill(0x5a);
  const outAt = 64;
  const bytes = writeIcmpError(out, outAt, slab, at, quotable, type, code, mtu, parseIpv4('10.1.1.0'));
  assert.ok(
    out.subarray(0, outAt).every((byte) => byte === 0x5a),
    'nothing before the answer',
  );
  assert.ok(
    out.subarray(outAt + bytes).every((byte) => byte === 0x5a),
    'nothing behind the answer',
  );
  assert.deepEqual(slab, before, 'the frame is as it was');
  return out.slice(outAt, outAt + bytes);
}

t.test('an answer is a whole packet from us to the source', (t) => {
  const frame = innerFrame({ source: '10.1.1.7', payload: new Uint8Array(50).fill(9) });
  const answer = answerTo({ frame, type: 11, code: 0 });
  t.same(decodeIpv4(answer), {
    versionIhl: 0x45,
    tos: 0xc0,
    totalBytes: 20 + 8 + frame.length,
    identification: 0,
    fragment: 0x4000,
    ttl: 64,
    protocol: 1,
    checksum: decodeIpv4(answer).checksum,
    source: parseIpv4('10.1.1.0'),
    destination: parseIpv4('10.1.1.7'),
  });
  t.equal(referenceChecksum(answer.slice(0, 20)), 0, 'header checksum');
  t.match(decodeIcmp(answer), { type: 11, code: 0, unused: 0, nextHopMtu: 0 });
  t.equal(referenceChecksum(answer.slice(20)), 0, 'ICMP checksum');
  t.same(answer.slice(28), frame, 'the whole frame is quoted');
  t.end();
});

t.test('an answer has precedence 6, repeats the TOS bits, and is not ECN-capable', (t) => {
  for (let tos = 0; tos < 256; tos++) {
    const answer = answerTo({ frame: innerFrame({ tos }) });
    if (decodeIpv4(answer).tos !== (0xc0 | (tos & 0x1c))) t.fail(`TOS ${tos}`);
    if (answer[29] !== tos) t.fail(`TOS ${tos} is quoted as it was`);
  }
  t.pass('all 256');
  t.end();
});

t.test('the TTL of an answer is its own, not that of the frame', (t) => {
  for (const ttl of [0, 1, 2, 255]) t.equal(decodeIpv4(answerTo({ frame: innerFrame({ ttl }) })).ttl, 64);
  t.end();
});

t.test('the quotation has the header and 8 bytes behind it at least, if the frame has them', (t) => {
  const frame = innerFrame({ options: new Uint8Array(40).fill(1), payload: new Uint8Array(1400).fill(3) });
  t.ok(answerTo({ frame }).length >= 28 + 60 + 8);
  t.ok(
    answerTo({ frame, quotable: 120 }).length >= 28 + 60 + 8,
    'and the head of a superframe suffices for that',
  );
  t.end();
});

t.test('fragmentation needed carries the MTU of the next hop', (t) => {
  const answer = answerTo({ frame: innerFrame(), type: 3, code: 4, mtu: 1472 });
  t.match(decodeIcmp(answer), { type: 3, code: 4, unused: 0, nextHopMtu: 1472 });
  t.end();
});

t.test('the quotation is cut so that the answer has 576 bytes', (t) => {
  for (const payload of [527, 528, 529, 1452, 65_515]) {
    const frame = innerFrame({ payload: new Uint8Array(payload).fill(payload) });
    const answer = answerTo({ frame });
    t.equal(answer.length, Math.min(28 + frame.length, ICMP_ERROR_MAX_BYTES));
    t.same(answer.slice(28), frame.slice(0, answer.length - 28));
  }
  t.end();
});

t.test('bytes beyond the total length are not quoted', (t) => {
  const frame = innerFrame({ payload: new Uint8Array(40), totalBytes: 30 });
  t.same(answerTo({ frame }).slice(28), frame.slice(0, 30));
  t.end();
});

t.test('no more is quoted than the caller allows', (t) => {
  const frame = innerFrame({ payload: new Uint8Array(5000) });
  t.same(answerTo({ frame, quotable: 120 }).slice(28), frame.slice(0, 120));
  t.end();
});

t.test('options are quoted, not copied into the header of the answer', (t) => {
  const frame = innerFrame({ options: Uint8Array.of(7, 7, 4, 0, 0, 0, 0, 0) });
  const answer = answerTo({ frame });
  t.equal(answer[0], 0x45);
  t.same(answer.slice(28), frame);
  t.end();
});

t.test(`any frame gives a packet with right checksums and a true quotation (TEST_SEED=${TEST_SEED})`, (t) => {
  const frames = fc.record({
    payload: fc.uint8Array({ maxLength: 700 }),
    options: fc.nat(10).map((words) => new Uint8Array(words * 4).fill(1)),
    tos: fc.nat(255),
    source: fc.ipV4(),
  });
  const field = fc.nat(255);
  fc.assert(
    fc.property(frames, field, field, fc.nat(0xffff), fc.nat(15), (spec, type, code, mtu, at) => {
      const frame = innerFrame(spec);
      const answer = answerTo({ frame, type, code, mtu, at });
      assert.ok(answer.length <= 576);
      assert.equal(decodeIpv4(answer).totalBytes, answer.length);
      assert.equal(decodeIpv4(answer).destination, parseIpv4(spec.source));
      assert.equal(referenceChecksum(answer.slice(0, 20)), 0);
      assert.equal(referenceChecksum(answer.slice(20)), 0);
      assert.deepEqual(answer.slice(28), frame.slice(0, Math.min(frame.length, 548)));
    }),
    { seed: TEST_SEED, numRuns: 500 },
  );
  t.pass('no counterexample');
  t.end();
});
