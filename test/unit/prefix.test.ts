import fc from 'fast-check';
import t from 'tap';

import { contains, formatPrefix, overlaps, parsePrefix, type Prefix } from '../../src/prefix.js';
import { TEST_SEED } from './test_seed.js';

t.test('a prefix of either family is read in its canonical spelling', (t) => {
  t.strictSame(parsePrefix('10.1.2.0/24'), { family: 4, address: 0x0a010200, bits: 24 });
  t.strictSame(parsePrefix('fd00:1::/32'), { family: 6, address: 0xfd000001n << 96n, bits: 32 });
  for (const text of ['0.0.0.0/0', '192.0.2.1/32', '::/0', '2001:db8::1/128', '::ffff:192.0.2.0/120']) {
    t.equal(formatPrefix(parsePrefix(text)), text, text);
  }
  t.end();
});

t.test('a text that is no prefix is refused in the words of the family it could be of', (t) => {
  const rows: [string, RegExp][] = [
    ['', /^"" is not an IPv4 or IPv6 prefix like 10\.1\.2\.0\/24 or 2001:db8::\/64$/],
    ['all', /^"all" is not an IPv4 or IPv6 prefix/],
    ['/24', /^"\/24" is not an IPv4 or IPv6 prefix/],
    ['10/8', /^"10\/8" is not an IPv4 or IPv6 prefix/],
    ['10.1.2.1/24', /is not an IPv4 prefix .*the prefix is 10\.1\.2\.0\/24$/],
    ['10.1.2.0', /is not an IPv4 prefix .*the length, as in "\/24", is missing$/],
    ['FD00::/8', /is not an IPv6 prefix .*the canonical spelling is fd00::\/8$/],
    ['fd00::1/64', /is not an IPv6 prefix .*the canonical spelling is fd00::\/64$/],
    ['fd00::', /is not an IPv6 prefix .*the length, as in "\/64", is missing$/],
    ['x'.repeat(1_000_000), /^.{1,200}$/],
  ];
  for (const [text, message] of rows) {
    t.throws(() => parsePrefix(text), { code: 'ERR_PREFIX_INVALID', message }, text.slice(0, 40));
  }
  t.end();
});

t.test('prefixes of two families neither contain each other nor overlap', (t) => {
  const [ipv4, ipv6] = [parsePrefix('0.0.0.0/0'), parsePrefix('::/0')];
  const [inIpv4, inIpv6] = [parsePrefix('10.1.0.0/16'), parsePrefix('fd00::/64')];
  for (const a of [ipv4, inIpv4]) {
    for (const b of [ipv6, inIpv6]) {
      t.notOk(contains(a, b) || contains(b, a), `${formatPrefix(a)} contains ${formatPrefix(b)}`);
      t.notOk(overlaps(a, b) || overlaps(b, a), `${formatPrefix(a)} overlaps ${formatPrefix(b)}`);
    }
  }
  t.end();
});

t.test('a prefix contains itself and what is longer inside it', (t) => {
  const rows: [outer: string, inner: string, contained: boolean, overlap: boolean][] = [
    ['10.1.0.0/16', '10.1.2.0/24', true, true],
    ['10.1.2.0/24', '10.1.0.0/16', false, true],
    ['10.1.0.0/16', '10.1.0.0/16', true, true],
    ['10.1.0.0/16', '10.2.0.0/24', false, false],
    ['fd00:1::/32', 'fd00:1:2::/48', true, true],
    ['fd00:1:2::/48', 'fd00:1::/32', false, true],
    ['fd00:1::/32', 'fd00:1::/32', true, true],
    ['fd00:1::/32', 'fd00:2::/48', false, false],
    ['::/0', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128', true, true],
  ];
  for (const [outer, inner, contained, overlap] of rows) {
    t.equal(contains(parsePrefix(outer), parsePrefix(inner)), contained, `${outer} contains ${inner}`);
    t.equal(overlaps(parsePrefix(outer), parsePrefix(inner)), overlap, `${outer} overlaps ${inner}`);
  }
  t.end();
});

const anyPrefix: fc.Arbitrary<Prefix> = fc.oneof(
  fc.tuple(fc.oneof(fc.nat(0xff), fc.nat(0xffff_ffff)), fc.nat(32)).map(([address, bits]): Prefix => {
    const host = 2 ** (32 - bits);
    return { family: 4, address: (Math.floor(address / host) * host) | 0, bits };
  }),
  fc
    .tuple(
      fc.oneof(fc.bigInt({ min: 0n, max: 0xffn }), fc.bigInt({ min: 0n, max: 2n ** 128n - 1n })),
      fc.nat(128),
    )
    .map(([address, bits]): Prefix => {
      const hostBits = BigInt(128 - bits);
      return { family: 6, address: (address >> hostBits) << hostBits, bits };
    }),
);

/** A prefix as the text of its bits. */
function bitsOf({ family, address, bits }: Prefix): string {
  const unsigned = family === 4 ? BigInt(address) & 0xffff_ffffn : BigInt(address);
  return unsigned
    .toString(2)
    .padStart(family === 4 ? 32 : 128, '0')
    .slice(0, bits);
}

t.test(
  `random prefixes are read as they are written, and compare as their bits do (TEST_SEED=${TEST_SEED})`,
  (t) => {
    fc.assert(
      fc.property(anyPrefix, anyPrefix, (a, b) => {
        const read = parsePrefix(formatPrefix(a));
        const same = read.family === a.family && read.address === a.address && read.bits === a.bits;
        const aHoldsB = a.family === b.family && bitsOf(b).startsWith(bitsOf(a));
        const bHoldsA = a.family === b.family && bitsOf(a).startsWith(bitsOf(b));
        return same && contains(a, b) === aHoldsB && overlaps(a, b) === (aHoldsB || bHoldsA);
      }),
      { seed: TEST_SEED, numRuns: 2000 },
    );
    t.pass('2000 pairs');
    t.end();
  },
);
