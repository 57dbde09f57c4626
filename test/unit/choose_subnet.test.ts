import fc from 'fast-check';
import t from 'tap';

import { type Choice, chooseSubnet, type SubnetQuestion } from '../../src/lease/network/choose_subnet.js';
import type { LeaseHost } from '../../src/lease/lease_host.js';
import { findFreeSubnets, rangeOf } from '../../src/lease/network/free_subnet.js';
import type { Lease, LeaseSubnets } from '../../src/lease/lease.js';
import { formatLeaseKey } from '../../src/lease/lease_key.js';
import { type NetworkConfig, parseNetworkConfig } from '../../src/lease/network/network_config.js';
import { formatAddress } from '../../src/lease/network/subnet_pool.js';
import { freeSubnets } from '../reference/subnet_choice.js';
import { TEST_SEED } from './test_seed.js';

const OURS = '192.0.2.1';
const THEIRS = '192.0.2.2';
/** Subnets 10.1.1.0/24 to 10.1.255.0/24. */
const USUAL = parseNetworkConfig('{"Network":"10.1.0.0/16"}');
/** 10.1.0.0/24 to 10.1.15.0/24: sixteen. */
const SMALL = parseNetworkConfig('{"Network":"10.1.0.0/20","SubnetMin":"10.1.0.0"}');
/** The same and fd00::/64 to fd00:0:0:3::/64: four. */
const DUAL = parseNetworkConfig(
  '{"Network":"10.1.0.0/20","SubnetMin":"10.1.0.0","EnableIPv6":true,"IPv6Network":"fd00::/62","IPv6SubnetMin":"fd00::"}',
);

function lease(ipv4: string, publicIp = THEIRS, more: { ipv6?: string; reserved?: boolean } = {}): Lease {
  const subnets: LeaseSubnets = more.ipv6 === undefined ? { ipv4 } : { ipv4, ipv6: more.ipv6 };
  return {
    subnets,
    key: formatLeaseKey(subnets),
    value: { publicIp, backendType: '' },
    reserved: more.reserved ?? false,
  };
}

function choose(config: NetworkConfig, leases: readonly Lease[], more: Partial<SubnetQuestion> = {}): Choice {
  const host: LeaseHost = { underlay: 4, address: OURS, value: { publicIp: OURS, backendType: '' } };
  return chooseSubnet({ config, leases, host, random: () => 0, ...more });
}

t.test('the lease with our public IP is used again', (t) => {
  const ours = lease('10.1.7.0/24', OURS);
  t.strictSame(choose(USUAL, [lease('10.1.1.0/24'), ours]), { kind: 'reuse', lease: ours });
  const dual = lease('10.1.7.0/24', OURS, { ipv6: 'fd00:0:0:1::/64' });
  t.strictSame(choose(DUAL, [dual]), { kind: 'reuse', lease: dual });
  t.strictSame(choose(USUAL, [ours], { previous: { ipv4: '10.1.9.0/24' } }), { kind: 'reuse', lease: ours });
  t.end();
});

t.test('a lease that does not fit the config is discarded for a new one', (t) => {
  const rows: [config: NetworkConfig, ours: Lease][] = [
    [SMALL, lease('10.1.16.0/24', OURS)],
    [SMALL, lease('10.0.255.0/24', OURS)],
    [SMALL, lease('10.1.7.0/25', OURS)],
    [SMALL, lease('10.1.6.0/23', OURS)],
    [USUAL, lease('10.1.0.0/24', OURS)],
    [SMALL, lease('10.1.7.0/24', OURS, { ipv6: 'fd00::/64' })],
    [DUAL, lease('10.1.7.0/24', OURS)],
    [DUAL, lease('10.1.7.0/24', OURS, { ipv6: 'fd00:0:0:4::/64' })],
    [DUAL, lease('10.1.7.0/24', OURS, { ipv6: 'fd00::/63' })],
  ];
  for (const [config, ours] of rows) {
    const choice = choose(config, [ours]);
    t.match(choice, { kind: 'create', how: 'new', discard: ours }, ours.key);
    t.notMatch(choice, { warning: /./ });
  }
  t.end();
});

t.test('of several leases of ours one that fits is found, and nothing is discarded', (t) => {
  const unfit = lease('10.1.7.0/25', OURS);
  const fit = lease('10.1.8.0/24', OURS);
  t.strictSame(choose(SMALL, [unfit, fit, lease('10.1.9.0/24', OURS)]), { kind: 'reuse', lease: fit });
  t.end();
});

t.test('a reservation for our public IP comes before our other leases', (t) => {
  const reserved = lease('10.1.9.0/24', OURS, { reserved: true });
  const usual = lease('10.1.8.0/24', OURS);
  const own = lease('10.1.7.0/24', THEIRS);
  t.strictSame(choose(SMALL, [own, usual, reserved], { own: own.key }), { kind: 'reuse', lease: reserved });
  t.end();
});

t.test('a lease that is known to be ours is used though the host has another address now', (t) => {
  const own = lease('10.1.7.0/24', THEIRS);
  const byAddress = lease('10.1.3.0/24', OURS);
  t.strictSame(choose(SMALL, [byAddress, own], { own: own.key }), { kind: 'reuse', lease: own });
  t.match(choose(SMALL, [own], { own: 'subnets/10.1.9.0-24' }), { kind: 'create', how: 'new' });
  const unfit = lease('10.1.7.0/25', THEIRS);
  t.match(choose(SMALL, [unfit], { own: unfit.key }), { kind: 'create', discard: unfit });
  t.end();
});

t.test('a reservation that does not fit is kept, not used, and told', (t) => {
  const reserved = lease('10.1.2.0/23', OURS, { reserved: true });
  const choice = choose(SMALL, [reserved]);
  t.match(choice, {
    kind: 'create',
    how: 'new',
    warning: /reservation subnets\/10\.1\.2\.0-23 .*does not fit/,
  });
  t.match(choice, { warning: /from 10\.1\.0\.0\/24 to 10\.1\.15\.0\/24/ });
  t.notHas(choice, { discard: {} });
  const usual = lease('10.1.8.0/24', OURS);
  t.match(choose(SMALL, [reserved, usual]), { kind: 'reuse', lease: usual, warning: /does not fit/ });
  const unfit = lease('10.1.8.0/25', OURS);
  t.match(choose(SMALL, [reserved, unfit]), { kind: 'create', discard: unfit, warning: /does not fit/ });
  t.match(choose(DUAL, [reserved]), { warning: /and from fd00::\/64 to fd00:0:0:3::\/64/ });
  t.end();
});

t.test("a lease under a key of another spelling takes its subnet and is nobody's to use again", (t) => {
  const odd = { ...lease('10.1.0.0/24', OURS), key: 'subnets/old/10.1.0.0-24' };
  t.strictSame(choose(SMALL, [odd]), { kind: 'create', how: 'new', subnets: { ipv4: '10.1.1.0/24' } });
  t.end();
});

t.test('the subnet from before is taken when it fits and nothing overlaps it', (t) => {
  const previous = { ipv4: '10.1.7.0/24' };
  const taken = { kind: 'create', how: 'previous', subnets: previous };
  t.strictSame(choose(SMALL, [lease('10.1.8.0/24')], { previous }), taken);
  for (const other of ['10.1.7.0/24', '10.1.7.128/25', '10.1.6.0/23', '10.0.0.0/8']) {
    t.notMatch(choose(SMALL, [lease(other)], { previous }), { how: 'previous' }, other);
  }
  t.match(
    choose(SMALL, [], { previous, blocked: [previous] }),
    { how: 'new' },
    'not when its key is blocked',
  );
  t.match(choose(SMALL, [], { previous: { ipv4: '10.1.16.0/24' } }), { how: 'new' }, 'out of range');
  t.match(choose(SMALL, [], { previous: { ipv4: '10.1.7.0/25' } }), { how: 'new' }, 'another length');
  t.match(choose(DUAL, [], { previous }), { how: 'new' }, 'without IPv6 in a network that has it');
  const both = { ipv4: '10.1.7.0/24', ipv6: 'fd00:0:0:1::/64' };
  t.match(choose(SMALL, [], { previous: both }), { how: 'new' }, 'with IPv6 in a network without');
  t.match(choose(DUAL, [], { previous: both }), { how: 'previous', subnets: both });
  const clash = lease('10.1.9.0/24', THEIRS, { ipv6: 'fd00::/63' });
  t.match(choose(DUAL, [clash], { previous: both }), { how: 'new' }, 'when only IPv6 overlaps');
  const unfit = lease('10.1.7.0/25', OURS);
  t.strictSame(
    choose(SMALL, [unfit], { previous }),
    { ...taken, discard: unfit },
    'what is discarded is not in the way',
  );
  t.end();
});

t.test('a new subnet is one of the first hundred free, each as likely', (t) => {
  const leases = [lease('10.1.1.0/24'), lease('10.1.3.0/24'), lease('10.1.100.0/24')];
  const at = (random: number): unknown => {
    const choice = choose(USUAL, leases, { random: () => random });
    return choice.kind === 'create' && choice.subnets.ipv4;
  };
  t.equal(at(0), '10.1.2.0/24');
  t.equal(at(0.0099), '10.1.2.0/24');
  t.equal(at(0.01), '10.1.4.0/24');
  t.equal(at(0.999999), '10.1.103.0/24', 'the hundredth free one');
  t.end();
});

t.test('the IPv6 subnet is chosen by itself', (t) => {
  const leases = [lease('10.1.0.0/24', THEIRS, { ipv6: 'fd00::/64' }), lease('10.1.1.0/24')];
  const draws = [0, 0.999];
  const choice = choose(DUAL, leases, { random: () => draws.shift() ?? 0 });
  t.match(choice, { subnets: { ipv4: '10.1.2.0/24', ipv6: 'fd00:0:0:3::/64' } });
  t.end();
});

t.test('a network of IPv6 alone gives IPv6 alone, and takes nothing else back', (t) => {
  const config = parseNetworkConfig('{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/62"}');
  const only = { ipv6: 'fd00:0:0:2::/64' };
  const dual = { ipv4: '10.1.1.0/24', ...only };
  const taken = [lease('10.1.1.0/24', THEIRS, { ipv6: 'fd00:0:0:1::/64' })];
  t.strictSame(choose(config, taken), { kind: 'create', how: 'new', subnets: only });
  t.match(choose(config, [], { previous: only }), { how: 'previous', subnets: only });
  t.match(choose(config, [], { previous: dual }), { how: 'new' });
  const ours = { ...lease('', OURS), subnets: only, key: formatLeaseKey(only) };
  t.match(choose(config, [ours]), { kind: 'reuse', lease: ours });
  t.match(choose(config, [lease('10.1.1.0/24', OURS, only)]), { kind: 'create', discard: { subnets: dual } });
  t.match(choose(DUAL, [ours]), { kind: 'create', discard: { subnets: only } }, 'nor the other way round');
  t.end();
});

t.test('when nothing is free the message has the numbers and the remedies', (t) => {
  const all = Array.from({ length: 16 }, (_, index) =>
    lease(`10.1.${index}.0/24`, THEIRS, { reserved: index % 5 === 1 }),
  );
  t.strictSame(choose(SMALL, [...all, lease('10.2.0.0/24', THEIRS, { reserved: true })]), {
    kind: 'full',
    message:
      'out of subnets: all 16 subnets from 10.1.0.0/24 to 10.1.15.0/24 are leased (3 of them reserved); ' +
      'widen SubnetMin..SubnetMax or Network, or release one: selvage lease list',
  });
  const six = lease('10.9.0.0/24', THEIRS, { ipv6: 'fd00::/16' });
  t.match(choose(DUAL, [six]), {
    kind: 'full',
    message:
      /^out of subnets: all 4 IPv6 subnets from fd00::\/64 to fd00:0:0:3::\/64 .*widen IPv6SubnetMin..IPv6SubnetMax/,
  });
  t.match(
    choose(SMALL, [lease('10.1.0.0/24', THEIRS), lease('10.1.0.0/17', THEIRS), lease('10.0.0.0/8', THEIRS)]),
    { kind: 'full', message: /many of them by the one key subnets\/10\.0\.0\.0-8;/ },
    'a key that takes them all is named',
  );
  t.notMatch(
    choose(SMALL, [...all, lease('10.2.0.0/16', THEIRS)]),
    { message: /10\.2\.0\.0-16/ },
    'one that takes none of them is not',
  );
  const blocked = all.slice(1).map(({ subnets }) => subnets);
  t.match(choose(SMALL, all.slice(0, 1), { blocked }), { kind: 'full' }, 'blocked keys count');
  t.end();
});

t.test('a pool is walked by its leases: 10,000 in a /8, and a wide lease over 2^56 subnets', (t) => {
  const config = parseNetworkConfig(
    '{"Network":"10.0.0.0/8","EnableIPv6":true,"IPv6Network":"fd00::/8","IPv6SubnetMax":"fdff:ffff:ffff:ffff::"}',
  );
  const leases = Array.from({ length: 10_000 }, (_, index) =>
    lease(`10.${index >> 8}.${index & 255}.0/24`, THEIRS, { ipv6: 'fd00::/9' }),
  );
  t.strictSame(choose(config, leases), {
    kind: 'create',
    how: 'new',
    subnets: { ipv4: '10.39.16.0/24', ipv6: 'fd80::/64' },
  });
  t.end();
});

t.test(`free subnets are those of a slow search, whatever the lengths (TEST_SEED=${TEST_SEED})`, (t) => {
  const prefix = (family: 4 | 6, addressBits: number, base: bigint, baseBits: number) =>
    fc
      .record({
        bits: fc.integer({ min: baseBits - 2, max: addressBits }),
        low: fc.bigInt({ min: 0n, max: 0xfffn }),
      })
      .map(({ bits, low }) => {
        const spread = base | (low << BigInt(addressBits - baseBits - 12));
        const shift = BigInt(addressBits - bits);
        return { family, address: (spread >> shift) << shift, bits };
      });
  const rows = [
    { family: 4, addressBits: 32, base: 0x0a010000n, baseBits: 16, config: '"Network":"10.1.0.0/16"' },
    { family: 6, addressBits: 128, base: 0xfdn << 120n, baseBits: 56, config: '"IPv6Network":"fd00::/56"' },
  ] as const;
  for (const { family, addressBits, base, baseBits, config } of rows) {
    const length = fc.integer({ min: baseBits + 2, max: baseBits + 10 });
    const taken = fc.array(prefix(family, addressBits, base, baseBits), { maxLength: 40 });
    fc.assert(
      fc.property(length, taken, fc.integer({ min: 1, max: 120 }), (bits, prefixes, most) => {
        const lengthField = family === 4 ? 'SubnetLen' : 'IPv6SubnetLen';
        const dual = family === 4 ? '' : '"EnableIPv6":true,"Network":"10.0.0.0/8",';
        const parsed = parseNetworkConfig(`{${dual}${config},"${lengthField}":${bits}}`);
        const { pool } = family === 4 ? parsed.ipv4! : parsed.ipv6!;
        const ranges = prefixes.map((taken) =>
          rangeOf(family, `${formatAddress(family, taken.address)}/${taken.bits}`),
        );
        const fast = findFreeSubnets(pool, ranges, most);
        const slow = freeSubnets({ ...pool, addressBits }, prefixes).slice(0, most);
        return fast.length === slow.length && fast.every((address, index) => address === slow[index]);
      }),
      { seed: TEST_SEED, numRuns: 300 },
    );
    t.pass(`300 pools of IPv${family}`);
  }
  t.end();
});
