import fc from 'fast-check';
import t from 'tap';

import {
  containsIpv4Prefix,
  formatIpv4,
  formatIpv4Prefix,
  isUnicastIpv4,
  overlapsIpv4Prefix,
  parseIpv4,
  parseIpv4Prefix,
} from '../../src/ipv4_prefix.js';
import { TEST_SEED } from './test_seed.js';

t.test('an address is a host-order int32', (t) => {
  const rows: [string, number][] = [
    ['0.0.0.0', 0],
    ['0.0.0.1', 1],
    ['10.1.2.3', 0x0a010203],
    ['127.255.255.255', 0x7fffffff],
    ['128.0.0.0', -0x80000000],
    ['192.168.1.1', -1062731519],
    ['255.255.255.255', -1],
  ];
  for (const [text, address] of rows) {
    t.equal(parseIpv4(text), address, text);
    t.equal(formatIpv4(address), text, `back to ${text}`);
  }
  t.end();
});

t.test('an address that is not four numbers from 0 to 255 is refused with the reason', (t) => {
  const rows: [string, RegExp][] = [
    ['', /expected four numbers/],
    ['10.1.2', /expected four numbers/],
    ['10.1.2.3.4', /expected four numbers/],
    ['10.1.2.', /"" is not a number/],
    ['.1.2.3', /"" is not a number/],
    ['10.1.2.256', /256 is above 255/],
    ['10.1.300.4', /300 is above 255/],
    ['10.1.2.1000', /1000 is above 255/],
    ['10.1.2.03', /03 has a leading zero/],
    ['10.00.2.3', /00 has a leading zero/],
    ['10.1.2.3 ', /"3 " is not a number/],
    [' 10.1.2.3', /" 10" is not a number/],
    ['10.1.-2.3', /"-2" is not a number/],
    ['10.1.+2.3', /"\+2" is not a number/],
    ['10.1.0x2.3', /"0x2" is not a number/],
    ['10.1.1e1.3', /"1e1" is not a number/],
    ['10.1.2.٣', /is not a number/],
    ['10,1,2,3', /expected four numbers/],
    ['fd00::1', /expected four numbers/],
    ['10.1.2.3\n', /is not a number/],
  ];
  for (const [text, message] of rows) {
    t.throws(() => parseIpv4(text), { code: 'ERR_ADDRESS_INVALID', message }, JSON.stringify(text));
  }
  t.end();
});

t.test('a prefix is read in its canonical spelling and written back', (t) => {
  const rows: [string, number, number][] = [
    ['0.0.0.0/0', 0, 0],
    ['128.0.0.0/1', -0x80000000, 1],
    ['10.0.0.0/8', 0x0a000000, 8],
    ['10.1.2.0/24', 0x0a010200, 24],
    ['192.168.1.254/31', -1062731266, 31],
    ['255.255.255.255/32', -1, 32],
  ];
  for (const [text, address, bits] of rows) {
    t.strictSame(parseIpv4Prefix(text), { family: 4, address, bits }, text);
    t.equal(formatIpv4Prefix({ family: 4, address, bits }), text, `back to ${text}`);
  }
  t.end();
});

t.test('a prefix error names what is wrong', (t) => {
  const rows: [string, string][] = [
    ['10.1.2.0', 'the length, as in "/24", is missing'],
    ['10.1.300.0/24', '300 is above 255'],
    ['10.1.2/24', 'expected four numbers from 0 to 255 with dots between them'],
    ['10.1.02.0/24', '02 has a leading zero'],
    ['10.1.2.0/', '"/" is not a length from /0 to /32'],
    ['10.1.2.0/33', '"/33" is not a length from /0 to /32'],
    ['10.1.2.0/024', '"/024" is not a length from /0 to /32'],
    ['10.1.2.0/-1', '"/-1" is not a length from /0 to /32'],
    ['10.1.2.0/24/8', '"/24/8" is not a length from /0 to /32'],
    ['10.1.2.0/24 ', '"/24 " is not a length from /0 to /32'],
    ['10.1.2.0/255.255.255.0', '"/255.255.255.0" is not a length from /0 to /32'],
    ['10.1.2.3/24', 'bits are set after the first 24; the prefix is 10.1.2.0/24'],
    ['128.0.0.0/0', 'bits are set after the first 0; the prefix is 0.0.0.0/0'],
    ['255.255.255.255/31', 'bits are set after the first 31; the prefix is 255.255.255.254/31'],
  ];
  for (const [text, reason] of rows) {
    const message = `${JSON.stringify(text)} is not an IPv4 prefix like 10.1.2.0/24: ${reason}`;
    t.throws(() => parseIpv4Prefix(text), { code: 'ERR_PREFIX_INVALID', message }, text);
  }
  t.end();
});

t.test('an error repeats only the start of a long value', (t) => {
  const text = `${'1'.repeat(1_000_000)}/24`;
  t.throws(() => parseIpv4Prefix(text), { message: /^.{1,300}$/ });
  t.throws(() => parseIpv4('9'.repeat(1_000_000)), { message: /^.{1,300}$/ });
  t.end();
});

t.test('containment and overlap of prefixes', (t) => {
  const rows: [string, string, boolean, boolean][] = [
    ['10.1.0.0/16', '10.1.2.0/24', true, true],
    ['10.1.2.0/24', '10.1.0.0/16', false, true],
    ['10.1.2.0/24', '10.1.2.0/24', true, true],
    ['10.1.2.0/24', '10.1.3.0/24', false, false],
    ['10.1.2.0/24', '10.1.2.255/32', true, true],
    ['10.1.2.0/24', '10.1.3.0/32', false, false],
    ['0.0.0.0/0', '255.255.255.255/32', true, true],
    ['128.0.0.0/1', '127.255.255.255/32', false, false],
    ['192.168.0.1/32', '192.168.0.1/32', true, true],
    ['192.168.0.1/32', '192.168.0.0/32', false, false],
  ];
  for (const [a, b, inside, overlap] of rows) {
    t.equal(containsIpv4Prefix(parseIpv4Prefix(a), parseIpv4Prefix(b)), inside, `${a} contains ${b}`);
    t.equal(overlapsIpv4Prefix(parseIpv4Prefix(a), parseIpv4Prefix(b)), overlap, `${a} overlaps ${b}`);
    t.equal(overlapsIpv4Prefix(parseIpv4Prefix(b), parseIpv4Prefix(a)), overlap, `${b} overlaps ${a}`);
  }
  t.end();
});

t.test('unicast is neither this network, multicast nor reserved', (t) => {
  for (const text of ['1.0.0.0', '10.0.0.1', '127.0.0.1', '192.0.2.1', '223.255.255.255']) {
    t.ok(isUnicastIpv4(parseIpv4(text)), text);
  }
  for (const text of ['0.0.0.0', '0.255.255.255', '224.0.0.0', '239.1.1.1', '240.0.0.1', '255.255.255.255']) {
    t.notOk(isUnicastIpv4(parseIpv4(text)), text);
  }
  t.end();
});

t.test(`every address and prefix survives formatting and parsing (TEST_SEED=${TEST_SEED})`, (t) => {
  const int32 = fc.integer({ min: -0x80000000, max: 0x7fffffff });
  fc.assert(
    fc.property(int32, fc.integer({ min: 0, max: 32 }), (address, bits) => {
      const prefix = parseIpv4Prefix(
        `${formatIpv4(Number((BigInt(address >>> 0) >> BigInt(32 - bits)) << BigInt(32 - bits)))}/${bits}`,
      );
      return (
        parseIpv4(formatIpv4(address)) === address &&
        prefix.bits === bits &&
        containsIpv4Prefix(prefix, { family: 4, address, bits: 32 }) &&
        parseIpv4Prefix(formatIpv4Prefix(prefix)).address === prefix.address
      );
    }),
    { seed: TEST_SEED, numRuns: 2000 },
  );
  t.pass('2000 of each');
  t.end();
});
