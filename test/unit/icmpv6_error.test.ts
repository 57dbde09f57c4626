import assert from 'node:assert/strict';

import fc from 'fast-check';
import t from 'tap';

import { ICMPV6_ERROR_MAX_BYTES, mayAnswerIpv6, writeIcmpv6Error } from '../../src/encap/icmpv6_error.js';
import { parseAddress } from '../../src/ip_address.js';
import { icmpMessage } from './inner_frame.js';
import {
  ICMPV6,
  chained,
  decodeIcmpv6,
  decodeIpv6,
  extension,
  fragmentHeader,
  innerIpv6Frame,
  upperChecksum,
} from './inner_ipv6_frame.js';
import type { Extension, InnerIpv6Frame } from './inner_ipv6_frame.js';
import { TEST_SEED } from './test_seed.js';

const [TCP, UDP, ESP] = [6, 17, 50];
const OURS = 'fd00:1:1::';
const OUR_BYTES = bytesOf(OURS);

function bytesOf(address: string): Uint8Array {
  assert.equal(parseAddress(address).family, 6);
  return innerIpv6Frame({ source: address }).slice(8, 24);
}

function answers(frame: Uint8Array, at = 5): boolean {
  const slab = new Uint8Array(at + frame.length + 64).fill(128); // "echo request", were it read beyond the frame
  slab.set(frame, at);
  return mayAnswerIpv6(slab, at, frame.length);
}

const icmp = (type: number): InnerIpv6Frame => ({ nextHeader: ICMPV6, payload: icmpMessage(type) });
const behind = (extensions: readonly Extension[], type: number): InnerIpv6Frame =>
  chained(extensions, ICMPV6, icmpMessage(type));

const rules: readonly { rule: string; spec: InnerIpv6Frame; answered: boolean }[] = [
  { rule: 'UDP is answered', spec: {}, answered: true },
  { rule: 'TCP is answered', spec: { nextHeader: TCP, payload: new Uint8Array(20) }, answered: true },
  { rule: 'ESP is answered: its sender needs the path MTU', spec: { nextHeader: ESP }, answered: true },
  { rule: 'an echo request is answered', spec: icmp(128), answered: true },
  { rule: 'an echo reply is answered', spec: icmp(129), answered: true },
  { rule: 'an informational message of unknown type is answered', spec: icmp(200), answered: true },
  { rule: 'destination unreachable is not answered', spec: icmp(1), answered: false },
  { rule: 'packet too big is not answered', spec: icmp(2), answered: false },
  { rule: 'time exceeded is not answered', spec: icmp(3), answered: false },
  { rule: 'a parameter problem is not answered', spec: icmp(4), answered: false },
  { rule: 'an error of unknown type is not answered', spec: icmp(100), answered: false },
  { rule: 'the last of the error types is not answered', spec: icmp(127), answered: false },
  { rule: 'a redirect is not answered', spec: icmp(137), answered: false },
  {
    rule: 'ICMPv6 without a type is not answered',
    spec: { nextHeader: ICMPV6, payload: new Uint8Array(0) },
    answered: false,
  },
  {
    rule: 'ICMPv6 whose type lies beyond the payload length is not answered',
    spec: { ...icmp(128), payloadBytes: 0 },
    answered: false,
  },
  {
    rule: 'an echo request behind options is answered',
    spec: behind([extension(0), extension(60, 2)], 128),
    answered: true,
  },
  {
    rule: 'an error behind options is not answered',
    spec: behind([extension(0), extension(60, 2)], 1),
    answered: false,
  },
  {
    rule: 'an error behind a routing header is not answered',
    spec: behind([extension(43, 4)], 3),
    answered: false,
  },
  {
    rule: 'a first fragment of an echo request is answered',
    spec: behind([fragmentHeader(0)], 128),
    answered: true,
  },
  {
    rule: 'a first fragment of an error is not answered',
    spec: behind([fragmentHeader(0)], 1),
    answered: false,
  },
  {
    rule: 'a later fragment of ICMPv6 is not answered: its type is elsewhere',
    spec: behind([fragmentHeader(1)], 128),
    answered: false,
  },
  {
    rule: 'a later fragment of UDP is answered',
    spec: chained([fragmentHeader(1)], UDP, new Uint8Array(8)),
    answered: true,
  },
  {
    rule: 'a later fragment whose chain is elsewhere is not answered',
    spec: chained([fragmentHeader(1)], 60, new Uint8Array(8)),
    answered: false,
  },
  {
    rule: 'a chain that is cut is not answered',
    spec: { nextHeader: 43, payload: Uint8Array.of(UDP, 9, 0, 0, 0, 0, 0, 0) },
    answered: false,
  },
  {
    rule: 'a chain of more than eight headers is not answered',
    spec: behind(
      Array.from({ length: 9 }, () => extension(60)),
      128,
    ),
    answered: false,
  },
  { rule: 'multicast is not answered', spec: { destination: 'ff02::1' }, answered: false },
  { rule: 'global multicast is not answered', spec: { destination: 'ff0e::1' }, answered: false },
  { rule: 'the unspecified source is not answered', spec: { source: '::' }, answered: false },
  { rule: 'a loopback source is not answered', spec: { source: '::1' }, answered: false },
  { rule: 'a multicast source is not answered', spec: { source: 'ff02::1' }, answered: false },
  { rule: 'a link-local source is not answered', spec: { source: 'fe80::1' }, answered: false },
  { rule: 'an IPv4-mapped source is not answered', spec: { source: '::ffff:10.1.1.2' }, answered: false },
];

for (const { rule, spec, answered } of rules) {
  t.test(rule, (t) => {
    t.equal(answers(innerIpv6Frame(spec)), answered);
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
  type = 1,
  code = 0,
  mtu = 0,
  at = 7,
}: AnswerSpec): Uint8Array {
  const slab = new Uint8Array(at + frame.length);
  slab.set(frame, at);
  const before = slab.slice();
  const out = new Uint8Array(1500).fill(0x5a);
  const outAt = 64;
  const bytes = writeIcmpv6Error(out, outAt, slab, at, quotable, type, code, mtu, OUR_BYTES);
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
  const frame = innerIpv6Frame({
    source: '2001:db8:1::7',
    trafficClass: 0xb9,
    hopLimit: 1,
    payload: new Uint8Array(50).fill(9),
  });
  const answer = answerTo({ frame, type: 3, code: 0 });
  t.same(decodeIpv6(answer), {
    version: 6,
    trafficClass: 0xc0,
    flowLabel: 0,
    payloadBytes: 8 + frame.length,
    nextHeader: ICMPV6,
    hopLimit: 64,
    source: OURS,
    destination: '2001:db8:1::7',
  });
  t.match(decodeIcmpv6(answer), { type: 3, code: 0, mtu: 0 });
  t.equal(upperChecksum(answer), 0, 'checksum with the pseudo-header');
  t.same(answer.slice(48), frame, 'the whole frame is quoted, as it was received');
  t.end();
});

t.test('packet too big carries the MTU in 32 bits', (t) => {
  for (const mtu of [1280, 1452, 65_536]) {
    const answer = answerTo({ frame: innerIpv6Frame(), type: 2, code: 0, mtu });
    t.match(decodeIcmpv6(answer), { type: 2, code: 0, mtu });
    t.equal(upperChecksum(answer), 0);
  }
  t.end();
});

t.test('the quotation is cut so that the answer has 1280 bytes', (t) => {
  t.equal(ICMPV6_ERROR_MAX_BYTES, 1280);
  for (const payload of [1191, 1192, 1193, 1452, 65_535]) {
    const frame = innerIpv6Frame({ payload: new Uint8Array(payload).fill(payload) });
    const answer = answerTo({ frame });
    t.equal(answer.length, Math.min(48 + frame.length, 1280));
    t.same(answer.slice(48), frame.slice(0, answer.length - 48));
    t.equal(upperChecksum(answer), 0);
  }
  t.end();
});

t.test('bytes beyond the payload length are not quoted', (t) => {
  const frame = innerIpv6Frame({ payload: new Uint8Array(40), payloadBytes: 10 });
  t.same(answerTo({ frame }).slice(48), frame.slice(0, 50));
  t.end();
});

t.test('no more is quoted than the caller allows', (t) => {
  const frame = innerIpv6Frame({ payload: new Uint8Array(5000) });
  t.same(answerTo({ frame, quotable: 120 }).slice(48), frame.slice(0, 120));
  t.end();
});

t.test(
  `any frame gives a packet with a right checksum and a true quotation (TEST_SEED=${TEST_SEED})`,
  (t) => {
    const frames = fc.record({
      payload: fc.uint8Array({ maxLength: 1400 }),
      trafficClass: fc.nat(255),
      nextHeader: fc.nat(255),
      source: fc.ipV6(),
    });
    const field = fc.nat(255);
    fc.assert(
      fc.property(frames, field, field, fc.nat(0x7fffffff), fc.nat(15), (spec, type, code, mtu, at) => {
        const frame = innerIpv6Frame(spec);
        const answer = answerTo({ frame, type, code, mtu, at });
        assert.ok(answer.length <= 1280);
        assert.equal(decodeIpv6(answer).payloadBytes, answer.length - 40);
        assert.equal(decodeIpv6(answer).destination, decodeIpv6(frame).source);
        assert.equal(upperChecksum(answer), 0);
        assert.deepEqual(answer.slice(48), frame.slice(0, Math.min(frame.length, 1232)));
      }),
      { seed: TEST_SEED, numRuns: 300 },
    );
    t.pass('no counterexample');
    t.end();
  },
);
