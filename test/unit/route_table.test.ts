import fc from 'fast-check';
import t from 'tap';

import { ADDRESS_WORDS, parseAddress } from '../../src/ip_address.js';
import { formatIpv4, parseIpv4, type Ipv4Prefix } from '../../src/ipv4_prefix.js';
import { formatIpv6, type Ipv6Prefix, parseIpv6 } from '../../src/ipv6_prefix.js';
import { parsePrefix } from '../../src/prefix.js';
import { buildRouteTable, type TableRoute } from '../../src/routing/build_route_table.js';
import {
  EMPTY_SLOT,
  ENDPOINT_WORDS,
  foldAddress,
  isEndpoint,
  isPeer,
  LOCAL,
  lookupIpv4,
  lookupIpv6,
  NO_ROUTE,
  peerSlot,
  RouteTable,
} from '../../src/routing/route_table.js';
import { LinearRouter } from '../reference/linear_router.js';
import { seededRandom } from '../reference/seeded_random.js';
import { TEST_SEED } from './test_seed.js';

const MAX_IPV4 = 0xffff_ffff;
const MAX_IPV6 = 2n ** 128n - 1n;

/** Endpoint columns for ids 0..count-1: id n is 192.168.0.n port 8285; id 0 has none. */
function endpointsFor(count: number): Int32Array {
  return endpointsOf(count, (id) => Int32Array.of(parseIpv4('192.168.0.0') + id, 0, 0, 0));
}

/** Endpoint columns for ids 0..count-1; undefined is a free id. */
function endpointsOf(count: number, wordsOf: (id: number) => Int32Array | undefined): Int32Array {
  const columns = new Int32Array(count * ENDPOINT_WORDS);
  for (let id = 1; id < count; id++) {
    const words = wordsOf(id);
    if (words !== undefined) columns.set([...words, 8285], id * ENDPOINT_WORDS);
  }
  return columns;
}

function tableOf(routes: readonly (readonly [string, number])[], endpoints = endpointsFor(8)): RouteTable {
  const parsed = routes.map(([text, nextHopId]): TableRoute => ({
    prefix: parsePrefix(text),
    nextHopId,
  }));
  return new RouteTable(buildRouteTable(parsed, endpoints, 1));
}

function lookup(table: RouteTable, address: string): number {
  if (!address.includes(':')) return lookupIpv4(table, parseIpv4(address));
  return lookupBytes(table, parseIpv6(address));
}

/** The address lies somewhere inside a frame. */
function lookupBytes(table: RouteTable, address: bigint): number {
  const at = 7;
  const frame = new Uint8Array(at + 16 + 4).fill(0xa5);
  for (let i = 0; i < 16; i++) frame[at + i] = Number((address >> BigInt(8 * (15 - i))) & 0xffn);
  return lookupIpv6(table, frame, at);
}

function isPeerText(table: RouteTable, address: string): boolean {
  return isPeer(table, parseAddress(address).words, 0);
}

t.test('an empty table routes nothing', (t) => {
  const table = new RouteTable(buildRouteTable([], new Int32Array(0), 1));
  const ipv4 = ['0.0.0.0', '10.1.2.3', '127.255.255.255', '128.0.0.0', '255.255.255.255'];
  const ipv6 = ['::', '::1', 'fd00::1', '7fff::', '8000::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'];
  for (const address of [...ipv4, ...ipv6]) {
    t.equal(lookup(table, address), NO_ROUTE, address);
    t.notOk(isPeerText(table, address), `${address} is no peer`);
  }
  t.end();
});

t.test('a prefix routes its first to last address and no other', (t) => {
  const rows: [prefix: string, before: string, first: string, last: string, after: string][] = [
    ['10.0.0.0/8', '9.255.255.255', '10.0.0.0', '10.255.255.255', '11.0.0.0'],
    ['10.2.0.0/15', '10.1.255.255', '10.2.0.0', '10.3.255.255', '10.4.0.0'],
    ['10.1.0.0/16', '10.0.255.255', '10.1.0.0', '10.1.255.255', '10.2.0.0'],
    ['10.1.128.0/17', '10.1.127.255', '10.1.128.0', '10.1.255.255', '10.2.0.0'],
    ['10.1.2.0/24', '10.1.1.255', '10.1.2.0', '10.1.2.255', '10.1.3.0'],
    ['10.1.2.128/25', '10.1.2.127', '10.1.2.128', '10.1.2.255', '10.1.3.0'],
    ['10.1.2.6/31', '10.1.2.5', '10.1.2.6', '10.1.2.7', '10.1.2.8'],
    ['10.1.2.7/32', '10.1.2.6', '10.1.2.7', '10.1.2.7', '10.1.2.8'],
    ['127.255.255.0/24', '127.255.254.255', '127.255.255.0', '127.255.255.255', '128.0.0.0'],
    ['128.0.0.0/24', '127.255.255.255', '128.0.0.0', '128.0.0.255', '128.0.1.0'],
    ['fc00::/7', 'fbff:ffff::', 'fc00::', 'fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', 'fe00::'],
    ['fd00::/8', 'fcff:ffff::', 'fd00::', 'fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', 'fe00::'],
    ['fd00::/9', 'fcff:ffff::', 'fd00::', 'fd7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff', 'fd80::'],
    ['fd00:1::/32', 'fd00:0:ffff::', 'fd00:1::', 'fd00:1:ffff:ffff:ffff:ffff:ffff:ffff', 'fd00:2::'],
    ['fd00:1:2::/48', 'fd00:1:1:ffff::', 'fd00:1:2::', 'fd00:1:2:ffff:ffff:ffff:ffff:ffff', 'fd00:1:3::'],
    [
      'fd00:1:2:80::/57',
      'fd00:1:2:7f::',
      'fd00:1:2:80::',
      'fd00:1:2:ff:ffff:ffff:ffff:ffff',
      'fd00:1:2:100::',
    ],
    [
      'fd00:0:0:2::/64',
      'fd00::1:ffff:ffff:ffff:ffff',
      'fd00::2:0:0:0:0',
      'fd00::2:ffff:ffff:ffff:ffff',
      'fd00::3:0:0:0:0',
    ],
    [
      'fd00::8000:0:0:0/65',
      'fd00::7fff:ffff:ffff:ffff',
      'fd00::8000:0:0:0',
      'fd00::ffff:ffff:ffff:ffff',
      'fd00::1:0:0:0:0',
    ],
    ['fd00::/120', 'fcff:ffff::', 'fd00::', 'fd00::ff', 'fd00::100'],
    ['fd00::6/127', 'fd00::5', 'fd00::6', 'fd00::7', 'fd00::8'],
    ['fd00::7/128', 'fd00::6', 'fd00::7', 'fd00::7', 'fd00::8'],
    ['7fff:ffff::/32', '7fff:fffe:ffff::', '7fff:ffff::', '7fff:ffff:ffff::', '8000::'],
  ];
  for (const [prefix, before, first, last, after] of rows) {
    const table = tableOf([[prefix, 3]]);
    const found = [before, first, last, after].map((address) => lookup(table, address));
    t.strictSame(found, [NO_ROUTE, 3, 3, NO_ROUTE], prefix);
  }
  t.end();
});

t.test('the longest prefix wins at every level, in whatever order they come', (t) => {
  const routes: [string, number][] = [
    ['0.0.0.0/0', 1],
    ['10.0.0.0/8', 2],
    ['10.1.0.0/16', 3],
    ['10.1.2.0/24', 4],
    ['10.1.2.128/25', 5],
    ['10.1.2.200/32', 6],
  ];
  const expected: [string, number][] = [
    ['11.0.0.0', 1],
    ['10.2.0.0', 2],
    ['10.1.3.0', 3],
    ['10.1.2.127', 4],
    ['10.1.2.128', 5],
    ['10.1.2.200', 6],
    ['10.1.2.201', 5],
  ];
  for (const order of [routes, [...routes].reverse()]) {
    const table = tableOf(order);
    for (const [address, id] of expected) t.equal(lookup(table, address), id, address);
  }
  t.end();
});

t.test('the longest IPv6 prefix wins at every byte, in whatever order they come', (t) => {
  const whole = parseIpv6('fd12:3456:789a:bcde:f012:3456:789a:bcde');
  const routes = Array.from({ length: 129 }, (_, bits): TableRoute => ({
    prefix: { family: 6, address: (whole >> BigInt(128 - bits)) << BigInt(128 - bits), bits },
    nextHopId: bits + 1,
  }));
  for (const order of [routes, [...routes].reverse()]) {
    const table = new RouteTable(buildRouteTable(order, endpointsFor(130), 1));
    t.equal(lookupBytes(table, whole), 129);
    // An address that agrees in exactly the first `bits` bits belongs to the prefix of that length.
    const found = routes
      .slice(0, 128)
      .map((_, bits) => lookupBytes(table, whole ^ (1n << BigInt(127 - bits))));
    t.strictSame(
      found,
      routes.slice(0, 128).map(({ nextHopId }) => nextHopId),
    );
  }
  t.end();
});

t.test('the families do not see each other', (t) => {
  const table = tableOf([
    ['0.0.0.0/0', 1],
    ['fd00::/64', 2],
  ]);
  t.equal(lookup(table, 'fd00::1'), 2);
  t.equal(lookup(table, 'fd00:0:0:1::1'), NO_ROUTE);
  t.equal(lookup(table, '::'), NO_ROUTE);
  t.equal(lookup(table, '253.0.0.1'), 1);
  const other = tableOf([
    ['10.0.0.0/8', 1],
    ['::/0', 2],
  ]);
  t.equal(lookup(other, '11.0.0.1'), NO_ROUTE);
  t.equal(lookup(other, 'a00::1'), 2);
  t.end();
});

t.test('own subnets are routed to LOCAL', (t) => {
  const table = tableOf([
    ['10.1.0.0/16', 2],
    ['10.1.1.0/24', LOCAL],
    ['fd00:1::/48', 3],
    ['fd00:1:0:1::/64', LOCAL],
  ]);
  t.equal(lookup(table, '10.1.1.9'), LOCAL);
  t.equal(lookup(table, '10.1.2.9'), 2);
  t.equal(lookup(table, 'fd00:1:0:1::9'), LOCAL);
  t.equal(lookup(table, 'fd00:1:0:2::9'), 3);
  t.end();
});

t.test('of equal prefixes the last wins', (t) => {
  const table = tableOf([
    ['10.1.2.0/24', 1],
    ['10.1.2.0/24', 2],
    ['fd00::/64', 1],
    ['fd00::/64', 3],
  ]);
  t.equal(lookup(table, '10.1.2.1'), 2);
  t.equal(lookup(table, 'fd00::1'), 3);
  t.end();
});

t.test('the header and the endpoints are readable', (t) => {
  const endpoints = endpointsFor(3);
  const table = new RouteTable(buildRouteTable([], endpoints, 77));
  t.equal(table.generation, 77);
  t.equal(table.nextHops, 3);
  t.strictSame([...table.endpoints], [...endpoints]);
  t.ok(table.endpoints.buffer instanceof SharedArrayBuffer);
  t.end();
});

t.test('the block has exactly the words it needs', (t) => {
  const empty = 16 + 65_536 + 256; // header and roots
  const peers = (hops: number, slots: number): number => hops * 5 + slots;
  const words = (routes: [string, number][], hops: number): number =>
    tableOf(routes, endpointsFor(hops)).words.length;
  t.equal(words([['10.1.0.0/16', 1]], 2), empty + peers(2, 4), 'no chunk for a prefix within the root');
  t.equal(words([['10.1.2.0/24', 1]], 2), empty + 256 + peers(2, 4), 'one chunk for a /24');
  t.equal(words([['fd00::/8', 1]], 2), empty + peers(2, 4), 'no chunk for an IPv6 prefix within the root');
  t.equal(
    words([['fd00::/64', 1]], 2),
    empty + 7 * 256 + peers(2, 4),
    'a chunk for each further byte of a /64',
  );
  const many: [string, number][] = [
    ['10.1.2.0/24', 1],
    ['10.1.3.0/24', 2],
    ['10.1.3.7/32', 3],
    ['fd00:0:0:1::/64', 1],
    ['fd00:0:0:2::/64', 2],
    ['fd00:0:0:2::7/128', 3],
  ];
  t.equal(words(many, 4), empty + 2 * 256 + 15 * 256 + peers(4, 8), 'chunks are shared');
  t.end();
});

/** Addresses of one family by number: neighbours, as hosts of one network have them. */
const neighbours = {
  4: (n: number) => Int32Array.of(parseIpv4('10.0.0.0') + n, 0, 0, 0),
  6: (n: number) => Int32Array.of(0x20010db8, n % 3, 0, n),
};

for (const family of [4, 6] as const) {
  t.test(`peers are the addresses of all endpoints and nobody else: IPv${family}`, (t) => {
    const random = seededRandom(TEST_SEED);
    const word = (): number => (random() * 2 ** 32) | 0;
    t.comment(`TEST_SEED=${TEST_SEED}`);
    for (const count of [1, 2, 3, 4, 5, 64, 65, 1000, 65_536]) {
      const known = new Map<string, Int32Array>();
      const endpoints = endpointsOf(count, (id) => {
        if (id % 7 === 0) return undefined;
        const scattered =
          family === 4 ? Int32Array.of(word() || 1, 0, 0, 0) : Int32Array.from({ length: 4 }, word);
        const words = id % 2 === 0 ? neighbours[family](id) : scattered;
        known.set(words.join(), words);
        return words;
      });
      const table = new RouteTable(buildRouteTable([], endpoints, 1));
      let missed = 0;
      let wrong = 0;
      for (const words of known.values()) {
        if (!isPeer(table, words, 0)) missed++;
        // Every word counts, so a change of any makes a stranger, unless that is a peer as well.
        for (let at = 0; at < (family === 4 ? 1 : ADDRESS_WORDS); at++) {
          for (const near of [words[at]! - 1, words[at]! + 1, ~words[at]!]) {
            const other = words.with(at, near);
            if (isPeer(table, other, 0) !== known.has(other.join())) wrong++;
          }
        }
      }
      t.equal(missed, 0, `${count} next hops: all found`);
      t.equal(wrong, 0, `${count} next hops: no other found`);
      t.notOk(isPeer(table, new Int32Array(ADDRESS_WORDS), 0), 'the unspecified address is no peer');
    }
    t.end();
  });

  t.test(`peers whose addresses collide in the set are all found: IPv${family}`, (t) => {
    const shift = 32 - 5; // 16 next hops make 32 slots
    const colliding: Int32Array[] = [];
    for (let n = 1; colliding.length < 16; n++) {
      const words = neighbours[family](n);
      if (peerSlot(words, 0, shift) === 31) colliding.push(words); // the last slot, so that the walk wraps around
    }
    const stranger = colliding.pop()!;
    const table = new RouteTable(
      buildRouteTable(
        [],
        endpointsOf(16, (id) => colliding[id - 1]),
        1,
      ),
    );
    t.equal(table.peerShift, shift);
    t.ok(colliding.every((words) => isPeer(table, words, 0)));
    t.notOk(isPeer(table, stranger, 0), 'a stranger with the same slot is none');
    t.ok(table.words.subarray(table.peersAt).filter((id) => id === EMPTY_SLOT).length >= 16, 'half is free');
    t.end();
  });
}

t.test('two peers on one address with different ports are one address in the set', (t) => {
  const { words } = parseAddress('2001:db8::9');
  const columns = Int32Array.of(0, 0, 0, 0, 0, ...words, 8285, ...words, 8286);
  const table = new RouteTable(buildRouteTable([], columns, 1));
  t.ok(isPeer(table, words, 0));
  t.equal(table.words.subarray(table.peersAt).filter((id) => id !== EMPTY_SLOT).length, 1);
  t.end();
});

t.test('an address is the endpoint of its own next hop only, whatever the words around it', (t) => {
  for (const texts of [
    ['192.0.2.1', '192.0.2.2', '192.0.2.3'],
    ['2001:db8::1', '2001:db8::2', '2001:db8:1::1'],
  ]) {
    const table = new RouteTable(
      buildRouteTable(
        [],
        endpointsOf(4, (id) => parseAddress(texts[id - 1]!).words),
        1,
      ),
    );
    const column = new Int32Array(5 * ADDRESS_WORDS).fill(-1);
    texts.forEach((text, row) => column.set(parseAddress(text).words, (row + 1) * ADDRESS_WORDS));
    for (let row = 0; row < 5; row++) {
      const found = [1, 2, 3].filter((id) => isEndpoint(table, id, column, row * ADDRESS_WORDS));
      t.strictSame(found, row >= 1 && row <= 3 ? [row] : [], `row ${row}`);
      t.equal(isPeer(table, column, row * ADDRESS_WORDS), found.length > 0, `row ${row} is a peer`);
    }
  }
  t.end();
});

t.test('every word of an endpoint counts', (t) => {
  const { words } = parseAddress('2001:db8:1:2:3:4:5:6');
  const table = new RouteTable(
    buildRouteTable(
      [],
      endpointsOf(2, () => words),
      1,
    ),
  );
  t.ok(isEndpoint(table, 1, words, 0));
  for (let at = 0; at < ADDRESS_WORDS; at++)
    t.notOk(isEndpoint(table, 1, words.with(at, ~words[at]!), 0), `word ${at}`);
  t.end();
});

t.test('neighbouring addresses hardly collide in the peer set, whichever word counts up', (t) => {
  const count = 65_536;
  const shift = 32 - 17;
  for (let at = 0; at < ADDRESS_WORDS; at++) {
    const words = parseAddress('2001:db8::').words;
    const taken = new Int32Array(2 ** 17);
    for (let n = 0; n < count; n++) {
      words[at] = n;
      taken[peerSlot(words, 0, shift)]!++;
    }
    t.ok(
      taken.every((addresses) => addresses <= 16),
      `word ${at}: at most sixteen of 65,536 to a slot`,
    );
  }
  t.equal(foldAddress(parseAddress('192.0.2.1').words, 0), parseIpv4('192.0.2.1'), 'IPv4 is its own fold');
  t.end();
});

t.test('a next hop without an endpoint is an internal error', (t) => {
  t.throws(() => tableOf([['10.1.2.0/24', 8]]), { code: 'ERR_INTERNAL' });
  t.throws(() => tableOf([['10.1.2.0/24', -1]]), { code: 'ERR_INTERNAL' });
  t.throws(() => tableOf([], new Int32Array(ENDPOINT_WORDS + 1)), { code: 'ERR_INTERNAL' });
  t.end();
});

t.test('a table that would pass 256 MiB is refused', (t) => {
  function* scattered(): Generator<TableRoute> {
    for (let high = 0; high < 65_536; high++) {
      for (const middle of [0, 1, 2]) {
        yield { prefix: { family: 4, address: (high << 16) | (middle << 8), bits: 32 }, nextHopId: 1 };
      }
    }
  }
  t.throws(() => buildRouteTable(scattered(), endpointsFor(2), 1), { code: 'ERR_ROUTE_LIMIT' });
  function* scatteredIpv6(): Generator<TableRoute> {
    for (let high = 0n; high < 65_536n; high++) {
      yield { prefix: { family: 6, address: high << 112n, bits: 64 }, nextHopId: 1 };
    }
  }
  t.throws(() => buildRouteTable(scatteredIpv6(), endpointsFor(2), 1), { code: 'ERR_ROUTE_LIMIT' });
  t.end();
});

t.test('65,536 routes of /24 and as many of /64 are all found', (t) => {
  const ipv6 = (i: number): bigint => parseIpv6('fd00:10:244::') | (BigInt(i) << 64n);
  const routes: TableRoute[] = [];
  for (let i = 0; i < 65_536; i++) {
    routes.push({ prefix: { family: 4, address: (10 << 24) | (i << 8), bits: 24 }, nextHopId: i + 1 });
    routes.push({ prefix: { family: 6, address: ipv6(i), bits: 64 }, nextHopId: 65_536 - i });
  }
  const table = new RouteTable(buildRouteTable(routes, endpointsFor(65_537), 1));
  let wrong = 0;
  for (let i = 0; i < 65_536; i++) {
    for (const host of [0, 1, 255]) {
      if (lookupIpv4(table, (10 << 24) | (i << 8) | host) !== i + 1) wrong++;
      if (lookupBytes(table, ipv6(i) | (BigInt(host) << 56n)) !== 65_536 - i) wrong++;
    }
  }
  t.equal(wrong, 0);
  for (const beside of ['9.255.255.255', '11.0.0.0', 'fd00:10:243:ffff::', 'fd00:10:245::']) {
    t.equal(lookup(table, beside), NO_ROUTE, beside);
  }
  t.end();
});

/** A prefix of any length near a few places, so that prefixes nest and meet at the borders of the trie's levels. */
const nestedPrefix: fc.Arbitrary<Ipv4Prefix> = fc
  .tuple(
    fc.constantFrom(0, 0x0a000000, 0x0a010000, 0x0a010200, 0x7fffff00, 0x80000000, 0xc0a80000, 0xffffff00),
    fc.oneof(fc.nat(3), fc.nat(0x3ff), fc.nat(0x3ffff), fc.nat(MAX_IPV4)),
    fc.oneof(fc.constantFrom(0, 1, 8, 15, 16, 17, 23, 24, 25, 31, 32), fc.nat(32)),
  )
  .map(([place, offset, bits]) => {
    const host = 2 ** (32 - bits);
    const address = Math.floor(((place + offset) % 2 ** 32) / host) * host;
    return { family: 4, address: address | 0, bits };
  });

/** The same for IPv6, near its own borders. */
const nestedIpv6Prefix: fc.Arbitrary<Ipv6Prefix> = fc
  .tuple(
    fc.constantFrom(
      '::',
      'fd00::',
      'fd00:10:244::',
      'fd00:10:244:ff::',
      '7fff:ffff::',
      '8000::',
      'ffff:ffff::',
    ),
    fc.oneof(
      fc.bigInt({ min: 0n, max: 0x3ffn }),
      fc.bigInt({ min: 0n, max: 0xfffn }).map((n) => n << 60n),
      fc.bigInt({ min: 0n, max: 0x3ffn }).map((n) => n << 76n),
      fc.bigInt({ min: 0n, max: MAX_IPV6 }),
    ),
    fc.oneof(fc.constantFrom(0, 1, 7, 8, 9, 48, 55, 56, 57, 63, 64, 65, 71, 72, 73, 127, 128), fc.nat(128)),
  )
  .map(([place, offset, bits]) => {
    const hostBits = BigInt(128 - bits);
    const address = (((parseIpv6(place) + offset) & MAX_IPV6) >> hostBits) << hostBits;
    return { family: 6, address, bits };
  });

/** First and last address of a prefix, and the ones beside it. */
function boundaries({ address, bits }: Ipv4Prefix): number[] {
  const first = address >>> 0;
  const last = first + 2 ** (32 - bits) - 1;
  return [first, last, (first + MAX_IPV4) % 2 ** 32, (last + 1) % 2 ** 32];
}

function ipv6Boundaries({ address, bits }: Ipv6Prefix): bigint[] {
  const last = address + (1n << BigInt(128 - bits)) - 1n;
  return [address, last, (address + MAX_IPV6) & MAX_IPV6, (last + 1n) & MAX_IPV6];
}

t.test(`lookup agrees with a linear scan (TEST_SEED=${TEST_SEED})`, (t) => {
  const endpoints = endpointsFor(40);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(nestedPrefix, fc.nat(39)), { maxLength: 40 }),
      fc.array(fc.tuple(nestedIpv6Prefix, fc.nat(39)), { maxLength: 40 }),
      fc.array(fc.nat(MAX_IPV4), { minLength: 8, maxLength: 8 }),
      fc.array(fc.bigInt({ min: 0n, max: MAX_IPV6 }), { minLength: 8, maxLength: 8 }),
      (ipv4Rows, ipv6Rows, ipv4Others, ipv6Others) => {
        const [ipv4, ipv6] = [new LinearRouter(32), new LinearRouter(128)];
        for (const [prefix, id] of ipv4Rows) ipv4.add(prefix.address >>> 0, prefix.bits, id);
        for (const [prefix, id] of ipv6Rows) ipv6.add(prefix.address, prefix.bits, id);
        const routes = [...ipv6Rows, ...ipv4Rows].map(([prefix, nextHopId]) => ({ prefix, nextHopId }));
        const table = new RouteTable(buildRouteTable(routes, endpoints, 1));
        for (const address of [...ipv4Rows.flatMap(([prefix]) => boundaries(prefix)), ...ipv4Others]) {
          const [found, expected] = [lookupIpv4(table, address | 0), ipv4.lookup(address)];
          if (found !== expected) throw new Error(`${formatIpv4(address)}: ${found}, not ${expected}`);
        }
        for (const address of [...ipv6Rows.flatMap(([prefix]) => ipv6Boundaries(prefix)), ...ipv6Others]) {
          const [found, expected] = [lookupBytes(table, address), ipv6.lookup(address)];
          if (found !== expected) throw new Error(`${formatIpv6(address)}: ${found}, not ${expected}`);
        }
      },
    ),
    { seed: TEST_SEED, numRuns: 300 },
  );
  t.pass('300 tables');
  t.end();
});
