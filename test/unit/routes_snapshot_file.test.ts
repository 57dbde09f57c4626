import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import t, { type Test } from 'tap';

import type { LeaseSourceOptions } from '../../src/lease/lease_source_options.js';
import { RoutesSnapshotFile } from '../../src/lease/routes_snapshot_file.js';
import { MemorySpace } from '../../src/lease/store/memory_space.js';
import { until } from '../netns/until.js';
import {
  DAY_SECONDS,
  DUAL,
  type Host,
  keyOf,
  makeHost,
  putConfig,
  putLease,
  valueOf,
} from './lease_fixture.js';

const SUBNET = '10.1.5.0/24';
const KEY = keyOf(SUBNET);
const IP = '192.0.2.1';
const HOUR_MS = 3_600_000;

interface SavedFile {
  savedAt: string;
  config: string;
  networkKey: string;
  version: number;
  underlay?: number;
  own: { key: string; createdAt: string; grant: string; publicIp: string; expiresAt: string | null };
  peers: { subnet: string; publicIp: string }[];
}

interface Ran {
  readonly space: MemorySpace;
  readonly path: string;
  readonly file: SavedFile;
}

function start(
  t: Test,
  { space, path }: Pick<Ran, 'space' | 'path'>,
  options: Partial<LeaseSourceOptions> = {},
): Host {
  return makeHost(t, space, { publicIp: IP, host: { id: 'a', name: 'a' }, snapshotFile: path, ...options });
}

/** A host ran on 10.1.5.0/24 with one peer, and has ended. */
async function ran(t: Test, edit: (file: SavedFile) => void = () => {}): Promise<Ran> {
  const space = new MemorySpace();
  putConfig(space);
  putLease(space, '10.1.14.0/24', '192.0.2.14');
  const path = `${t.testdir()}/state/routes.json`;
  const host = start(t, { space, path }, { previous: { ipv4: SUBNET } });
  await host.open();
  await host.source.close();
  const file = JSON.parse(readFileSync(path, 'utf8')) as SavedFile;
  edit(file);
  writeFileSync(path, JSON.stringify(file));
  return { space, path, file };
}

t.test('close leaves the routes on disk, for nobody else to read, and nothing beside them', async (t) => {
  const { path, file, space } = await ran(t);
  t.match(file, {
    version: 2,
    underlay: 4,
    networkKey: 'memory',
    config: space.get('config')!.value,
    own: {
      key: KEY,
      createdAt: String(space.get(KEY)!.createdAt),
      grant: space.get(KEY)!.grant,
      publicIp: IP,
    },
    peers: [{ subnet: '10.1.14.0/24', publicIp: '192.0.2.14' }],
  });
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.strictSame(readdirSync(dirname(path)), ['routes.json']);
});

t.test(
  'what a run that was killed while it wrote left beside the file is gone after the next write',
  async (t) => {
    const space = new MemorySpace();
    putConfig(space);
    const path = `${t.testdir({ '.routes.json': '{"version":1,"netw' })}/routes.json`;
    const host = start(t, { space, path });
    await host.open();
    await host.source.close();
    t.strictSame(readdirSync(dirname(path)), ['routes.json']);
  },
);

t.test('a change is on disk within a second or so, without close', async (t) => {
  const { space, path } = await ran(t);
  const host = start(t, { space, path });
  await host.open();
  await host.heard('acquired');
  putLease(space, '10.1.8.0/24', '192.0.2.8');
  await until('the file to have it', () => readFileSync(path, 'utf8').includes('192.0.2.8'));
});

t.test('with saved routes a start does not wait for the store', async (t) => {
  const run = await ran(t);
  const host = start(t, run);
  host.store.disconnect();
  t.match(await host.open(), {
    network: '10.1.0.0/16',
    subnet: SUBNET,
    port: 8285,
    peers: [{ subnet: '10.1.14.0/24', publicIp: '192.0.2.14' }],
  });
  t.match(host.source.state, { stale: true, lease: undefined, leases: 1 });
  t.equal(host.source.state.syncedAt?.toISOString(), run.file.savedAt);
  await host.heard('waiting');
  t.strictSame(host.calls, [], 'the routes stay as they are');
  putLease(run.space, '10.1.8.0/24', '192.0.2.8');
  host.store.reconnect();
  await host.routes('10.1.8.0/24', '192.0.2.8');
  t.match(host.of('acquired'), [{ how: 'reused', lease: { key: KEY } }]);
  t.equal(host.source.state.stale, false);
  t.match(host.calls[0], [{ kind: 'snapshot' }]);
});

t.test('nothing but events is heard before open has resolved', async (t) => {
  const run = await ran(t);
  const host = start(t, run);
  const opening = host.open();
  let resolved = false;
  void opening.then(() => (resolved = true));
  await until('the confirmation', () => host.calls.length > 0);
  t.ok(resolved);
  t.strictSame(host.order.slice(-2), ['acquired', 'changes']);
});

t.test('when the subnet went to another host meanwhile, the start with saved routes moves', async (t) => {
  const run = await ran(t);
  run.space.remove(KEY);
  putLease(run.space, SUBNET, '192.0.2.66');
  const host = start(t, run);
  await host.open();
  const { from, to } = await host.heard('moved');
  t.equal(from.key, KEY);
  await host.routes(SUBNET, '192.0.2.66');
  t.equal(host.snapshot?.subnet, to.subnets.ipv4);
});

t.test('a network config that is gone refutes nothing', async (t) => {
  const run = await ran(t);
  run.space.remove('config');
  const host = start(t, run);
  await host.open();
  t.match(await host.heard('waiting'), { reason: /config not found/ });
  t.match(host.source.state, { stale: true, refuted: false });
});

t.test('while none is free for it, the saved subnet is told as refuted', async (t) => {
  const run = await ran(t);
  run.space.put('config', '{"Network":"10.1.0.0/16","SubnetMin":"10.1.5.0","SubnetMax":"10.1.5.0"}', 0);
  run.space.remove(KEY);
  putLease(run.space, SUBNET, '192.0.2.66');
  const host = start(t, run);
  await host.open();
  t.match(await host.heard('waiting'), { reason: /out of subnets/ });
  t.match(host.source.state, { stale: true, refuted: true, lease: undefined });
  run.space.remove(KEY);
  await host.heard('acquired');
  t.match(host.source.state, { stale: false, refuted: false });
});

t.test('when the lease ran out meanwhile and is free, the same subnet is taken', async (t) => {
  const run = await ran(t);
  run.space.remove(KEY);
  const host = start(t, run);
  await host.open();
  t.match(await host.heard('acquired'), { how: 'previous', lease: { key: KEY } });
});

t.test('a host that ended while it had no lease does not begin with the subnet it lost', async (t) => {
  const run = await ran(t);
  const host = start(t, run);
  await host.open();
  await host.heard('acquired');
  for (let n = 0; n < 16; n++) {
    if (n !== 14) putLease(run.space, `10.1.${n}.0/24`, `192.0.2.${n + 30}`);
  }
  await host.heard('waiting');
  await host.source.close();

  const next = start(t, run);
  const opening = next.open();
  await t.rejects(opening, { code: 'ERR_OUT_OF_SUBNETS' }, 'it is another host now that has it');
  t.match(next.of('warning'), [{ reason: /not used: the lease of that time ran out/ }]);
});

t.test('a backend that changed meanwhile ends the source', async (t) => {
  const run = await ran(t);
  putConfig(run.space, '{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan"}}');
  const host = start(t, run);
  await host.open();
  await until('the end', () => host.ended !== undefined);
  t.equal(host.ended?.code, 'ERR_BACKEND_TYPE');
});

t.test('close while the store is away leaves the saved routes as they are', async (t) => {
  const run = await ran(t);
  const before = readFileSync(run.path, 'utf8');
  const host = start(t, run);
  host.store.disconnect();
  await host.open();
  await host.heard('waiting');
  await host.source.close();
  t.equal(readFileSync(run.path, 'utf8'), before);
});

t.test('a lease that has run out is no start; a reservation never does', async (t) => {
  const rows: [what: string, edit: (file: SavedFile) => void, used: boolean][] = [
    ['run out', (file) => (file.own.expiresAt = new Date(Date.now() - 1000).toISOString()), false],
    ['a reservation', (file) => (file.own.expiresAt = null), true],
    [
      'an operator gave it a week',
      (file) => (file.own.expiresAt = new Date(Date.now() + 7 * 24 * HOUR_MS).toISOString()),
      true,
    ],
    [
      'the clock was set back a little',
      (file) => {
        file.savedAt = new Date(Date.now() + HOUR_MS).toISOString();
        file.own.expiresAt = new Date(Date.now() + 23 * HOUR_MS).toISOString();
      },
      true,
    ],
    [
      'the clock was set back far',
      (file) => {
        file.savedAt = new Date(Date.now() + 5 * HOUR_MS).toISOString();
        file.own.expiresAt = new Date(Date.now() + 29 * HOUR_MS).toISOString();
      },
      false,
    ],
    ['of a version without IPv6', (file) => void ((file.version = 1), delete file.underlay), true],
    ['another public IP', (file) => (file.own.publicIp = '192.0.2.2'), false],
  ];
  for (const [what, edit, used] of rows) {
    const run = await ran(t, edit);
    const host = start(t, run);
    await host.open();
    t.equal(host.source.state.stale, used, what);
    const reasons = host.of('warning').map(({ reason }) => reason.split(': ')[0]);
    t.strictSame(reasons, used ? [] : ['the routes of an earlier run are not used'], what);
  }
});

t.test('a file that cannot be used is a warning, and the start waits for the store', async (t) => {
  const rows: [text: (good: SavedFile) => string, reason: RegExp][] = [
    [() => '', /JSON/],
    [() => '{"version":1', /JSON/],
    [() => '[]', /expected object/],
    [(good) => JSON.stringify({ ...good, version: 3 }), /version/],
    [(good) => JSON.stringify({ ...good, underlay: 5 }), /underlay/],
    [(good) => JSON.stringify({ ...good, underlay: 6 }), /another family than the underlay/],
    [
      (good) => JSON.stringify({ ...good, peers: [{ subnet: 'fd00::/64', publicIp: '192.0.2.3' }] }),
      /outside/,
    ],
    [(good) => JSON.stringify({ ...good, networkKey: 'other' }), /belongs to "other", not to "memory"/],
    [(good) => JSON.stringify({ ...good, config: '{}' }), /Network/],
    [(good) => JSON.stringify({ ...good, own: { ...good.own, key: 'x' } }), /names no subnet/],
    [(good) => JSON.stringify({ ...good, own: { ...good.own, key: keyOf('10.9.0.0/24') } }), /outside/],
    [(good) => JSON.stringify({ ...good, own: { ...good.own, createdAt: '1e9' } }), /createdAt/],
    [(good) => JSON.stringify({ ...good, peers: [{ subnet: '10.9.0.0/24', publicIp: IP }] }), /outside/],
    [(good) => JSON.stringify({ ...good, peers: [{ subnet: '10.1.9.1/24', publicIp: IP }] }), /bits are set/],
    [
      (good) => JSON.stringify({ ...good, peers: [{ subnet: '10.1.9.0/24', publicIp: '0.0.0.0' }] }),
      /address/,
    ],
    [(good) => JSON.stringify({ ...good, peers: [...good.peers, ...good.peers] }), /twice/],
    [(good) => JSON.stringify({ ...good, peers: [{ subnet: SUBNET, publicIp: '192.0.2.3' }] }), /twice/],
  ];
  const run = await ran(t);
  for (const [text, reason] of rows) {
    writeFileSync(run.path, text(run.file));
    const host = start(t, run);
    await host.open();
    t.equal(host.source.state.stale, false, String(reason));
    t.match(host.of('warning'), [{ reason }], String(reason));
    t.match(host.of('warning'), [{ reason: /routes\.json is not used: / }]);
    await host.source.close();
    t.equal((JSON.parse(readFileSync(run.path, 'utf8')) as SavedFile).own.key, KEY, 'and it is written anew');
  }
});

t.test('a file that cannot be written is a warning', async (t) => {
  const space = new MemorySpace();
  putConfig(space);
  const root = t.testdir();
  mkdirSync(`${root}/routes.json`);
  const host = start(t, { space, path: `${root}/routes.json` });
  await host.open();
  await host.heard('warning', 2);
  putLease(space, '10.1.8.0/24', '192.0.2.8');
  await host.routes('10.1.8.0/24', '192.0.2.8');
  await host.source.close();
  t.match(
    host.of('warning'),
    [{ reason: /not a regular file/ }, { reason: /^cannot save the routes/ }],
    'each once',
  );
  t.strictSame(readdirSync(root), ['routes.json']);
});

t.test('a host whose public IP changed keeps its lease, and says where it is now', async (t) => {
  const run = await ran(t);
  const host = start(t, run, { publicIp: '192.0.2.99' });
  t.equal((await host.open()).subnet, SUBNET);
  t.equal(host.source.state.stale, false, 'others would still send to the old one');
  t.equal(run.space.get(KEY)?.value, valueOf('192.0.2.99'));
  t.equal(run.space.list('subnets').entries.length, 2);
});

t.test('a lease that was made anew by another host since is not ours, whatever the key', async (t) => {
  const run = await ran(t);
  run.space.remove(KEY);
  putLease(run.space, SUBNET, IP, DAY_SECONDS);
  const host = start(t, run, { publicIp: '192.0.2.99' });
  t.not((await host.open()).subnet, SUBNET);
  t.equal(run.space.get(KEY)?.value, valueOf(IP));
});

t.test('nothing is written after close', async (t) => {
  const run = await ran(t);
  const host = start(t, run);
  await host.open();
  await host.heard('acquired');
  await host.source.close();
  const before = statSync(run.path).ino;
  putLease(run.space, '10.1.8.0/24', '192.0.2.8');
  await sleep(1300); // longer than the debounce
  t.equal(statSync(run.path).ino, before);
});

t.test('a change that is noted after close is not looked at', async (t) => {
  let collected = 0;
  const collect = (): undefined => void collected++;
  const path = `${t.testdir()}/routes.json`;
  const file = new RoutesSnapshotFile({ path, networkKey: 'memory', collect, onWarning: () => {} });
  file.noteChange();
  await file.close();
  t.equal(collected, 1);
  file.noteChange();
  await file.close();
  t.equal(collected, 1);
});

t.test('the routes of both families, over an IPv6 underlay, are there again', async (t) => {
  const space = new MemorySpace();
  putConfig(space, DUAL);
  space.put('subnets/10.1.14.0-24&fd00:1:0:e::-64', valueOf('192.0.2.14', '2001:db8::14'), DAY_SECONDS);
  const path = `${t.testdir()}/routes.json`;
  const options = { publicIpv6: '2001:db8::1', underlay: 6 } as const;
  const first = start(t, { space, path }, options);
  const before = await first.open();
  await first.source.close();
  const again = start(t, { space, path }, options);
  again.store.disconnect();
  t.strictSame(await again.open(), before);
  t.match(before, { underlay: 6, peers: [{ publicIp: '2001:db8::14' }, { subnet: 'fd00:1:0:e::/64' }] });
  t.equal(again.source.state.stale, true);
  await again.source.close();

  const over4 = start(t, { space, path }, { ...options, underlay: 4 });
  t.match(await over4.open(), { underlay: 4, subnet: before.subnet, ipv6Subnet: before.ipv6Subnet });
  t.equal(over4.source.state.stale, false);
  t.match(over4.of('warning'), [{ reason: /not used: the underlay was IPv6$/ }]);
});
