import fc from 'fast-check';
import t from 'tap';

import { formatIpv4, parseIpv4, parseIpv4Prefix, type Ipv4Prefix } from '../../src/ipv4_prefix.js';
import { buildRouteTable, type TableRoute } from '../../src/routing/build_route_table.js';
import {
  EMPTY_SLOT,
  isPeerIpv4,
  LOCAL,
  lookupIpv4,
  NO_ROUTE,
  peerSlot,
  RouteTable,
} from '../../src/routing/route_table.js';
import { LinearRouter } from '../reference/linear_router.js';
import { seededRandom } from '../reference/seeded_random.js';
import { TEST_SEED } from './test_seed.js';

const MAX_IPV4 = 0xffff_ffff;

/** Endpoint columns for ids 0..count-1: id n is 192.168.0.n port 8285; id 0 has none. */
function endpointsFor(count: number): Int32Array {
  const words = new Int32Array(count * 2);
  for (let id = 1; id < count; id++) words.set([parseIpv4('192.168.0.0') + id, 8285], id * 2);
  return words;
}

function tableOf(routes: readonly (readonly [string, number])[], endpoints = endpointsFor(8)): RouteTable {
  const parsed = routes.map(([text, nextHopId]): TableRoute => ({
    prefix: parseIpv4Prefix(text),
    nextHopId,
  }));
  return new RouteTable(buildRouteTable(parsed, endpoints, 1));
}

function lookup(table: RouteTable, address: string): number {
  return lookupIpv4(table, parseIpv4(address));
}

t.test('an empty table routes nothing', (t) => {
  const table = new RouteTable(buildRouteTable([], new Int32Array(0), 1));
  for (const address of ['0.0.0.0', '10.1.2.3', '127.255.255.255', '128.0.0.0', '255.255.255.255']) {
    t.equal(lookup(table, address), NO_ROUTE, address);
    t.notOk(isPeerIpv4(table, parseIpv4(address)), `${address} is no peer`);
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

t.test('own subnets are routed to LOCAL', (t) => {
  const table = tableOf([
    ['10.1.0.0/16', 2],
    ['10.1.1.0/24', LOCAL],
  ]);
  t.equal(lookup(table, '10.1.1.9'), LOCAL);
  t.equal(lookup(table, '10.1.2.9'), 2);
  t.end();
});

t.test('of equal prefixes the last wins', (t) => {
  const table = tableOf([
    ['10.1.2.0/24', 1],
    ['10.1.2.0/24', 2],
  ]);
  t.equal(lookup(table, '10.1.2.1'), 2);
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
  const header = 16;
  const root = 65_536;
  const words = (routes: [string, number][], hops: number): number =>
    tableOf(routes, endpointsFor(hops)).words.length;
  t.equal(words([['10.1.0.0/16', 1]], 2), header + root + 2 * 2 + 4, 'no chunk for a prefix within the root');
  t.equal(words([['10.1.2.0/24', 1]], 2), header + root + 256 + 2 * 2 + 4, 'one chunk for a /24');
  const many: [string, number][] = [
    ['10.1.2.0/24', 1],
    ['10.1.3.0/24', 2],
    ['10.1.3.7/32', 3],
  ];
  t.equal(words(many, 4), header + root + 2 * 256 + 4 * 2 + 8, 'chunks are shared');
  t.end();
});

t.test('peers are the addresses of all endpoints and nobody else', (t) => {
  const random = seededRandom(TEST_SEED);
  t.comment(`TEST_SEED=${TEST_SEED}`);
  for (const count of [1, 2, 3, 4, 5, 64, 65, 1000, 65_536]) {
    const endpoints = new Int32Array(count * 2);
    const known = new Set<number>();
    for (let id = 1; id < count; id++) {
      const address = id % 2 === 0 ? parseIpv4('10.0.0.0') + id : (random() * 2 ** 32) | 0 || 1;
      if (id % 7 === 0) continue; // a free id
      endpoints.set([address, 1 + (id % 65_535)], id * 2);
      known.add(address);
    }
    const table = new RouteTable(buildRouteTable([], endpoints, 1));
    let missed = 0;
    let invented = 0;
    for (const address of known) {
      if (!isPeerIpv4(table, address)) missed++;
      for (const near of [address - 1, address + 1, ~address]) {
        if (isPeerIpv4(table, near | 0) !== known.has(near | 0)) invented++;
      }
    }
    t.equal(missed, 0, `${count} next hops: all found`);
    t.equal(invented, 0, `${count} next hops: no other found`);
    t.notOk(isPeerIpv4(table, 0), '0.0.0.0 is the mark of a free slot, not a peer');
  }
  t.end();
});

t.test('peers whose addresses collide in the set are all found', (t) => {
  const shift = 32 - 5; // 16 next hops make 32 slots
  const colliding: number[] = [];
  for (let address = 1; colliding.length < 15; address++) {
    if (peerSlot(address, shift) === 31) colliding.push(address); // the last slot, so that the walk wraps around
  }
  const endpoints = new Int32Array(32);
  colliding.forEach((address, i) => endpoints.set([address, 1], (i + 1) * 2));
  const table = new RouteTable(buildRouteTable([], endpoints, 1));
  t.equal(table.peerShift, shift);
  t.ok(colliding.every((address) => isPeerIpv4(table, address)));
  t.ok(
    table.words.subarray(table.peersAt).filter((word) => word === EMPTY_SLOT).length >= 16,
    'half is free',
  );
  t.end();
});

t.test('two peers on one address with different ports are one address in the set', (t) => {
  const address = parseIpv4('192.0.2.9');
  const table = new RouteTable(buildRouteTable([], Int32Array.of(0, 0, address, 8285, address, 8286), 1));
  t.ok(isPeerIpv4(table, address));
  t.end();
});

t.test('a next hop without an endpoint is an internal error', (t) => {
  t.throws(() => tableOf([['10.1.2.0/24', 8]]), { code: 'ERR_INTERNAL' });
  t.throws(() => tableOf([['10.1.2.0/24', -1]]), { code: 'ERR_INTERNAL' });
  t.throws(() => tableOf([], new Int32Array(3)), { code: 'ERR_INTERNAL' });
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
  t.end();
});

t.test('65,536 routes of /24 are all found', (t) => {
  const routes: TableRoute[] = [];
  for (let i = 0; i < 65_536; i++) {
    routes.push({ prefix: { family: 4, address: (10 << 24) | (i << 8), bits: 24 }, nextHopId: i + 1 });
  }
  const table = new RouteTable(buildRouteTable(routes, endpointsFor(65_537), 1));
  let wrong = 0;
  for (let i = 0; i < 65_536; i++) {
    for (const host of [0, 1, 255]) if (lookupIpv4(table, (10 << 24) | (i << 8) | host) !== i + 1) wrong++;
  }
  t.equal(wrong, 0);
  t.equal(lookup(table, '9.255.255.255'), NO_ROUTE);
  t.equal(lookup(table, '11.0.0.0'), NO_ROUTE);
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

/** First and last address of a prefix, and the ones beside it. */
function boundaries({ address, bits }: Ipv4Prefix): number[] {
  const first = address >>> 0;
  const last = first + 2 ** (32 - bits) - 1;
  return [first, last, (first + MAX_IPV4) % 2 ** 32, (last + 1) % 2 ** 32];
}

t.test(`lookup agrees with a linear scan (TEST_SEED=${TEST_SEED})`, (t) => {
  const endpoints = endpointsFor(40);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(nestedPrefix, fc.nat(39)), { maxLength: 40 }),
      fc.array(fc.nat(MAX_IPV4), { minLength: 8, maxLength: 8 }),
      (rows, others) => {
        const reference = new LinearRouter();
        for (const [prefix, id] of rows) reference.add(prefix.address >>> 0, prefix.bits, id);
        const routes = rows.map(([prefix, nextHopId]) => ({ prefix, nextHopId }));
        const table = new RouteTable(buildRouteTable(routes, endpoints, 1));
        for (const address of [...rows.flatMap(([prefix]) => boundaries(prefix)), ...others]) {
          const found = lookupIpv4(table, address | 0);
          const expected = reference.lookup(address);
          if (found !== expected) throw new Error(`${formatIpv4(address)}: ${found}, not ${expected}`);
        }
      },
    ),
    { seed: TEST_SEED, numRuns: 500 },
  );
  t.pass('500 tables');
  t.end();
});
