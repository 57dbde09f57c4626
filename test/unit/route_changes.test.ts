import t from 'tap';

import { portOf, routesSnapshotName } from '../../src/agent/agent_options.js';
import { collapseChanges, compactChanges, samePlace } from '../../src/agent/route_changes.js';
import type { Peer, RouteChange, RouteSnapshot } from '../../src/lease/route_source.js';

const peer = (n: number, publicIp = `192.0.2.${n}`): Peer => ({ subnet: `10.1.${n}.0/24`, publicIp });
const set = (n: number, publicIp?: string): RouteChange => ({ kind: 'set', peer: peer(n, publicIp) });
const remove = (n: number): RouteChange => ({ kind: 'delete', subnet: `10.1.${n}.0/24` });
const PLACE: RouteSnapshot = { network: '10.1.0.0/16', subnet: '10.1.1.0/24', underlay: 4, peers: [] };
const snapshot = (...peers: Peer[]): RouteChange => ({ kind: 'snapshot', snapshot: { ...PLACE, peers } });

t.test('the last change of a subnet counts', (t) => {
  const step = collapseChanges([
    set(2),
    remove(2),
    set(3),
    set(2, '192.0.2.99'),
    remove(4),
    set(5),
    remove(5),
  ]);
  t.match(step, { kind: 'update', remove: ['10.1.4.0/24', '10.1.5.0/24'] });
  t.strictSame(
    new Map(step.kind === 'update' ? [...step.set].map((route) => [route.prefix, route.nextHop]) : []),
    new Map([
      ['10.1.2.0/24', '192.0.2.99'],
      ['10.1.3.0/24', '192.0.2.3'],
    ]),
  );
  t.end();
});

t.test('a snapshot replaces what came before it, and takes up what comes after', (t) => {
  const step = collapseChanges([set(9), snapshot(peer(2), peer(3)), remove(2), set(4), set(3, '192.0.2.33')]);
  t.equal(step.kind, 'snapshot');
  const peers = step.kind === 'snapshot' ? step.snapshot.peers : [];
  t.strictSame(
    peers.map(({ publicIp }) => publicIp).sort(),
    ['192.0.2.33', '192.0.2.4'],
    'neither the earlier nor the removed one is there',
  );
  t.end();
});

t.test('compacted changes come to the same, alone and before others, and are one for each subnet', (t) => {
  const lists: RouteChange[][] = [
    [set(2), remove(2), set(3), set(2, '192.0.2.99'), remove(4), set(5), remove(5)],
    [set(9), snapshot(peer(2), peer(3)), remove(2), set(4), set(3, '192.0.2.33')],
    [],
  ];
  const later = [remove(3), set(4, '192.0.2.44')];
  for (const changes of lists) {
    const compact = compactChanges(changes);
    t.ok(compact.length <= 4);
    t.strictSame(collapseChanges(compact), collapseChanges(changes));
    t.strictSame(collapseChanges([...compact, ...later]), collapseChanges([...changes, ...later]));
  }
  t.equal(compactChanges(lists[1]!).length, 1);
  t.end();
});

t.test('another subnet, network or port is another place; other peers are not', (t) => {
  t.ok(samePlace(PLACE, { ...PLACE, peers: [peer(2)] }));
  t.notOk(samePlace(PLACE, { ...PLACE, subnet: '10.1.9.0/24' }));
  t.notOk(samePlace(PLACE, { ...PLACE, network: '10.0.0.0/8' }));
  t.notOk(samePlace(PLACE, { ...PLACE, port: 9000 }));
  t.notOk(samePlace(PLACE, { ...PLACE, ipv6Network: 'fd00::/48', ipv6Subnet: 'fd00::/64' }));
  t.end();
});

t.test("the network's port wins, and one that contradicts it is refused", (t) => {
  t.equal(portOf(undefined, undefined), undefined);
  t.equal(portOf(9000, undefined), 9000);
  t.equal(portOf(undefined, 8285), 8285);
  t.equal(portOf(8285, 8285), 8285);
  t.throws(() => portOf(9000, 8285), { code: 'ERR_PORT_MISMATCH', message: /9000.*8285.*--port/ });
  t.end();
});

t.test('each network has a file of its own name', (t) => {
  t.equal(routesSnapshotName('/coreos.com/network'), 'coreos.com-network.json');
  t.equal(routesSnapshotName('../../etc/passwd'), 'etc-passwd.json');
  t.equal(routesSnapshotName('/'), 'network.json');
  t.end();
});
