import { isIPv6, SocketAddress } from 'node:net';

import fc from 'fast-check';
import t from 'tap';

import {
  formatIpv6,
  formatIpv6Prefix,
  maskIpv6Prefix,
  overlapsIpv6Prefix,
  parseIpv6,
  parseIpv6Prefix,
} from '../../src/ipv6_prefix.js';
import { TEST_SEED } from './test_seed.js';

t.test('an address has one canonical text (RFC 5952 section 4)', (t) => {
  const rows: [spelling: string, canonical: string][] = [
    ['::', '::'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['::1', '::1'],
    ['2001:DB8:0:0:8:800:200C:417A', '2001:db8::8:800:200c:417a'],
    ['2001:0db8:0000:0000:0000:0000:0000:0001', '2001:db8::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['0:0:1:0:0:0:0:0', '0:0:1::'],
    ['fd00:1:2::', 'fd00:1:2::'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
    ['::ffff:192.0.2.1', '::ffff:192.0.2.1'],
    ['::ffff:c000:201', '::ffff:192.0.2.1'],
    ['::ffff:255.255.255.255', '::ffff:255.255.255.255'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['::192.0.2.1', '::c000:201'],
    ['ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ];
  for (const [spelling, canonical] of rows) t.equal(formatIpv6(parseIpv6(spelling)), canonical, spelling);
  t.equal(parseIpv6('2001:db8::1'), 0x20010db8000000000000000000000001n);
  t.end();
});

t.test('a text that is no address is refused', (t) => {
  const rows = [
    '',
    ':',
    ':::',
    '1',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4::5:6:7:8',
    '1::2::3',
    ':1:2:3:4:5:6:7:8',
    '1:2:3:4:5:6:7:',
    '1:',
    '12345::',
    'g::',
    'fe80::1%eth0',
    ' ::1',
    '::1 ',
    '::-1',
    '::1/64',
    '192.0.2.1',
    '::192.0.2',
    '::192.0.2.256',
    '::192.0.2.1:1',
    '192.0.2.1::',
    '1:2:3:4:5:6:7:192.0.2.1',
    '[::1]',
  ];
  for (const text of rows) {
    t.throws(() => parseIpv6(text), { code: 'ERR_ADDRESS_INVALID' }, JSON.stringify(text));
    t.notOk(isIPv6(text) && !text.includes('%'), `Node agrees on ${JSON.stringify(text)}`);
  }
  t.throws(() => parseIpv6('1:'.repeat(1_000_000)), { message: /^.{1,300}$/ });
  t.end();
});

t.test('a prefix is read in its canonical spelling only', (t) => {
  for (const text of ['::/0', 'fd00::/8', 'fd00:1:2::/64', '2001:db8::1/128', '8000::/1']) {
    t.equal(formatIpv6Prefix(parseIpv6Prefix(text)), text, text);
  }
  t.strictSame(parseIpv6Prefix('fd00:1::/32'), { family: 6, address: 0xfd000001n << 96n, bits: 32 });
  const rows: [string, RegExp][] = [
    ['fd00::', /the length, as in "\/64", is missing/],
    ['fd00::/', /"\/" is not a length/],
    ['fd00::/129', /"\/129" is not a length/],
    ['fd00::/6x', /"\/6x" is not a length/],
    ['fd00::/-1', /"\/-1" is not a length/],
    ['10.1.0.0/16', /the address is malformed/],
    ['FD00::/8', /the canonical spelling is fd00::\/8$/],
    ['fd00:0::/32', /the canonical spelling is fd00::\/32$/],
    ['fd00::1/64', /the canonical spelling is fd00::\/64$/],
    ['fd00::/064', /the canonical spelling is fd00::\/64$/],
  ];
  for (const [text, message] of rows) {
    t.throws(() => parseIpv6Prefix(text), { code: 'ERR_PREFIX_INVALID', message }, text);
  }
  t.equal(
    formatIpv6Prefix(maskIpv6Prefix('FD00:0:0:1::ff/64')),
    'fd00:0:0:1::/64',
    'masking takes any spelling',
  );
  t.end();
});

t.test('overlap of prefixes', (t) => {
  const rows: [string, string, boolean][] = [
    ['fd00::/16', 'fd00:1::/32', true],
    ['fd00:1::/32', 'fd00::/16', true],
    ['fd00:1::/32', 'fd00:1::/32', true],
    ['fd00:1::/32', 'fd00:2::/32', false],
    ['::/0', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128', true],
    ['2001:db8::/127', '2001:db8::1/128', true],
    ['2001:db8::/128', '2001:db8::1/128', false],
  ];
  for (const [a, b, overlap] of rows) {
    const [left, right] = [parseIpv6Prefix(a), parseIpv6Prefix(b)];
    t.equal(overlapsIpv6Prefix(left, right), overlap, `${a} overlaps ${b}`);
    t.equal(overlapsIpv6Prefix(right, left), overlap, `${b} overlaps ${a}`);
  }
  t.end();
});

t.test(`random addresses are written as Node writes them, and read back (TEST_SEED=${TEST_SEED})`, (t) => {
  const group = fc.oneof(fc.constant(0), fc.constant(0), fc.integer({ min: 0, max: 0xffff }));
  const groups = fc.array(group, { minLength: 8, maxLength: 8 });
  fc.assert(
    fc.property(groups, fc.integer({ min: 0, max: 128 }), (parts, bits) => {
      const spelling = parts.map((part) => part.toString(16)).join(':');
      const address = parseIpv6(spelling);
      const text = formatIpv6(address);
      // Node writes a quad for IPv4-compatible addresses too, which RFC 5952 section 5 leaves open.
      const sameAsNode =
        address >> 32n === 0n || text === new SocketAddress({ family: 'ipv6', address: spelling }).address;
      const prefix = maskIpv6Prefix(`${spelling}/${bits}`);
      const kept = address.toString(2).padStart(128, '0').slice(0, bits).padEnd(128, '0');
      return (
        sameAsNode &&
        parseIpv6(text) === address &&
        prefix.address === BigInt(`0b${kept}`) &&
        formatIpv6Prefix(parseIpv6Prefix(formatIpv6Prefix(prefix))) === formatIpv6Prefix(prefix)
      );
    }),
    { seed: TEST_SEED, numRuns: 2000 },
  );
  t.pass('2000 addresses');
  t.end();
});
