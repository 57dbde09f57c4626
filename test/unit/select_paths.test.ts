import t from 'tap';

import type { AgentRoute } from '../../src/agent/agent_status.js';
import { selectPaths } from '../../src/diagnosis/select_paths.js';
import { status } from './check_fixture.js';

const DUAL = status({
  network: {
    network: '10.1.0.0/16',
    subnet: '10.1.2.0/24',
    ipv6Network: 'fd00:1::/32',
    ipv6Subnet: 'fd00:1:2::/64',
    port: 8285,
  },
});

function route(prefix: string, nextHop: string, changes: Partial<AgentRoute> = {}): AgentRoute {
  const counted = { framesOut: 0, bytesOut: 0, framesIn: 0, bytesIn: 0 };
  return { prefix, nextHop, port: 8285, pathMtuBytes: null, ...counted, ...changes };
}

const ROUTES = [
  route('10.1.10.0/24', '192.0.2.2'),
  route('fd00:1:10::/64', '192.0.2.2'),
  route('10.1.9.0/24', '192.0.2.3', { pathMtuBytes: 1372 }),
  route('10.1.9.128/25', '192.0.2.4'),
];

t.test('without an address all peers are meant, each once, with a device of each family', (t) => {
  const { target, peers, leftOut } = selectPaths(DUAL, ROUTES, undefined, 64);
  t.strictSame(target, { kind: 'all' });
  t.equal(leftOut, 0);
  t.match(peers, [
    {
      address: '192.0.2.2',
      prefixes: ['10.1.10.0/24', 'fd00:1:10::/64'],
      devices: ['10.1.10.0', 'fd00:1:10::'],
    },
    { address: '192.0.2.3', pathMtuBytes: 1372, devices: ['10.1.9.0'] },
    { address: '192.0.2.4', devices: ['10.1.9.128'] },
  ]);
  t.equal(peers.length, 3);
  t.end();
});

t.test("a peer's address means that peer, in any spelling", (t) => {
  const routes = [route('10.1.10.0/24', '2001:db8::2'), route('10.1.9.0/24', '2001:db8::3')];
  const { target, peers } = selectPaths(DUAL, routes, '2001:DB8:0::2', 64);
  t.strictSame(target, { kind: 'peer', address: '2001:db8::2' });
  t.strictSame(
    peers.map(({ address }) => address),
    ['2001:db8::2'],
  );
  t.end();
});

t.test('an inner address means the peer of the longest prefix, and the device of that subnet', (t) => {
  for (const [address, prefix, peer, device] of [
    ['10.1.9.5', '10.1.9.0/24', '192.0.2.3', '10.1.9.0'],
    ['10.1.9.200', '10.1.9.128/25', '192.0.2.4', '10.1.9.128'],
    ['fd00:1:10::5', 'fd00:1:10::/64', '192.0.2.2', 'fd00:1:10::'],
  ] as const) {
    const { target, peers } = selectPaths(DUAL, ROUTES, address, 64);
    t.strictSame(target, { kind: 'inner', address, prefix });
    t.match(peers, [{ address: peer, devices: [device] }]);
    t.equal(peers.length, 1);
  }
  t.end();
});

t.test('an address may be of this host, without a route, or of no network', (t) => {
  const kind = (address: string) => selectPaths(DUAL, ROUTES, address, 64).target.kind;
  t.equal(kind('10.1.2.5'), 'local');
  t.equal(kind('fd00:1:2::5'), 'local');
  t.equal(kind('10.1.77.5'), 'noRoute');
  t.equal(kind('fd00:1:77::5'), 'noRoute');
  t.equal(kind('198.51.100.1'), 'unknown');
  t.equal(selectPaths(status({ network: null }), [], '10.1.2.5', 64).target.kind, 'unknown');
  t.throws(() => kind('somewhere'), { code: 'ERR_ADDRESS_INVALID' });
  t.end();
});

t.test('of too many peers those that never answered come first, then narrow paths, then any', (t) => {
  const routes = Array.from({ length: 200 }, (_, i) => {
    const changes =
      i === 150 ? { framesOut: 3 } : i === 170 ? { pathMtuBytes: 1300 } : { framesIn: 1, framesOut: 1 };
    return route(`10.1.${i + 10}.0/24`, `192.0.2.${i + 1}`, changes);
  });
  const { peers, leftOut } = selectPaths(DUAL, routes, undefined, 10);
  t.equal(peers.length, 10);
  t.equal(leftOut, 190);
  t.strictSame(
    peers.slice(0, 2).map(({ address }) => address),
    ['192.0.2.151', '192.0.2.171'],
  );
  t.equal(new Set(peers.map(({ address }) => address)).size, 10);
  t.end();
});

t.test('of a host with thousands of prefixes a few are kept for the text', (t) => {
  const routes = Array.from({ length: 200 }, (_, i) => route(`10.1.${i}.0/24`, '192.0.2.2'));
  t.equal(selectPaths(DUAL, routes, '192.0.2.2', 64).peers[0]?.prefixes.length, 16);
  t.end();
});
