/**
 * The peers that follow from leases with subnets of two families, over an underlay of either.
 */
import t from 'tap';

import type { LeaseSubnets } from '../../src/lease/lease.js';
import type { StoreEntry, StoreEvent } from '../../src/lease/store/lease_store.js';
import { parsePrefix } from '../../src/prefix.js';
import { PeerTable, type PeerView } from '../../src/lease/peer_table.js';
import { valueOf } from './lease_fixture.js';

const OWN: LeaseSubnets = { ipv4: '10.1.1.0/24', ipv6: 'fd00:1:0:1::/64' };
const KEY_3 = 'subnets/10.1.3.0-24&fd00:1:0:3::-64';
const [V4_3, V6_3] = ['10.1.3.0/24', 'fd00:1:0:3::/64'];
const ONLY_6 = 'subnets/0.0.0.0-0&fd00:1:0:3::-64';
const BOTH = valueOf('192.0.2.3', '2001:db8::3');

function viewOf(underlay: 4 | 6 = 4, families: readonly (4 | 6)[] = [4, 6]): PeerView {
  const { ipv4, ipv6 } = OWN;
  const networks = { 4: parsePrefix('10.1.0.0/16'), 6: parsePrefix('fd00:1::/48') };
  const [publicIp, publicIpv6] = ['192.0.2.1', '2001:db8::1'];
  return {
    networks: families.map((family) => networks[family]),
    host: {
      underlay,
      address: underlay === 4 ? publicIp : publicIpv6,
      value: { publicIp, publicIpv6, backendType: '' },
    },
    ownKey: 'subnets/own',
    ownSubnets: {
      ...(families.includes(4) ? { ipv4: ipv4! } : {}),
      ...(families.includes(6) ? { ipv6: ipv6! } : {}),
    },
  };
}

let revision = 0n;

function entry(key: string, value = BOTH): StoreEntry {
  revision++;
  return { key, value, grant: '1', createdAt: revision, revision };
}

const put = (made: StoreEntry): StoreEvent => ({ kind: 'put', entry: made });
const gone = (key: string): StoreEvent => ({ kind: 'delete', key, revision: ++revision });

interface Seen {
  readonly table: PeerTable;
  readonly told: string[];
  /** `subnet publicIp` of each peer. */
  readonly peers: () => string[];
}

function tableFor(view: PeerView = viewOf()): Seen {
  const told: string[] = [];
  const table = new PeerTable(view, (key, reason) => told.push(`${key}: ${reason}`));
  return { table, told, peers: () => table.peers.map(({ subnet, publicIp }) => `${subnet} ${publicIp}`) };
}

t.test('a dual-stack lease gives two peers, at the address of the underlay', (t) => {
  const over4 = tableFor();
  t.equal(over4.table.replace([entry(KEY_3)]), true);
  t.strictSame(over4.peers(), [`${V4_3} 192.0.2.3`, `${V6_3} 192.0.2.3`]);
  t.match(over4.table, { leases: 1, skipped: 0 });
  const over6 = tableFor(viewOf(6));
  over6.table.replace([entry(KEY_3)]);
  t.strictSame(over6.peers(), [`${V4_3} 2001:db8::3`, `${V6_3} 2001:db8::3`]);
  t.end();
});

t.test('a lease of IPv6 alone gives one, over either underlay', (t) => {
  for (const [underlay, address] of [
    [4, '192.0.2.3'],
    [6, '2001:db8::3'],
  ] as const) {
    const seen = tableFor(viewOf(underlay, [6]));
    seen.table.replace([entry(ONLY_6)]);
    t.strictSame(seen.peers(), [`${V6_3} ${address}`]);
    t.strictSame(seen.told, []);
  }
  t.end();
});

t.test('a lease without an address of the underlay is skipped, and told why', (t) => {
  const over6 = tableFor(viewOf(6));
  over6.table.replace([entry(KEY_3, valueOf('192.0.2.3'))]);
  const over4 = tableFor();
  over4.table.replace([entry(KEY_3, valueOf('0.0.0.0', '2001:db8::3'))]);
  t.strictSame(
    [...over6.told, ...over4.told],
    [
      `${KEY_3}: it names no PublicIPv6, and this network's underlay is IPv6`,
      `${KEY_3}: it names no PublicIP, and this network's underlay is IPv4`,
    ],
  );
  t.match(
    [over6.table, over4.table],
    [
      { leases: 1, skipped: 1, peers: [] },
      { skipped: 1, peers: [] },
    ],
  );
  t.end();
});

t.test('an address that nobody can send to counts only over the underlay of its family', (t) => {
  const odd = valueOf('192.0.2.3', 'fe80::3');
  const over4 = tableFor();
  over4.table.replace([entry(KEY_3, odd)]);
  t.equal(over4.peers().length, 2);
  const over6 = tableFor(viewOf(6));
  over6.table.replace([entry(KEY_3, odd)]);
  t.strictSame(over6.told, [`${KEY_3}: fe80::3 is no address at which others reach a host`]);
  t.end();
});

t.test("this host's own address is that of the underlay", (t) => {
  const over6 = tableFor(viewOf(6));
  over6.table.replace([entry(KEY_3, valueOf('192.0.2.1', '2001:db8::3'))]);
  t.equal(over6.peers().length, 2, 'two hosts may share an IPv4 address that nobody sends to');
  over6.table.replace([entry(KEY_3, valueOf('192.0.2.3', '2001:db8::1'))]);
  t.strictSame(over6.told, [
    `${KEY_3}: it has this host's own public IP 2001:db8::1; frames to it would loop`,
  ]);
  t.end();
});

t.test('a host inside the overlay is none, as its datagrams would come back to us as frames', (t) => {
  for (const [underlay, address, network] of [
    [4, '10.1.3.5', '10.1.0.0/16'],
    [6, 'fd00:1:0:3::5', 'fd00:1::/48'],
  ] as const) {
    const { table, told } = tableFor(viewOf(underlay));
    const value = underlay === 4 ? valueOf(address) : valueOf('192.0.2.3', address);
    table.replace([entry(KEY_3, value)]);
    const fault = `its public IP ${address} lies inside the network ${network}; frames to it would loop`;
    t.strictSame(told, [`${KEY_3}: ${fault}`]);
    t.match(table, { leases: 1, skipped: 1, peers: [] });
  }
  t.end();
});

t.test('a fault of one family leaves the other', (t) => {
  const rows: [key: string, peer: string, fault: string][] = [
    ['10.1.3.0-24&fd00:2::-64', V4_3, 'fd00:2::/64 lies outside the network fd00:1::/48'],
    ['10.2.3.0-24&fd00:1:0:3::-64', V6_3, '10.2.3.0/24 lies outside the network 10.1.0.0/16'],
    ['10.1.3.0-24&fd00:1:0:1::-64', V4_3, "fd00:1:0:1::/64 overlaps this host's own subnet fd00:1:0:1::/64"],
    ['10.1.0.0-22&fd00:1:0:3::-64', V6_3, "10.1.0.0/22 overlaps this host's own subnet 10.1.1.0/24"],
  ];
  for (const [name, peer, fault] of rows) {
    const { table, told, peers } = tableFor();
    const made = entry(`subnets/${name}`);
    table.replace([made]);
    t.strictSame(peers(), [`${peer} 192.0.2.3`], name);
    t.strictSame(told, [`${made.key}: its subnet ${fault}`]);
    t.match(table, { leases: 1, skipped: 0 });
    table.replace([made]);
    t.equal(told.length, 1, 'once');
    t.strictSame(table.apply([gone(made.key)]), [{ kind: 'delete', subnet: peer }]);
    t.match(table, { leases: 0, skipped: 0 });
  }
  const { table, told } = tableFor();
  table.replace([entry('subnets/10.2.3.0-24&fd00:2::-64')]);
  t.match(told, [/: its subnet 10\.2\.3\.0\/24 lies .*; its subnet fd00:2::\/64 lies /], 'both in one line');
  t.match(table, { leases: 1, skipped: 1, peers: [] });
  t.end();
});

t.test('a subnet of a family that the network has not is left out; a lease of nothing else is told', (t) => {
  const v4 = tableFor(viewOf(4, [4]));
  v4.table.replace([entry(KEY_3), entry('subnets/0.0.0.0-0&fd00:1:0:4::-64')]);
  t.strictSame(v4.peers(), [`${V4_3} 192.0.2.3`]);
  t.match(v4.told, [/fd00:1:0:4::-64: it has no IPv4 subnet, and the network has nothing else$/]);
  const v6 = tableFor(viewOf(6, [6]));
  v6.table.replace([entry(KEY_3), entry('subnets/10.1.4.0-24')]);
  t.strictSame(v6.peers(), [`${V6_3} 2001:db8::3`]);
  t.match(v6.told, [/10\.1\.4\.0-24: it has no IPv6 subnet/]);
  t.end();
});

t.test('a subnet that an older lease has is its own; the rest of the younger one is routed', (t) => {
  const { table, told, peers } = tableFor();
  const older = entry('subnets/10.1.3.0-24', valueOf('192.0.2.33'));
  table.replace([older]);
  const younger = entry(KEY_3);
  t.strictSame(table.apply([put(younger)]), [{ kind: 'set', peer: { subnet: V6_3, publicIp: '192.0.2.3' } }]);
  t.strictSame(peers(), [`${V4_3} 192.0.2.33`, `${V6_3} 192.0.2.3`]);
  t.strictSame(told, [`${KEY_3}: subnets/10.1.3.0-24 has the same subnet and was there first`]);
  table.replace([younger, older]);
  t.equal(told.length, 1, 'told once');
  t.strictSame(
    table.apply([gone(older.key)]),
    [{ kind: 'set', peer: { subnet: V4_3, publicIp: '192.0.2.3' } }],
    'it is the next one to have it',
  );
  t.strictSame(table.apply([gone(KEY_3)]), [
    { kind: 'delete', subnet: V4_3 },
    { kind: 'delete', subnet: V6_3 },
  ]);
  t.end();
});

t.test('another public IP changes both peers; the same one changes none', (t) => {
  const { table } = tableFor();
  const made = entry(KEY_3);
  table.replace([made]);
  t.strictSame(table.apply([put({ ...made, revision: ++revision })]), []);
  t.match(table.apply([put({ ...made, value: valueOf('192.0.2.4'), revision: ++revision })]), [
    { kind: 'set', peer: { subnet: V4_3, publicIp: '192.0.2.4' } },
    { kind: 'set', peer: { subnet: V6_3, publicIp: '192.0.2.4' } },
  ]);
  t.end();
});
