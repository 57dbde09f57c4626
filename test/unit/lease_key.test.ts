import fc from 'fast-check';
import t from 'tap';

import { formatLeaseKey, parseLeaseKey } from '../../src/lease/lease_key.js';
import { readLease } from '../../src/lease/read_lease.js';
import { TEST_SEED } from './test_seed.js';

t.test('a key has the form that flanneld gives it', (t) => {
  t.equal(formatLeaseKey({ ipv4: '10.5.52.0/24' }), 'subnets/10.5.52.0-24');
  t.equal(
    formatLeaseKey({ ipv4: '10.12.13.0/24', ipv6: 'fd00:12:13::/56' }),
    'subnets/10.12.13.0-24&fd00:12:13::-56',
  );
  t.equal(formatLeaseKey({ ipv6: 'fd00:12:13::/56' }), 'subnets/0.0.0.0-0&fd00:12:13::-56', 'IPv6 alone');
  t.end();
});

t.test('every key that flanneld matches is read: the end counts, and any spelling', (t) => {
  const rows: [key: string, ipv4: string | undefined, ipv6?: string][] = [
    ['subnets/10.5.52.0-24', '10.5.52.0/24'],
    ['subnets/10.12.13.0-24&fd00:12:13::-56', '10.12.13.0/24', 'fd00:12:13::/56'],
    ['10.5.52.0-24', '10.5.52.0/24'],
    ['subnets/old/10.5.52.0-24', '10.5.52.0/24'],
    ['subnets-old/x10.5.52.0-24', '10.5.52.0/24'],
    ['subnets/10.5.52.0-024', '10.5.52.0/24'],
    ['subnets/0.0.0.0-0', '0.0.0.0/0'],
    ['subnets/10.5.52.2-31', '10.5.52.2/31'],
    ['subnets/10.1.2.0-24&fd00:0:0:1:0:0:0:0-64', '10.1.2.0/24', 'fd00:0:0:1::/64'],
    ['subnets/10.1.2.0-24&fd00::2-127', '10.1.2.0/24', 'fd00::2/127'],
    ['subnets/10.1.2.0-24&::-0', '10.1.2.0/24', '::/0'],
    ['subnets/0.0.0.0-0&fd00:12:13::-56', undefined, 'fd00:12:13::/56'],
  ];
  for (const [key, ipv4, ipv6] of rows) {
    const expected = { ...(ipv4 === undefined ? {} : { ipv4 }), ...(ipv6 === undefined ? {} : { ipv6 }) };
    t.strictSame(parseLeaseKey(key), expected, key);
  }
  t.end();
});

t.test('a key that names no subnet, or one with host bits, is no lease', (t) => {
  const rows = [
    '',
    'config',
    'subnets',
    'subnets/',
    'subnets/10.1.2.0',
    'subnets/10.1.2.0-',
    'subnets/10.1.2.0/24',
    'subnets/10.1.2-24',
    'subnets/10.1.2.0-24/',
    'subnets/10.1.2.0-24 ',
    'subnets/10.1.2.0-24\n',
    'subnets/10.1.2.0-24.bak',
    'subnets/10.1.2.0-32',
    'subnets/10.1.2.0-99999999999999999999',
    'subnets/10.1.2.256-24',
    'subnets/1210.1.2.0-24',
    'subnets/10.1.02.0-24',
    'subnets/10.1.2.3-24',
    'subnets/fd00:1::-64',
    'subnets/10.1.2.0-24&',
    'subnets/10.1.2.0-24&fd00:1::',
    'subnets/10.1.2.0-24&fd00:1::-128',
    'subnets/10.1.2.0-24&FD00:1::-64',
    'subnets/10.1.2.0-24&fd00:1::1-64',
    'subnets/10.1.2.0-24&fd00:1-64',
    'subnets/10.1.2.0-24&:::-64',
    `subnets/${'x'.repeat(300)}/10.1.2.0-24`,
  ];
  for (const key of rows) t.equal(parseLeaseKey(key), undefined, JSON.stringify(key.slice(0, 60)));
  t.end();
});

t.test('a key of a megabyte is refused without walking it', (t) => {
  const nasty = `${'1.'.repeat(500_000)}-24`;
  t.equal(parseLeaseKey(nasty), undefined);
  t.equal(parseLeaseKey('1'.repeat(1_000_000)), undefined);
  t.end();
});

t.test(`every key that is written is read back (TEST_SEED=${TEST_SEED})`, (t) => {
  const hextets = fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 3, maxLength: 3 });
  const octets = fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 3, maxLength: 3 });
  fc.assert(
    fc.property(fc.option(octets), fc.option(hextets), (quad, groups) => {
      fc.pre(quad !== null || groups !== null);
      const hex = groups?.map((group) => (group | 0x1000).toString(16)).join(':');
      const subnets = {
        ...(quad === null ? {} : { ipv4: `${quad.join('.')}.0/24` }),
        ...(hex === undefined ? {} : { ipv6: `${hex}::/48` }),
      };
      const back = parseLeaseKey(formatLeaseKey(subnets));
      return back !== undefined && back.ipv4 === subnets.ipv4 && back.ipv6 === subnets.ipv6;
    }),
    { seed: TEST_SEED, numRuns: 1000 },
  );
  t.pass('1000 keys');
  t.end();
});

t.test('an entry is a lease, or says why not', (t) => {
  const entry = (key: string, value: string, grant = '1') => ({
    key,
    value,
    grant,
    createdAt: 5n,
    revision: 7n,
  });
  const value = '{"PublicIP":"192.0.2.1","PublicIPv6":null}';
  const key = 'subnets/10.1.2.0-24';
  const subnets = { ipv4: '10.1.2.0/24' };
  const lease = { key, subnets, value: { publicIp: '192.0.2.1', backendType: '' }, reserved: false };
  t.strictSame(readLease(entry(key, value)), lease);
  t.strictSame(
    readLease(entry(key, value, '')),
    { ...lease, reserved: true },
    'no time limit: a reservation',
  );
  t.strictSame(readLease(entry('subnets/10.1.2.3-24', value)), {
    key: 'subnets/10.1.2.3-24',
    reason: 'the key names no subnet: expected the form subnets/10.1.2.0-24',
  });
  const rows: [value: string, reason: RegExp][] = [
    ['{"PublicIP":"224.0.0.1"}', /^PublicIP 224.0.0.1 is no address at which others reach a host$/],
    ['{"PublicIP":"0.0.0.0"}', /^PublicIP 0.0.0.0 is no address at which others reach a host$/],
    ['{"PublicIP":"255.255.255.255"}', /is no address at which others reach a host$/],
    ['{"PublicIP":"127.0.0.1"}', /is no address at which others reach a host$/],
    [
      '{"PublicIP":"0.0.0.0","PublicIPv6":"::1"}',
      /^PublicIPv6 ::1 is no address at which others reach a host$/,
    ],
    ['{"PublicIP":"0.0.0.0","PublicIPv6":"fe80::1"}', /^PublicIPv6 fe80::1 is no address/],
    ['{"PublicIP":"0.0.0.0","PublicIPv6":"::ffff:192.0.2.1"}', /^PublicIPv6 .* is no address/],
    ['{"PublicIP":"127.0.0.1","PublicIPv6":"2001:db8::1"}', /^PublicIP 127.0.0.1 is no address/],
    ['{}', /^PublicIP is missing$/],
    ['', /^not valid JSON at line 1, column 1: the file ends/],
  ];
  for (const [text, reason] of rows) {
    const problem = readLease(entry(key, text));
    t.match(problem, { key, reason, subnets }, `${text}: the subnet is known to be taken all the same`);
  }
  t.end();
});
