import fc from 'fast-check';
import t from 'tap';

import {
  ADDRESS_WORDS,
  familyOf,
  formatAddress,
  isUnicastAddress,
  parseAddress,
  putIpv6Words,
} from '../../src/ip_address.js';
import { TEST_SEED } from './test_seed.js';

const MAX_IPV6 = 2n ** 128n - 1n;

t.test('an address is four words in order of significance; IPv4 has the first', (t) => {
  const rows: [text: string, family: 4 | 6, words: number[]][] = [
    ['192.0.2.1', 4, [0xc0000201 | 0, 0, 0, 0]],
    ['10.0.0.1', 4, [0x0a000001, 0, 0, 0]],
    ['::', 6, [0, 0, 0, 0]],
    ['::1', 6, [0, 0, 0, 1]],
    ['2001:db8:1:2:3:4:5:6', 6, [0x20010db8, 0x00010002, 0x00030004, 0x00050006]],
    ['fd00::ffff:ffff', 6, [0xfd000000 | 0, 0, 0, -1]],
    ['::ffff:192.0.2.1', 6, [0, 0, 0xffff, 0xc0000201 | 0]],
  ];
  for (const [text, family, words] of rows) {
    const address = parseAddress(text);
    t.strictSame({ ...address, words: [...address.words] }, { family, words }, text);
    t.equal(familyOf(text), family);
    t.equal(formatAddress(family, address.words), text);
  }
  t.end();
});

t.test('an IPv6 address is read in any spelling and written in one', (t) => {
  t.equal(formatAddress(6, parseAddress('2001:DB8:0:0:0:0:0:1').words), '2001:db8::1');
  t.end();
});

t.test('words are read and written at their place in a column, and no others', (t) => {
  const column = new Int32Array(3 * ADDRESS_WORDS).fill(7);
  putIpv6Words(column, ADDRESS_WORDS, 0x20010db8_00000001_00000002_00000003n);
  t.strictSame([...column], [7, 7, 7, 7, 0x20010db8, 1, 2, 3, 7, 7, 7, 7]);
  t.equal(formatAddress(6, column, ADDRESS_WORDS), '2001:db8:0:1:0:2:0:3');
  column[ADDRESS_WORDS] = 0xc0000201 | 0;
  t.equal(formatAddress(4, column, ADDRESS_WORDS), '192.0.2.1');
  t.end();
});

t.test('a text that is no address is refused in the words of the family it could be of', (t) => {
  const rows: [string, RegExp][] = [
    ['', /^"" is not an IPv4 or IPv6 address like 192\.0\.2\.1 or 2001:db8::1$/],
    ['peer', /^"peer" is not an IPv4 or IPv6 address/],
    ['192.0.2', /^"192\.0\.2" is not an IPv4 address/],
    ['192.0.2.256', /256 is above 255$/],
    ['fd00::g', /^"fd00::g" is not an IPv6 address/],
    ['fe80::1%eth0', /is not an IPv6 address/],
    ['192.0.2.1:8285', /is not an IPv6 address/],
    ['x'.repeat(1_000_000), /^.{1,200}$/],
  ];
  for (const [text, message] of rows) {
    t.throws(() => parseAddress(text), { code: 'ERR_ADDRESS_INVALID', message }, text.slice(0, 40));
  }
  t.end();
});

t.test('a unicast address is one that another host of the underlay could have', (t) => {
  const unicast = [
    ...['1.0.0.0', '10.1.2.3', '127.0.0.1', '223.255.255.255'],
    ...[
      '2001:db8::1',
      'fd00::1',
      'fe7f:ffff::',
      'fec0::1',
      'feff::',
      '::2',
      '::1:0',
      '::1:0:1',
      '::fffe:0:1',
    ],
    ...['0:1::', '0:1::1', '1::', '0:1::ffff:1:1', '::1:ffff:192.0.2.1', '64:ff9b::192.0.2.1'],
  ];
  for (const text of unicast) t.ok(isUnicastAddress(parseAddress(text)), text);
  const others = [
    ...['0.0.0.0', '0.1.2.3', '224.0.0.1', '240.0.0.1', '255.255.255.255'],
    ...['::', '::1', 'ff00::', 'ff02::1', 'ffff::', 'fe80::', 'fe80::1', 'febf:ffff::1'],
    ...['::ffff:0.0.0.0', '::ffff:192.0.2.1'],
  ];
  for (const text of others) t.notOk(isUnicastAddress(parseAddress(text)), text);
  t.end();
});

t.test(`texts and words say the same (TEST_SEED=${TEST_SEED})`, (t) => {
  const group = fc.oneof(fc.constant(0n), fc.bigInt({ min: 0n, max: 0xffffn }));
  const ipv6 = fc
    .array(group, { minLength: 8, maxLength: 8 })
    .map((groups) => groups.reduce((address, value) => (address << 16n) | value, 0n));
  fc.assert(
    fc.property(fc.oneof(ipv6, fc.bigInt({ min: 0n, max: MAX_IPV6 })), (address) => {
      const words = new Int32Array(ADDRESS_WORDS);
      putIpv6Words(words, 0, address);
      const hex = Array.from(words, (word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
      const parsed = parseAddress(formatAddress(6, words));
      return BigInt(`0x${hex}`) === address && parsed.family === 6 && parsed.words.join() === words.join();
    }),
    { seed: TEST_SEED, numRuns: 1000 },
  );
  fc.assert(
    fc.property(fc.nat(0xffff_ffff), (address) => {
      const words = Int32Array.of(address, 0, 0, 0);
      const parsed = parseAddress(formatAddress(4, words));
      return parsed.family === 4 && parsed.words.join() === words.join();
    }),
    { seed: TEST_SEED, numRuns: 1000 },
  );
  t.pass('2000 addresses');
  t.end();
});
