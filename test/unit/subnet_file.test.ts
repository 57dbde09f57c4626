/**
 * flanneld's subnet.env, written for the CNI plugin and docker and read at the next start.
 */
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';

import fc from 'fast-check';
import t from 'tap';

import { readSubnetFile, type SubnetFile, writeSubnetFile } from '../../src/host/subnet_file.js';
import { formatIpv6Prefix, maskIpv6Prefix } from '../../src/ipv6_prefix.js';
import { TEST_SEED } from './test_seed.js';

const IPV4 = { network: '10.5.0.0/16', subnet: '10.5.52.0/24', mtuBytes: 1472, ipMasq: false };
const DUAL = {
  ...IPV4,
  ipv6Network: 'fd00:1::/48',
  ipv6Subnet: 'fd00:1:0:2::/64',
  mtuBytes: 8972,
  ipMasq: true,
};

t.test('the file has the lines of flanneld, in its order', async (t) => {
  const path = `${t.testdir()}/subnet.env`;
  await writeSubnetFile(path, IPV4);
  t.equal(
    readFileSync(path, 'utf8'),
    'FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.52.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n',
  );
  await writeSubnetFile(path, DUAL);
  t.equal(
    readFileSync(path, 'utf8'),
    'FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.52.1/24\n' +
      'FLANNEL_IPV6_NETWORK=fd00:1::/48\nFLANNEL_IPV6_SUBNET=fd00:1:0:2::1/64\n' +
      'FLANNEL_MTU=8972\nFLANNEL_IPMASQ=true\n',
  );
  const { ipv6Network, ipv6Subnet } = DUAL;
  await writeSubnetFile(path, { ipv6Network, ipv6Subnet, mtuBytes: 1452, ipMasq: false });
  t.equal(
    readFileSync(path, 'utf8'),
    'FLANNEL_IPV6_NETWORK=fd00:1::/48\nFLANNEL_IPV6_SUBNET=fd00:1:0:2::1/64\n' +
      'FLANNEL_MTU=1452\nFLANNEL_IPMASQ=false\n',
    'IPv6 alone',
  );
  t.strictSame(await readSubnetFile(path), { ipv6Network, ipv6Subnet, mtuBytes: 1452, ipMasq: false });
});

t.test('directory 0755, file 0644, whatever the umask; nothing else is left', async (t) => {
  const before = process.umask(0o027);
  t.teardown(() => process.umask(before));
  const root = t.testdir();
  process.umask(0o022);
  await writeSubnetFile(`${root}/run/flannel/subnet.env`, IPV4);
  t.equal(statSync(`${root}/run/flannel`).mode & 0o777, 0o755);
  process.umask(0o077);
  await writeSubnetFile(`${root}/run/flannel/subnet.env`, IPV4);
  t.equal(statSync(`${root}/run/flannel/subnet.env`).mode & 0o777, 0o644);
  t.strictSame(readdirSync(`${root}/run/flannel`), ['subnet.env']);
});

t.test('what a crash left half-written does not hinder the next write', async (t) => {
  const root = t.testdir({ '.subnet.env': 'FLANNEL_NET' });
  await writeSubnetFile(`${root}/subnet.env`, IPV4);
  t.strictSame(readdirSync(root), ['subnet.env']);
});

t.test('a reader never sees half a file', async (t) => {
  const path = `${t.testdir()}/subnet.env`;
  await writeSubnetFile(path, IPV4);
  let writing = true;
  const writer = (async () => {
    for (let i = 0; i < 30; i++) await writeSubnetFile(path, i % 2 === 0 ? DUAL : IPV4);
    writing = false;
  })();
  const seen = new Set<string>();
  while (writing) seen.add(JSON.stringify(await readSubnetFile(path)));
  await writer;
  for (const each of seen)
    t.ok(
      [DUAL, IPV4].some((whole) => sameKeys(JSON.parse(each) as object, whole)),
      each,
    );
});

function sameKeys(a: object, b: object): boolean {
  return Object.keys(a).sort().join() === Object.keys(b).sort().join();
}

t.test('what was written is read back', async (t) => {
  const path = `${t.testdir()}/subnet.env`;
  for (const content of [IPV4, DUAL]) {
    await writeSubnetFile(path, content);
    t.strictSame(await readSubnetFile(path), content);
  }
});

t.test('any subnet is read back', async (t) => {
  const path = `${t.testdir()}/subnet.env`;
  const subnets = fc.record({
    address: fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }),
    bits: fc.integer({ min: 8, max: 126 }),
  });
  const anyIpv6 = subnets.map(({ address, bits }) => {
    const clear = 2n ** BigInt(128 - bits);
    return formatIpv6Prefix({ family: 6, address: (address / clear) * clear, bits });
  });
  const anyIpv4 = fc
    .record({ address: fc.integer({ min: 0, max: 2 ** 32 - 1 }), bits: fc.integer({ min: 1, max: 30 }) })
    .map(({ address, bits }) => {
      const first = Math.floor(address / 2 ** (32 - bits)) * 2 ** (32 - bits);
      return `${[24, 16, 8, 0].map((shift) => (first >>> shift) & 255).join('.')}/${bits}`;
    });
  await fc.assert(
    fc.asyncProperty(anyIpv4, anyIpv6, async (subnet, ipv6Subnet) => {
      const content = { ...DUAL, subnet, ipv6Subnet };
      await writeSubnetFile(path, content);
      t.strictSame(await readSubnetFile(path), content);
    }),
    { seed: TEST_SEED, numRuns: 50 },
  );
});

t.test('a file of flanneld, or of an operator, is read line by line', async (t) => {
  const path = `${t.testdir()}/subnet.env`;
  const rows: [rule: string, text: string, expected: SubnetFile][] = [
    ['no file', '', {}],
    ['host bits are cleared', 'FLANNEL_NETWORK=10.5.9.9/16', { network: '10.5.0.0/16' }],
    ['the high half of the addresses', 'FLANNEL_SUBNET=203.0.113.1/24', { subnet: '203.0.113.0/24' }],
    ['the longest and the shortest prefix', 'FLANNEL_SUBNET=10.5.9.9/32', { subnet: '10.5.9.9/32' }],
    ['a prefix of everything', 'FLANNEL_NETWORK=10.5.9.9/0', { network: '0.0.0.0/0' }],
    ['any spelling of IPv6', 'FLANNEL_IPV6_SUBNET=FD00:0:0::1/64', { ipv6Subnet: 'fd00::/64' }],
    [
      'several values are none',
      'FLANNEL_NETWORK=10.5.0.0/16,10.6.0.0/16\nFLANNEL_MTU=1400',
      { mtuBytes: 1400 },
    ],
    ['a length that is none', 'FLANNEL_SUBNET=10.5.52.1/33', {}],
    ['a length with a fraction', 'FLANNEL_SUBNET=10.5.52.1/24.5', {}],
    ['no length', 'FLANNEL_SUBNET=10.5.52.1\nFLANNEL_IPV6_SUBNET=fd00::1', {}],
    ['an empty length', 'FLANNEL_SUBNET=10.5.52.1/', {}],
    ['two lengths', 'FLANNEL_SUBNET=10.5.52.1/24/24', {}],
    ['no address', 'FLANNEL_SUBNET=10.5.52/24', {}],
    ['IPv6 in a line for IPv4', 'FLANNEL_SUBNET=fd00::1/64', {}],
    ['IPv4 in a line for IPv6', 'FLANNEL_IPV6_SUBNET=10.5.52.1/24', {}],
    ['an MTU that is none', 'FLANNEL_MTU=-1\nFLANNEL_IPMASQ=true', { ipMasq: true }],
    ['a truth that is none', 'FLANNEL_IPMASQ=yes', {}],
    ['other lines, and lines without a key', '# FLANNEL_MTU=1\n=5\nFLANNEL_MTU\nPATH=/bin', {}],
    ['carriage returns and blanks', ' FLANNEL_MTU = 1472 \r\n', { mtuBytes: 1472 }],
    ['the last of two lines', 'FLANNEL_MTU=1\nFLANNEL_MTU=2', { mtuBytes: 2 }],
    ['names of an object', 'FLANNEL_IPMASQ=toString\n__proto__=1', {}],
  ];
  for (const [rule, text, expected] of rows) {
    if (text !== '') writeFileSync(path, text);
    t.strictSame(await readSubnetFile(path), expected, rule);
  }
});

t.test('a file that cannot be read or written is an error with the remedy', async (t) => {
  const root = t.testdir({ plain: '' });
  mkdirSync(`${root}/directory`);
  const error = { code: 'ERR_SUBNET_FILE', message: /cannot be .*--subnet-file/ };
  await t.rejects(readSubnetFile(`${root}/directory`), error);
  await t.rejects(writeSubnetFile(`${root}/directory`, IPV4), error, 'a directory has its name');
  await t.rejects(writeSubnetFile(`${root}/plain/subnet.env`, IPV4), error, 'a file has its directory');
  t.strictSame(readdirSync(root).sort(), ['directory', 'plain'], 'and nothing is left');
});

t.test('a prefix that is not canonical is not written', async (t) => {
  const path = `${t.testdir()}/subnet.env`;
  const error = { code: 'ERR_PREFIX_INVALID' };
  await t.rejects(writeSubnetFile(path, { ...IPV4, subnet: '10.5.52.1/24' }), error);
  await t.rejects(writeSubnetFile(path, { ...DUAL, ipv6Subnet: 'fd00:1:0:2::1/64' }), error);
  t.equal(formatIpv6Prefix(maskIpv6Prefix('fd00:1:0:2::1/64')), DUAL.ipv6Subnet);
});
