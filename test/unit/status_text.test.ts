import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';

import t, { type Test } from 'tap';

import { agentRoutesOf, statusOf } from '../../src/agent/agent_status.js';
import type { AgentView } from '../../src/agent/agent_view.js';
import { readStatus } from '../../src/agent/control_client.js';
import { ControlServer } from '../../src/agent/control_server.js';
import { showEachDaemon } from '../../src/cli/each_daemon.js';
import { formatBytes, formatCount, formatSpan } from '../../src/cli/figures.js';
import { showRoutes } from '../../src/cli/routes.js';
import { showStatus } from '../../src/cli/status.js';
import { statusText } from '../../src/cli/status_text.js';
import { DropReason } from '../../src/encap/drop_reason.js';
import { INBOUND, OUTBOUND } from '../../src/workers/counters.js';
import type { PeerStats } from '../../src/workers/forwarder_stats.js';
import { AWAY, fileView, lane, laneCounters, LEASE, peer, stats, storeView, view } from './agent_fixture.js';

const NOW = new Date('2026-03-01T13:00:01Z');

function text(shown: AgentView): string {
  return statusText({ ...statusOf(shown), pid: 4711 }, NOW);
}

function busy(): AgentView {
  const counters = laneCounters();
  counters.addSent(OUTBOUND, 1_234_567, 5_000_000_000, 1, 0);
  counters.addSent(INBOUND, 89, 100_000, 1, 0);
  counters.addDrop(OUTBOUND, DropReason.noRoute, 12);
  counters.addDrop(INBOUND, DropReason.unknownPeer, 3456);
  const peers = [
    peer({ framesOut: 9, bytesOut: 900 }),
    peer({ address: '192.0.2.3' }),
    peer({ address: '192.0.2.4', framesIn: 1_234_558, bytesIn: 4_000_000 }),
  ];
  return view({ forwarder: stats({ lanes: [lane({}, counters)], peers }) });
}

t.test('a host that is well fits on one screen', (t) => {
  t.equal(
    text(busy()),
    `selvage      1.2.3, process 4711, up 60 min
health       ok, ready
network      10.1.0.0/16 (/coreos.com/network)
subnet       10.1.2.0/24
public IP    192.0.2.1, 192.0.2.1 on eth0, MTU 1500
lease        10.1.2.0/24, expires in 23 h, confirmed 60 min ago
leases       3 of other hosts, 1 not routed to; in step 60 min ago, revision 9007199254740993
store        etcd http://192.0.2.9:2379
             connected for 60 min; lost 4 times
subnet file  /run/flannel/subnet.env, written
firewall     masquerade, forward
routes       2, generation 7
device       flannel0 10.1.2.0, MTU 1472, UDP 192.0.2.1:8285
lanes        1 of 1 running

traffic                    out        in
frames               1,234,567        89
bytes                 4.66 GiB  97.7 KiB
dropped noRoute             12         0
dropped unknownPeer          0     3,456

peers           frames out  bytes out  frames in  bytes in
192.0.2.4:8285           0        0 B  1,234,558  3.81 MiB
192.0.2.2:8285           9      900 B          0       0 B
`,
  );
  t.end();
});

t.test('trouble is told with its reason and since when', (t) => {
  const lanes = [lane(), lane({ lane: 1, running: false, restarts: 3, generation: 0 })];
  const shown = storeView(
    { connection: AWAY, stale: true, lease: undefined, duplicate: '10.1.7.0/24' },
    {
      forwarder: stats({
        lanes,
        kernel: { udpReceiveOverflow: 5, strangersRefused: 8, tunQueueOverflow: 0 },
      }),
      firewall: { masquerade: false, forward: true, error: 'nft is not installed' },
      subnetFile: { path: '/run/x', written: false, error: 'EROFS' },
    },
  );
  const told = text(shown);
  for (const line of [
    /^health +degraded, not ready$/m,
    /^ +degraded: etcd http:\/\/192\.0\.2\.9:2379: connection refused \(for 30 min\)$/m,
    /^ +degraded: lane 1 does not run, started again 3 times so far$/m,
    /^ +degraded: 10\.1\.7\.0\/24 uses our public IP/m,
    /^lease +none$/m,
    /^ +away for 30 min: etcd http:\/\/192\.0\.2\.9:2379: connection refused; lost 4 times$/m,
    /^routes +2, STALE: of an earlier run, generation 7$/m,
    /^lanes +1 of 2 running$/m,
    /^ +lane 1: down, started again 3 times$/m,
    /^firewall +forward: nft is not installed$/m,
    /^subnet file +\/run\/x, EROFS$/m,
    /^lost in kernel queues +0 +5$/m,
    /^strangers refused by the kernel +8$/m,
  ]) {
    t.match(told, line);
  }
  t.end();
});

t.test('a reason that keeps it from being ready is told once', (t) => {
  const told = text(view({ subnetFile: { path: '/run/x', written: false } }));
  t.match(told, /^health +ok, not ready$/m);
  t.match(told, /^ +not ready: \/run\/x: not written yet$/m);
  const failing = text(view({ forwarder: undefined }));
  t.equal(failing.match(/is not there yet/g)?.length, 1);
  t.end();
});

t.test('a daemon that waits for its network has a status as well', (t) => {
  const told = text(
    storeView(
      { connection: { ...AWAY, reason: undefined }, lease: undefined, syncedAt: undefined },
      { snapshot: undefined, forwarder: undefined, publicIp: undefined, underlay: undefined },
    ),
  );
  for (const line of [
    /^health +degraded, not ready$/m,
    /^network +not known yet \(\/coreos\.com\/network\)$/m,
    /^subnet +none yet$/m,
    /^public IP +not known yet$/m,
    /never in step/,
    /^ +away for 30 min: not reached yet/m,
  ]) {
    t.match(told, line);
  }
  t.notMatch(told, /traffic|undefined|null|NaN/);
  t.end();
});

t.test('a reservation does not expire, a lease that ran out says so', (t) => {
  t.match(
    text(storeView({ lease: { ...LEASE, reserved: true, expiresAt: undefined } })),
    /^lease +10\.1\.2\.0\/24, reserved, confirmed 60 min ago$/m,
  );
  const expiresAt = new Date(NOW.getTime() - 5000);
  t.match(text(storeView({ lease: { ...LEASE, expiresAt } })), /expired 5 s ago/);
  t.end();
});

t.test('paths narrower than the others are shown, the first few of many', (t) => {
  const narrow = (address: string): PeerStats => peer({ address, pathMtuBytes: 1372 });
  const two = text(
    view({ forwarder: stats({ peers: [peer(), narrow('192.0.2.3'), narrow('2001:db8::4')] }) }),
  );
  t.match(two, /^narrower paths +MTU\n192\.0\.2\.3:8285 +1372\n\[2001:db8::4\]:8285 +1372\n/m);
  const many = Array.from({ length: 9 }, (_, i) => narrow(`192.0.2.${i + 2}`));
  t.match(text(view({ forwarder: stats({ peers: many }) })), /^narrower paths, and 4 more +MTU$/m);
  t.notMatch(text(view({ forwarder: stats({ peers: [peer()] }) })), /narrower paths/);
  t.end();
});

t.test('IPv6 of the network is shown', (t) => {
  const snapshot = {
    network: '10.1.0.0/16',
    subnet: '10.1.2.0/24',
    ipv6Network: 'fd00:1::/48',
    ipv6Subnet: 'fd00:1:0:2::/64',
    underlay: 4,
  } as const;
  const told = text(view({ snapshot }));
  t.match(told, /^network +10\.1\.0\.0\/16, fd00:1::\/48 \(/m);
  t.match(told, /^subnet +10\.1\.2\.0\/24, fd00:1:0:2::\/64$/m);
  t.end();
});

t.test('a routes file has neither lease nor store', (t) => {
  const told = text(
    fileView({ networkName: '/etc/routes.json', subnetFile: undefined, firewall: undefined }),
  );
  t.match(told, /^source +file \/etc\/routes\.json$/m);
  t.notMatch(told, /^(lease|leases|store|firewall|subnet file) /m);
  t.end();
});

t.test('of many peers and lanes the first few are shown, and how many there are', (t) => {
  const peers = Array.from({ length: 1500 }, (_, index) =>
    peer({ port: index + 1, framesOut: 1, bytesOut: index }),
  );
  const lanes = Array.from({ length: 64 }, (_, index) => lane({ lane: index, generation: 6 }));
  const told = text(view({ forwarder: stats({ peers, lanes }) }));
  t.match(told, /^top 5 of 1,499 peers /m);
  t.strictSame(
    told.match(/^192\.0\.2\.2:\d+/gm),
    [1500, 1499, 1498, 1497, 1496].map((port) => `192.0.2.2:${port}`),
  );
  t.match(told, /^ +lane 7: generation 6, started again 0 times\n +and 56 more$/m);
  t.end();
});

t.test('control characters in what others said do not reach the terminal', (t) => {
  const connection = { ...AWAY, reason: 'bad\u001b[2Jthing\u009bx\nforged: line' };
  const told = text(storeView({ connection, duplicate: 'a\u0007b' }));
  t.match(told, /bad\?\[2Jthing\?x\?forged: line/);
  t.notMatch(told, /[^\P{Cc}\n]/u);
  t.end();
});

/** A running daemon's control socket, and what the command prints about it. */
async function serve(t: Test, shown: AgentView): Promise<string> {
  const directory = mkdtempSync(`${tmpdir()}/selvage-test-`);
  const socket = `${directory}/a.sock`;
  const server = await ControlServer.open({ view: () => shown, socketPath: socket });
  t.teardown(async () => {
    await server.close();
    rmSync(directory, { recursive: true });
  });
  return socket;
}

t.test('selvage status ends with 0 for a daemon that carries frames, with 1 for a failing one', async (t) => {
  const rows: [AgentView, number, RegExp][] = [
    [view(), 0, /^health +ok, ready$/m],
    [storeView({ connection: AWAY }), 0, /^health +degraded, ready$/m],
    [view({ forwarder: undefined }), 0, /^health +degraded, not ready$/m],
    [view({ fatal: 'the device is gone' }), 1, /^health +failing, not ready$/m],
  ];
  for (const [shown, exitCode, line] of rows) {
    const socket = await serve(t, shown);
    let printed = '';
    t.equal(await showStatus({ socket, json: false }, (more) => (printed += more)), exitCode);
    t.match(printed, line);
    let json = '';
    t.equal(await showStatus({ socket, json: true }, (more) => (json += more)), exitCode);
    t.match(json, /^[^\n]+\n$/, 'one line');
    t.strictSame(JSON.parse(json), statusOf(shown));
  }
});

t.test('selvage routes prints them in order of address, with what their next hops counted', async (t) => {
  const forwarder = stats({ peers: [peer({ framesOut: 5000, framesIn: 7 })] });
  const shown = view({ forwarder });
  const socket = await serve(t, shown);
  let printed = '';
  t.equal(await showRoutes({ socket, json: false }, (more) => (printed += more)), 0);
  t.equal(
    printed,
    `prefix        next hop        frames out  frames in
10.1.9.0/24   192.0.2.3:8286           0          0
10.1.10.0/24  192.0.2.2:8285       5,000          7
`,
  );
  let json = '';
  await showRoutes({ socket, json: true }, (more) => (json += more));
  t.strictSame(JSON.parse(json), agentRoutesOf(shown));
});

t.test('where no daemon is, status and routes throw what says so, and print nothing', async (t) => {
  const fail = (): void => void t.fail('printed');
  for (const show of [showStatus, showRoutes]) {
    await t.rejects(show({ socket: '/nonexistent/a.sock', json: false }, fail), { code: 'ERR_NO_DAEMON' });
  }
});

t.test('without a socket every daemon is shown, and one that is gone is an error at the end', async (t) => {
  const [first, second] = [await serve(t, view()), await serve(t, view())];
  const directory = mkdtempSync(`${tmpdir()}/selvage-test-`);
  t.teardown(() => rmSync(directory, { recursive: true }));
  const shown: [string, boolean][] = [];
  const show = async (path: string, several: boolean): Promise<number> => {
    shown.push([path, several]);
    return (await readStatus(path)).health.status === 'ok' ? 0 : 1;
  };
  const all = {};
  await t.rejects(showEachDaemon(all, show, directory), {
    code: 'ERR_NO_DAEMON',
    message: `no selvage runs here (no socket in ${directory}); `,
  });
  renameSync(first, `${directory}/b.sock`);
  t.equal(await showEachDaemon(all, show, directory), 0);
  renameSync(second, `${directory}/c.sock`);
  const bound = createServer().listen(`${directory}/a.sock.bound`);
  await once(bound, 'listening');
  renameSync(`${directory}/a.sock.bound`, `${directory}/a.sock`);
  bound.close();
  await t.rejects(showEachDaemon(all, show, directory), {
    code: 'ERR_NO_DAEMON',
    message: `${directory}/a.sock: no selvage runs there`,
  });
  t.strictSame(shown, [
    [`${directory}/b.sock`, false],
    [`${directory}/a.sock`, true],
    [`${directory}/b.sock`, true],
    [`${directory}/c.sock`, true],
  ]);
});

t.test('a span of time has the largest unit of which there are two', (t) => {
  const rows: [number, string][] = [
    [-3, '0 s'],
    [0.9, '0 s'],
    [119, '119 s'],
    [120, '2 min'],
    [7199, '119 min'],
    [7200, '2 h'],
    [86_400, '24 h'],
    [172_800, '2 d'],
  ];
  for (const [seconds, expected] of rows) t.equal(formatSpan(seconds), expected);
  t.end();
});

t.test('bytes have three digits, counts a separator every three', (t) => {
  const rows: [number, string][] = [
    [0, '0 B'],
    [999, '999 B'],
    [1000, '0.98 KiB'],
    [1024, '1.00 KiB'],
    [10_240, '10.0 KiB'],
    [102_400, '100 KiB'],
    [2 ** 53, '8.00 PiB'],
  ];
  for (const [bytes, expected] of rows) t.equal(formatBytes(bytes), expected);
  t.equal(formatCount(1_234_567), '1,234,567');
  t.end();
});
