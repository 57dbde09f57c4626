import fc from 'fast-check';
import t from 'tap';

import { ADDRESS_WORDS, formatAddress, type IpFamily, parseAddress } from '../../src/ip_address.js';
import { parseIpv4 } from '../../src/ipv4_prefix.js';
import { parseIpv6 } from '../../src/ipv6_prefix.js';
import type { Endpoint } from '../../src/routing/next_hop_ids.js';
import { type Route, type RouteInForce, RouteSet } from '../../src/routing/route_set.js';
import {
  ENDPOINT_WORDS,
  foldAddress,
  isPeer,
  LOCAL,
  lookupIpv4,
  lookupIpv6,
  NO_ROUTE,
  RouteTable,
} from '../../src/routing/route_table.js';
import { LinearRouter } from '../reference/linear_router.js';
import { TEST_SEED } from './test_seed.js';

const DEFAULT_PORT = 8285;

function emptySet(underlay: IpFamily = 4): RouteSet {
  return new RouteSet({ defaultPort: DEFAULT_PORT, underlay });
}

function tableOf(set: RouteSet): RouteTable {
  return new RouteTable(set.build());
}

/** Where a table sends an address: `address:port`, `local` or `none`. */
function whereTo(table: RouteTable, address: string, underlay: IpFamily = 4): string {
  const id = lookup(table, address);
  if (id === NO_ROUTE) return 'none';
  if (id === LOCAL) return 'local';
  const at = id * ENDPOINT_WORDS;
  return `${formatAddress(underlay, table.endpoints, at)}:${table.endpoints[at + ADDRESS_WORDS]!}`;
}

function lookup(table: RouteTable, text: string): number {
  const { family, words } = parseAddress(text);
  if (family === 4) return lookupIpv4(table, words[0]!);
  const bytes = new DataView(new ArrayBuffer(16));
  words.forEach((word, i) => bytes.setInt32(4 * i, word));
  return lookupIpv6(table, new Uint8Array(bytes.buffer), 0);
}

/** Id that a fresh table gives an address. */
function idOf(set: RouteSet, address: string): number {
  return lookup(tableOf(set), address);
}

function isPeerText(table: RouteTable, address: string): boolean {
  return isPeer(table, parseAddress(address).words, 0);
}

function endpointText({ address, port }: Endpoint): string {
  return `${formatAddress(address.family, address.words)}:${port}`;
}

t.test('a route sends its prefix to its next hop, on the default port unless it names one', (t) => {
  const set = emptySet();
  set.setLocal(['10.1.1.0/24']);
  set.set({ prefix: '10.1.2.0/24', nextHop: '192.0.2.2' });
  set.set({ prefix: '10.1.3.0/24', nextHop: '192.0.2.3', port: 9000 });
  const table = tableOf(set);
  t.equal(whereTo(table, '10.1.1.1'), 'local');
  t.equal(whereTo(table, '10.1.2.1'), '192.0.2.2:8285');
  t.equal(whereTo(table, '10.1.3.1'), '192.0.2.3:9000');
  t.equal(whereTo(table, '10.1.4.1'), 'none');
  t.ok(isPeerText(table, '192.0.2.3'));
  t.strictSame(set.list(), [
    { prefix: '10.1.2.0/24', nextHop: '192.0.2.2', port: 8285 },
    { prefix: '10.1.3.0/24', nextHop: '192.0.2.3', port: 9000 },
  ]);
  t.equal(set.count, 2);
  t.end();
});

t.test('set gives a known prefix another next hop', (t) => {
  const set = emptySet();
  set.set({ prefix: '10.1.2.0/24', nextHop: '192.0.2.2' });
  set.set({ prefix: '10.1.2.0/24', nextHop: '192.0.2.9' });
  t.equal(whereTo(tableOf(set), '10.1.2.1'), '192.0.2.9:8285');
  t.equal(set.count, 1);
  t.end();
});

t.test('delete removes exactly that prefix and says whether it was there', (t) => {
  const set = emptySet();
  set.replace([
    { prefix: '10.1.0.0/16', nextHop: '192.0.2.1' },
    { prefix: '10.1.2.0/24', nextHop: '192.0.2.2' },
  ]);
  t.equal(set.delete('10.1.2.0/24'), true);
  t.equal(set.delete('10.1.2.0/24'), false);
  t.equal(whereTo(tableOf(set), '10.1.2.1'), '192.0.2.1:8285', 'the shorter prefix takes over');
  t.throws(() => set.delete('10.1.2.1/24'), { code: 'ERR_ROUTE_INVALID' });
  t.end();
});

t.test('each build is a new generation, and earlier tables do not change', (t) => {
  const set = emptySet();
  t.equal(set.generation, 0);
  set.set({ prefix: '10.1.2.0/24', nextHop: '192.0.2.2' });
  const first = tableOf(set);
  set.replace([]);
  const second = tableOf(set);
  t.equal(first.generation, 1);
  t.equal(second.generation, 2);
  t.equal(whereTo(first, '10.1.2.1'), '192.0.2.2:8285');
  t.equal(whereTo(second, '10.1.2.1'), 'none');
  t.notOk(isPeerText(second, '192.0.2.2'));
  t.end();
});

t.test('a next-hop id stays for as long as any route uses the endpoint', (t) => {
  const set = emptySet();
  set.replace([
    { prefix: '10.1.1.0/24', nextHop: '192.0.2.1' },
    { prefix: '10.1.2.0/24', nextHop: '192.0.2.2' },
    { prefix: '10.1.3.0/24', nextHop: '192.0.2.2' },
  ]);
  const id = idOf(set, '10.1.2.1');
  t.equal(idOf(set, '10.1.3.1'), id, 'one endpoint, one id');
  set.delete('10.1.2.0/24');
  set.delete('10.1.1.0/24');
  t.equal(idOf(set, '10.1.3.1'), id);
  set.replace([
    { prefix: '10.9.0.0/24', nextHop: '192.0.2.9' },
    { prefix: '10.1.4.0/24', nextHop: '192.0.2.2' },
  ]);
  t.equal(idOf(set, '10.1.4.1'), id, 'also when all its routes are replaced by another');
  set.set({ prefix: '10.1.4.0/24', nextHop: '192.0.2.2' });
  t.equal(idOf(set, '10.1.4.1'), id, 'also when its only route is set anew');
  t.strictSame(set.endpointOf(id), { address: parseAddress('192.0.2.2'), port: DEFAULT_PORT });
  t.end();
});

t.test('an update makes all its changes or none, and one table', (t) => {
  const set = emptySet();
  set.replace([
    { prefix: '10.1.1.0/24', nextHop: '192.0.2.1' },
    { prefix: '10.1.2.0/24', nextHop: '192.0.2.2' },
  ]);
  const before = set.build();
  t.ok(before);
  const { generation } = set;
  const bad = { remove: ['10.1.1.0/24'], set: [{ prefix: '10.1.3.0/24', nextHop: '224.0.0.1' }] };
  t.throws(() => set.apply(() => set.update(bad)), { code: 'ERR_ROUTE_INVALID' });
  t.strictSame(
    set.list().map(({ prefix }) => prefix),
    ['10.1.1.0/24', '10.1.2.0/24'],
  );
  const good = {
    remove: ['10.1.1.0/24', '10.1.9.0/24'],
    set: [{ prefix: '10.1.3.0/24', nextHop: '192.0.2.1' }],
  };
  t.ok(set.apply(() => set.update(good)).table);
  t.equal(set.generation, generation + 1);
  t.strictSame(
    set.list().map(({ prefix }) => prefix),
    ['10.1.2.0/24', '10.1.3.0/24'],
  );
  t.end();
});

t.test('a change that changes nothing makes no table', (t) => {
  const set = emptySet();
  set.replace([{ prefix: '10.1.1.0/24', nextHop: '192.0.2.1' }]);
  set.build();
  const { generation } = set;
  t.equal(set.apply(() => set.delete('10.1.7.0/24')).table, undefined);
  t.equal(set.apply(() => set.set({ prefix: '10.1.1.0/24', nextHop: '192.0.2.1' })).table, undefined);
  t.equal(set.generation, generation);
  t.ok(set.apply(() => set.delete('10.1.1.0/24')).table);
  t.end();
});

t.test('address and port together are the endpoint', (t) => {
  const set = emptySet();
  set.set({ prefix: '10.1.1.0/24', nextHop: '192.0.2.1', port: 1000 });
  set.set({ prefix: '10.1.2.0/24', nextHop: '192.0.2.1', port: 1001 });
  set.set({ prefix: '10.1.3.0/24', nextHop: '192.0.2.1', port: 1000 });
  t.strictSame([idOf(set, '10.1.1.1'), idOf(set, '10.1.2.1'), idOf(set, '10.1.3.1')], [1, 2, 1]);
  t.end();
});

t.test('freed ids are given out again, lowest first, but not in the call that freed them', (t) => {
  const set = emptySet();
  const route = (n: number): Route => ({ prefix: `10.1.${n}.0/24`, nextHop: `192.0.2.${n}` });
  set.replace([1, 2, 3, 4].map(route));
  set.delete('10.1.1.0/24');
  set.delete('10.1.3.0/24');
  t.equal(set.endpointOf(1), undefined);
  set.set(route(5));
  set.set(route(6));
  set.set(route(7));
  t.strictSame(
    [5, 6, 7].map((n) => idOf(set, `10.1.${n}.1`)),
    [1, 3, 5],
  );
  set.replace([route(2), route(8)]);
  t.strictSame(
    [2, 8].map((n) => idOf(set, `10.1.${n}.1`)),
    [2, 6],
  );
  t.equal(tableOf(set).nextHops, 7, 'ids up to the highest in use');
  set.delete('10.1.8.0/24');
  t.equal(tableOf(set).nextHops, 3, 'fewer when the highest are free');
  t.end();
});

t.test('the listener hears of every assignment and release', (t) => {
  const heard: string[] = [];
  const note = (what: string) => (id: number, endpoint: Endpoint) => {
    heard.push(`${what} ${id} ${endpointText(endpoint)}`);
  };
  const set = new RouteSet({ defaultPort: 1, underlay: 4, onAssign: note('assign'), onFree: note('free') });
  set.set({ prefix: '10.1.1.0/24', nextHop: '192.0.2.1' });
  set.set({ prefix: '10.1.2.0/24', nextHop: '192.0.2.1' });
  set.set({ prefix: '10.1.2.0/24', nextHop: '192.0.2.2' });
  set.replace([{ prefix: '10.1.3.0/24', nextHop: '192.0.2.3' }]);
  t.strictSame(heard, [
    'assign 1 192.0.2.1:1',
    'assign 2 192.0.2.2:1',
    'assign 3 192.0.2.3:1',
    'free 1 192.0.2.1:1',
    'free 2 192.0.2.2:1',
  ]);
  t.end();
});

t.test('an error names the field and changes nothing', (t) => {
  const good = { prefix: '10.1.2.0/24', nextHop: '192.0.2.2' };
  const rows: [Route, string, RegExp][] = [
    [
      { prefix: '10.1.2.1/24', nextHop: '192.0.2.2' },
      'ERR_ROUTE_INVALID',
      /prefix: "10\.1\.2\.1\/24" is not .* bits are set/,
    ],
    [{ prefix: '10.1.300.0/24', nextHop: '192.0.2.2' }, 'ERR_ROUTE_INVALID', /prefix: .*300 is above 255/],
    [
      { prefix: '10.1.3.0/24', nextHop: '192.0.2' },
      'ERR_ROUTE_INVALID',
      /nextHop: "192\.0\.2" is not an IPv4 address/,
    ],
    [
      { prefix: '10.1.3.0/24', nextHop: '0.0.0.0' },
      'ERR_ROUTE_INVALID',
      /nextHop: 0\.0\.0\.0 is not the address of one host/,
    ],
    [
      { prefix: 'fd00::1/64', nextHop: '192.0.2.2' },
      'ERR_ROUTE_INVALID',
      /prefix: "fd00::1\/64" is not an IPv6 prefix .* the canonical spelling is fd00::\/64/,
    ],
    [
      { prefix: 'all', nextHop: '192.0.2.2' },
      'ERR_ROUTE_INVALID',
      /prefix: "all" is not an IPv4 or IPv6 prefix like 10\.1\.2\.0\/24 or 2001:db8::\/64/,
    ],
    [
      { prefix: '10.1.3.0/24', nextHop: 'peer' },
      'ERR_ROUTE_INVALID',
      /nextHop: "peer" is not an IPv4 or IPv6 address/,
    ],
    [
      { prefix: 'fd00::/64', nextHop: '2001:db8::2' },
      'ERR_ROUTE_INVALID',
      /nextHop: 2001:db8::2 is an IPv6 address, and the underlay is IPv4; give the peer's IPv4 address$/,
    ],
    [{ prefix: '10.1.3.0/24', nextHop: '224.0.0.1' }, 'ERR_ROUTE_INVALID', /nextHop: 224\.0\.0\.1 is not/],
    [{ prefix: '10.1.3.0/24', nextHop: '255.255.255.255' }, 'ERR_ROUTE_INVALID', /nextHop: 255/],
    [
      { prefix: '10.1.3.0/24', nextHop: '192.0.2.2', port: 0 },
      'ERR_ROUTE_INVALID',
      /port: 0 is not a UDP port from 1 to 65535/,
    ],
    [{ prefix: '10.1.3.0/24', nextHop: '192.0.2.2', port: 65_536 }, 'ERR_ROUTE_INVALID', /port: 65536/],
    [{ prefix: '10.1.3.0/24', nextHop: '192.0.2.2', port: 1.5 }, 'ERR_ROUTE_INVALID', /port: 1\.5/],
    [
      { prefix: '10.1.1.0/24', nextHop: '192.0.2.2' },
      'ERR_ROUTE_LOCAL',
      /10\.1\.1\.0\/24 is this host's own subnet/,
    ],
    [
      { prefix: 7 as unknown as string, nextHop: '192.0.2.2' },
      'ERR_ROUTE_INVALID',
      /prefix: expected a string, not number/,
    ],
  ];
  for (const [route, code, message] of rows) {
    const heard: number[] = [];
    const set = new RouteSet({
      defaultPort: DEFAULT_PORT,
      underlay: 4,
      onAssign: (id) => heard.push(id),
      onFree: (id) => heard.push(id),
    });
    set.setLocal(['10.1.1.0/24']);
    set.set({ prefix: '10.1.9.0/24', nextHop: '192.0.2.9' });
    heard.length = 0;
    const before = set.list();
    t.throws(() => set.set(route), { code, message }, `set: ${message.source}`);
    t.throws(() => set.replace([good, route]), { code, message: /routes\[1\]/ }, `replace: ${code}`);
    t.strictSame(set.list(), before, 'nothing changed');
    t.strictSame(heard, [], 'no id changed hands');
  }
  t.end();
});

t.test('two routes for one prefix are refused, by both indices', (t) => {
  const set = emptySet();
  const routes = ['10.1.1.0/24', '10.1.2.0/24', '10.1.2.0/24'].map((prefix) => ({
    prefix,
    nextHop: '192.0.2.1',
  }));
  t.throws(() => set.replace(routes), {
    code: 'ERR_ROUTE_DUPLICATE',
    message: 'routes[1] and routes[2] are both for 10.1.2.0/24: keep one of them',
  });
  t.equal(set.count, 0);
  t.end();
});

t.test('a prefix cannot be both local and routed, whichever comes first', (t) => {
  const set = emptySet();
  set.set({ prefix: '10.1.2.0/24', nextHop: '192.0.2.2' });
  t.throws(() => set.setLocal(['10.1.1.0/24', '10.1.2.0/24']), { code: 'ERR_ROUTE_LOCAL' });
  t.strictSame(set.listLocal(), [], 'nothing changed');
  set.setLocal(['10.1.2.0/25']);
  t.equal(whereTo(tableOf(set), '10.1.2.1'), 'local', 'a longer own prefix inside it may be');
  t.throws(() => set.setLocal(['10.1.2.0/33']), { code: 'ERR_ROUTE_INVALID' });
  t.end();
});

t.test('own subnet and routes can be replaced together, even when they trade places', (t) => {
  const set = emptySet();
  set.replace([{ prefix: '10.1.2.0/24', nextHop: '192.0.2.2' }], ['10.1.1.0/24']);
  set.replace([{ prefix: '10.1.1.0/24', nextHop: '192.0.2.2' }], ['10.1.2.0/24']);
  const table = tableOf(set);
  t.equal(whereTo(table, '10.1.1.1'), '192.0.2.2:8285');
  t.equal(whereTo(table, '10.1.2.1'), 'local');
  t.end();
});

t.test('loopback is allowed as a next hop', (t) => {
  const set = emptySet();
  set.set({ prefix: '10.1.2.0/24', nextHop: '127.0.0.2' });
  t.equal(whereTo(tableOf(set), '10.1.2.1'), '127.0.0.2:8285');
  t.end();
});

t.test('prefixes of both families go to next hops of the one underlay', (t) => {
  for (const [underlay, peer, shown] of [
    [4, '192.0.2.2', '192.0.2.2:8285'],
    [6, '2001:db8::2', '2001:db8::2:8285'],
  ] as const) {
    const set = emptySet(underlay);
    set.setLocal(['10.1.1.0/24', 'fd00:10:244:1::/64']);
    set.replace([
      { prefix: '10.1.2.0/24', nextHop: peer },
      { prefix: 'fd00:10:244:2::/64', nextHop: peer },
    ]);
    const table = tableOf(set);
    t.equal(table.nextHops, 2, 'one endpoint');
    t.equal(whereTo(table, '10.1.2.1', underlay), shown);
    t.equal(whereTo(table, 'fd00:10:244:2::1', underlay), shown);
    t.equal(whereTo(table, '10.1.1.1', underlay), 'local');
    t.equal(whereTo(table, 'fd00:10:244:1::1', underlay), 'local');
    t.equal(whereTo(table, 'fd00:10:244:3::1', underlay), 'none');
    t.ok(isPeerText(table, peer));
    t.ok(set.delete('fd00:10:244:2::/64'));
    t.equal(whereTo(tableOf(set), 'fd00:10:244:2::1', underlay), 'none');
    t.throws(() => set.set({ prefix: 'fd00:10:244:1::/64', nextHop: peer }), { code: 'ERR_ROUTE_LOCAL' });
  }
  t.end();
});

t.test('an IPv6 next hop is told in canonical spelling, and every spelling of it is one endpoint', (t) => {
  const set = emptySet(6);
  set.set({ prefix: '10.1.1.0/24', nextHop: '2001:DB8:0:0::1' });
  set.set({ prefix: '10.1.2.0/24', nextHop: '2001:db8::1' });
  t.equal(idOf(set, '10.1.1.1'), idOf(set, '10.1.2.1'));
  t.strictSame(
    set.list().map(({ nextHop }) => nextHop),
    ['2001:db8::1', '2001:db8::1'],
  );
  t.end();
});

t.test('an IPv6 next hop must be one other host, of the underlay', (t) => {
  const set = emptySet(6);
  const bad = ['::', '::1', 'ff02::1', 'ff0e::1', 'fe80::1', 'febf::1', '::ffff:192.0.2.1'];
  for (const nextHop of bad) {
    t.throws(
      () => set.set({ prefix: 'fd00::/64', nextHop }),
      {
        code: 'ERR_ROUTE_INVALID',
        message: `nextHop: ${nextHop} is not the address of one host; give the peer's unicast address`,
      },
      nextHop,
    );
  }
  t.throws(() => set.set({ prefix: 'fd00::/64', nextHop: '192.0.2.1' }), {
    code: 'ERR_ROUTE_INVALID',
    message: "nextHop: 192.0.2.1 is an IPv4 address, and the underlay is IPv6; give the peer's IPv6 address",
  });
  t.equal(set.count, 0);
  for (const nextHop of ['fe7f::1', 'fec0::1', 'fd00::1', '2001:db8::1', '64:ff9b::192.0.2.1']) {
    set.set({ prefix: 'fd00::/64', nextHop });
  }
  t.equal(set.count, 1);
  t.end();
});

t.test('IPv6 endpoints whose keys are equal keep ids of their own', (t) => {
  // fold(w0, w1) is w0 ^ w1 * multiplier, so a change of w1 can be made up for in w0.
  const one = parseAddress('2001:db8::1').words;
  const alike = [1, 2, 3].map((n) => {
    const words = one.with(1, n);
    words[0] = words[0]! ^ foldAddress(words, 0) ^ foldAddress(one, 0);
    return words;
  });
  t.ok(alike.every((words) => foldAddress(words, 0) === foldAddress(one, 0)));
  const texts = alike.map((words) => formatAddress(6, words)).filter((text) => !/^f[ef]/.test(text));
  t.ok(texts.length >= 2);
  const freed: string[] = [];
  for (let first = 0; first < texts.length; first++) {
    const set = new RouteSet({
      defaultPort: DEFAULT_PORT,
      underlay: 6,
      onFree: (id, endpoint) => freed.push(`${id} ${endpointText(endpoint)}`),
    });
    texts.forEach((nextHop, n) => set.set({ prefix: `10.1.${n}.0/24`, nextHop }));
    t.strictSame(
      texts.map((_, n) => idOf(set, `10.1.${n}.1`)),
      texts.map((_, n) => n + 1),
    );
    freed.length = 0;
    for (let n = 0; n < texts.length; n++) {
      const gone = (first + n) % texts.length;
      set.delete(`10.1.${gone}.0/24`);
      t.equal(freed.at(-1), `${gone + 1} ${texts[gone]}:${DEFAULT_PORT}`);
      for (let m = n + 1; m < texts.length; m++) {
        const kept = (first + m) % texts.length;
        set.set({ prefix: '10.9.0.0/24', nextHop: texts[kept]! });
        t.equal(idOf(set, '10.9.0.1'), kept + 1, 'the others are still known');
        set.delete('10.9.0.0/24');
      }
    }
    t.equal(freed.length, texts.length);
  }
  t.end();
});

t.test('the default port must be one', (t) => {
  for (const defaultPort of [0, -1, 65_536, 1.5, Number.NaN]) {
    t.throws(
      () => new RouteSet({ defaultPort, underlay: 4 }),
      { code: 'ERR_ROUTE_INVALID' },
      String(defaultPort),
    );
  }
  t.end();
});

// A model: a plain map from prefix to endpoint, and the endpoints' ids as they were first seen.

const PREFIXES = [
  '0.0.0.0/0',
  '10.0.0.0/8',
  '10.1.0.0/16',
  '10.1.2.0/24',
  '10.1.2.0/25',
  '10.1.2.128/25',
  '10.1.2.129/32',
  '::/0',
  'fd00:1::/48',
  'fd00:1:0:2::/64',
  'fd00:1:0:2::9/128',
];
const HOPS: Record<IpFamily, readonly string[]> = {
  4: ['192.0.2.1', '192.0.2.2', '192.0.2.3', '223.255.255.255'],
  6: ['2001:db8::1', '2001:db8::2', '2001:db8:1::1', 'fd00::1'],
};
const PROBES = [
  '9.9.9.9',
  '10.9.9.9',
  '10.1.9.9',
  '10.1.2.1',
  '10.1.2.128',
  '10.1.2.129',
  '255.255.255.255',
  'ffff::',
  'fd00:1::1',
  'fd00:1:0:2::8',
  'fd00:1:0:2::9',
];

const anyRoute = (underlay: IpFamily): fc.Arbitrary<RouteInForce & { port: number }> =>
  fc.record({
    prefix: fc.constantFrom(...PREFIXES),
    nextHop: fc.constantFrom(...HOPS[underlay]),
    port: fc.constantFrom(8285, 9000),
  });
const anyStep = (anyRoute: fc.Arbitrary<RouteInForce>) =>
  fc.oneof(
    fc.record({ kind: fc.constant('set' as const), route: anyRoute }),
    fc.record({ kind: fc.constant('delete' as const), prefix: fc.constantFrom(...PREFIXES) }),
    fc.record({
      kind: fc.constant('update' as const),
      remove: fc.array(fc.constantFrom(...PREFIXES), { maxLength: 4 }),
      set: fc.array(anyRoute, { maxLength: 4 }),
    }),
    fc.record({
      kind: fc.constant('replace' as const),
      routes: fc.uniqueArray(anyRoute, { selector: (route) => route.prefix }),
    }),
  );

function expectedTable(model: ReadonlyMap<string, string>): (address: string) => string {
  const routers = { 4: new LinearRouter(32), 6: new LinearRouter(128) };
  const targets = [...model.values()];
  [...model.keys()].forEach((prefix, index) => {
    const [address, length] = prefix.split('/') as [string, string];
    if (address.includes(':')) routers[6].add(parseIpv6(address), Number(length), index);
    else routers[4].add(parseIpv4(address) >>> 0, Number(length), index);
  });
  return (address) => {
    const found = address.includes(':')
      ? routers[6].lookup(parseIpv6(address))
      : routers[4].lookup(parseIpv4(address) >>> 0);
    return targets[found] ?? 'none';
  };
}

for (const underlay of [4, 6] as const)
  t.test(
    `any sequence of changes agrees with a model, IPv${underlay} underlay (TEST_SEED=${TEST_SEED})`,
    (t) => {
      fc.assert(
        fc.property(fc.array(anyStep(anyRoute(underlay)), { maxLength: 30 }), (steps) => {
          const held = new Map<number, string>();
          const set = new RouteSet({
            defaultPort: DEFAULT_PORT,
            underlay,
            onAssign: (id, endpoint) => {
              if (held.has(id)) throw new Error(`id ${id} was given out twice`);
              held.set(id, endpointText(endpoint));
            },
            onFree: (id, endpoint) => {
              if (held.get(id) !== endpointText(endpoint)) throw new Error(`id ${id} freed for another`);
              held.delete(id);
            },
          });
          const model = new Map<string, string>();
          for (const step of steps) {
            if (step.kind === 'set') {
              set.set(step.route);
              model.set(step.route.prefix, `${step.route.nextHop}:${step.route.port}`);
            } else if (step.kind === 'delete') {
              if (set.delete(step.prefix) !== model.delete(step.prefix)) throw new Error('delete disagrees');
            } else if (step.kind === 'update') {
              set.update(step);
              for (const prefix of step.remove) model.delete(prefix);
              for (const route of step.set) model.set(route.prefix, `${route.nextHop}:${route.port}`);
            } else {
              set.replace(step.routes);
              model.clear();
              for (const route of step.routes) model.set(route.prefix, `${route.nextHop}:${route.port}`);
            }
            const table = tableOf(set);
            const expected = expectedTable(model);
            for (const address of PROBES) {
              if (whereTo(table, address, underlay) !== expected(address)) {
                throw new Error(`${address}: ${whereTo(table, address, underlay)}, not ${expected(address)}`);
              }
            }
            const endpointsInUse = new Set(model.values());
            if (endpointsInUse.size !== held.size)
              throw new Error(`${held.size} ids for ${endpointsInUse.size} endpoints`);
            for (const endpoint of endpointsInUse) {
              if (![...held.values()].includes(endpoint)) throw new Error(`${endpoint} has no id`);
            }
          }
        }),
        { seed: TEST_SEED, numRuns: 60 },
      );
      t.pass('60 sequences');
      t.end();
    },
  );

t.test('a spare block is written again, whatever it held', (t) => {
  const small = emptySet();
  small.set({ prefix: '10.1.2.0/24', nextHop: '192.0.2.2' });
  const large = emptySet();
  for (let i = 0; i < 200; i++) large.set({ prefix: `10.2.${i}.128/25`, nextHop: `198.51.100.${1 + i}` });
  const spare = large.build();
  const block = small.build(spare);
  t.equal(block, spare);
  const table = new RouteTable(block);
  t.equal(whereTo(table, '10.1.2.1'), '192.0.2.2:8285');
  t.equal(whereTo(table, '10.2.7.129'), 'none', 'nothing is left of the routes before');
  t.notOk(isPeerText(table, '198.51.100.7'), 'nor of their hosts');
  t.ok(isPeerText(table, '192.0.2.2'));
  t.end();
});

t.test('a spare block that does not fit is left as it is', (t) => {
  const small = emptySet();
  const large = emptySet();
  for (let i = 0; i < 255; i++) large.set({ prefix: `10.${i}.1.128/25`, nextHop: '192.0.2.2' });
  for (let i = 0; i < 255; i++) large.set({ prefix: `172.${i}.1.128/25`, nextHop: '192.0.2.2' });
  for (let i = 0; i < 255; i++) large.set({ prefix: `198.${i}.1.128/25`, nextHop: '192.0.2.2' });
  const tooSmall = small.build();
  const before = Buffer.from(tooSmall).toString('base64');
  const block = large.build(tooSmall);
  t.not(block, tooSmall, 'too small');
  t.equal(Buffer.from(tooSmall).toString('base64'), before);
  t.equal(whereTo(new RouteTable(block), '198.254.1.200'), '192.0.2.2:8285');
  t.equal(large.build(block), block, 'the new one serves the next generation');
  t.not(small.build(block), block, 'too large by far');
  t.end();
});

t.test('after a change whose table cannot be built, next hops have the ids that lanes know them by', (t) => {
  const set = emptySet();
  const idsOf = (): [number, string][] =>
    [...set.endpoints()].map(([id, { address }]) => [id, formatAddress(address.family, address.words)]);
  set.apply(() =>
    set.replace([
      { prefix: '10.1.1.0/24', nextHop: '192.0.2.1' },
      { prefix: '10.1.2.0/24', nextHop: '192.0.2.2' },
    ]),
  );
  set.apply(() => set.delete('10.1.1.0/24'));
  set.apply(() => set.set({ prefix: '10.1.3.0/24', nextHop: '192.0.2.3' }));
  const before = idsOf();
  t.strictSame(before, [
    [1, '192.0.2.3'],
    [2, '192.0.2.2'],
  ]);
  const failing = (): void => {
    set.replace([{ prefix: '10.1.4.0/24', nextHop: '192.0.2.4' }]);
    throw new Error('as when the table is too large');
  };
  t.throws(() => set.apply(failing));
  t.strictSame(idsOf(), before);
  t.end();
});
