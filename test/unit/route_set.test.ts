import fc from 'fast-check';
import t from 'tap';

import { formatIpv4, parseIpv4 } from '../../src/ipv4_prefix.js';
import type { Endpoint } from '../../src/routing/next_hop_ids.js';
import { type Route, RouteSet } from '../../src/routing/route_set.js';
import { isPeerIpv4, LOCAL, lookupIpv4, NO_ROUTE, RouteTable } from '../../src/routing/route_table.js';
import { LinearRouter } from '../reference/linear_router.js';
import { TEST_SEED } from './test_seed.js';

const DEFAULT_PORT = 8285;

function emptySet(): RouteSet {
  return new RouteSet({ defaultPort: DEFAULT_PORT });
}

function tableOf(set: RouteSet): RouteTable {
  return new RouteTable(set.build());
}

/** Where a table sends an address: `address:port`, `local` or `none`. */
function whereTo(table: RouteTable, address: string): string {
  const id = lookupIpv4(table, parseIpv4(address));
  if (id === NO_ROUTE) return 'none';
  if (id === LOCAL) return 'local';
  return `${formatIpv4(table.endpoints[id * 2]!)}:${table.endpoints[id * 2 + 1]!}`;
}

/** Id that a fresh table gives an address. */
function idOf(set: RouteSet, address: string): number {
  return lookupIpv4(tableOf(set), parseIpv4(address));
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
  t.ok(isPeerIpv4(table, parseIpv4('192.0.2.3')));
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
  t.notOk(isPeerIpv4(second, parseIpv4('192.0.2.2')));
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
  t.strictSame(set.endpointOf(id), { address: parseIpv4('192.0.2.2'), port: DEFAULT_PORT });
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
  const note =
    (what: string) =>
    (id: number, { address, port }: Endpoint) => {
      heard.push(`${what} ${id} ${formatIpv4(address)}:${port}`);
    };
  const set = new RouteSet({ defaultPort: 1, onAssign: note('assign'), onFree: note('free') });
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

t.test('the default port must be one', (t) => {
  for (const defaultPort of [0, -1, 65_536, 1.5, Number.NaN]) {
    t.throws(() => new RouteSet({ defaultPort }), { code: 'ERR_ROUTE_INVALID' }, String(defaultPort));
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
];
const HOPS = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '223.255.255.255'];
const PROBES = ['9.9.9.9', '10.9.9.9', '10.1.9.9', '10.1.2.1', '10.1.2.128', '10.1.2.129', '255.255.255.255'];

const anyRoute = fc.record({
  prefix: fc.constantFrom(...PREFIXES),
  nextHop: fc.constantFrom(...HOPS),
  port: fc.constantFrom(8285, 9000),
});
const anyStep = fc.oneof(
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
  const router = new LinearRouter();
  const targets = [...model.values()];
  [...model.keys()].forEach((prefix, index) => {
    const [address, length] = prefix.split('/') as [string, string];
    router.add(parseIpv4(address) >>> 0, Number(length), index);
  });
  return (address) => targets[router.lookup(parseIpv4(address) >>> 0)] ?? 'none';
}

t.test(`any sequence of changes agrees with a model (TEST_SEED=${TEST_SEED})`, (t) => {
  fc.assert(
    fc.property(fc.array(anyStep, { maxLength: 30 }), (steps) => {
      const held = new Map<number, string>();
      const set = new RouteSet({
        defaultPort: DEFAULT_PORT,
        onAssign: (id, { address, port }) => {
          if (held.has(id)) throw new Error(`id ${id} was given out twice`);
          held.set(id, `${formatIpv4(address)}:${port}`);
        },
        onFree: (id, { address, port }) => {
          if (held.get(id) !== `${formatIpv4(address)}:${port}`)
            throw new Error(`id ${id} freed for another`);
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
          if (whereTo(table, address) !== expected(address)) {
            throw new Error(`${address}: ${whereTo(table, address)}, not ${expected(address)}`);
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
});

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
  t.notOk(isPeerIpv4(table, parseIpv4('198.51.100.7')), 'nor of their hosts');
  t.ok(isPeerIpv4(table, parseIpv4('192.0.2.2')));
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
