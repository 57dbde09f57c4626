/**
 * Two networks between the same two hosts, in one process on each:
 *
 * ```
 *  pod1 --- cni0 10.1.1.1/24   host1 (ns)                    host2 (ns)   cni0 10.1.2.1/24 --- pod2
 *             blue:  flannel-blue   UDP 8285 ----- u1 -- u2 ----- UDP 8285   flannel-blue     etcd A, /blue/network
 *             green: flannel-green  UDP 8286 ----- u1 -- u2 ----- UDP 8286   flannel-green    etcd B, /green/network
 * ```
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { isSegments, readDaemonStatus, type SegmentsStatus } from '../../src/index.js';
import { answers, HEALTH_ARGS, httpGet, probe, SECONDS } from './daemon_checks.js';
import { EtcdServer } from './etcd_server.js';
import type { Lab } from './lab.js';
import { evaluate } from './program.js';
import { Scenario } from './scenario.js';
import { daemonFiles, type LogLine, SELVAGE_MAIN, SelvageDaemon } from './selvage.js';
import { checkedTcp, type TcpLoad } from './transfers.js';
import { until } from './until.js';

const BLUE = '/blue/network';
const GREEN = '/green/network';
const RED = '/red/network';
const GREEN_CONFIG = config('10.2.0.0/16', 8286);
const LOAD: TcpLoad = { streams: 2, listenBytes: 60_000_000, connectBytes: 60_000_000 };

const scenario = await Scenario.open(t, { controlPlane: true, packages: ['etcd-server', 'etcd-client'] });
const { lab } = scenario;
const { namespace, address } = lab.controlPlane;
const blueEtcd = await EtcdServer.start({ host: namespace, address });
const greenEtcd = await EtcdServer.start({ host: namespace, address, port: 2479 });
t.teardown(() => Promise.all([blueEtcd.close(), greenEtcd.close()]));
await blueEtcd.put(`${BLUE}/config`, JSON.stringify({ Network: lab.network }));
await greenEtcd.put(`${GREEN}/config`, GREEN_CONFIG);
await lab.setPodMtu(lab.underlayMtu - 28);

const [one, two] = [startSegments(lab, 0), startSegments(lab, 1)];
t.teardown(() => Promise.all([one.stop(), two.stop()]));
await Promise.all([one, two].flatMap((daemon) => ['blue', 'green'].map((name) => ready(daemon, name))));

/** Two networks on one address need two ports, and every host of a network takes its own from the config. */
function config(network: string, port: number, type = 'udp'): string {
  return JSON.stringify({ Network: network, Backend: { Type: type, Port: port } });
}

function startSegments(lab: Lab, index: number): SelvageDaemon {
  const host = lab.host(index);
  const files = daemonFiles(lab, index);
  const path = (name: string): string => join(lab.directory, `${host.label}-${name}`);
  // The pods' subnet, as of an earlier run.
  writeFileSync(path('blue.env'), `FLANNEL_NETWORK=${lab.network}\nFLANNEL_SUBNET=${host.bridgeIp}/24\n`);
  const segments = [
    { name: 'blue', 'etcd-prefix': BLUE, 'subnet-file': path('blue.env') },
    {
      name: 'green',
      'etcd-prefix': GREEN,
      'etcd-endpoints': greenEtcd.endpoint,
      'subnet-file': path('green.env'),
    },
    // Has no config yet.
    { name: 'red', 'etcd-prefix': RED, 'subnet-file': path('red.env') },
  ];
  writeFileSync(path('segments.json'), JSON.stringify({ segments }));
  const child = host.spawn(process.execPath, [
    ...[SELVAGE_MAIN, 'run', '--segments', path('segments.json'), '--iface', host.underlay],
    ...['--etcd-endpoints', blueEtcd.endpoint, '--log-format', 'json'],
    ...['--control-socket', files.socket, '--state-dir', files.state, ...HEALTH_ARGS],
  ]);
  return new SelvageDaemon(child, files);
}

function says(daemon: SelvageDaemon, segment: string, text: RegExp, from = 0): Promise<LogLine> {
  return daemon.logged((line) => line['segment'] === segment && text.test(line.msg), SECONDS, from);
}

function ready(daemon: SelvageDaemon, segment: string, from = 0): Promise<LogLine> {
  return says(daemon, segment, /^ready$/, from);
}

async function statusOf({ files }: SelvageDaemon): Promise<SegmentsStatus> {
  const status = await readDaemonStatus(files.socket);
  if (!isSegments(status)) throw new Error('one network');
  return status;
}

async function segmentOf(daemon: SelvageDaemon, name: string): Promise<SegmentsStatus['segments'][number]> {
  return (await statusOf(daemon)).segments.find((each) => each.name === name)!;
}

/** What is read of a line of `selvage check --json`. */
interface CheckedSegment {
  readonly segment: string;
  readonly verdict: string;
}

async function selvage(
  ...args: readonly string[]
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return await lab.host(0).exec(process.execPath, [SELVAGE_MAIN, ...args], { mayFail: true });
}

/** The address of a host's green device. */
async function greenAddress(daemon: SelvageDaemon): Promise<string> {
  return (await segmentOf(daemon, 'green')).status.forwarder!.device.address!;
}

/** Whether host 1 reaches host 2 in the green network. */
async function greenAnswers(): Promise<boolean> {
  return await answers(lab.host(0), await greenAddress(two));
}

await t.test('two networks between two hosts carry frames at the same time', async (t) => {
  await checkedTcp(t, lab.pod(0), lab.pod(1), LOAD, 'blue');
  t.ok(await until('green to answer', greenAnswers, SECONDS));
  t.ok(existsSync(join(lab.directory, 'host1-green.env')), 'each writes its subnet file');
});

await t.test('the status lists every segment, one that waits too', async (t) => {
  const status = await statusOf(one);
  t.strictSame(
    status.segments.map(({ name, state, status }) => [name, state, status.network?.network ?? null]),
    [
      ['blue', 'running', '10.1.0.0/16'],
      ['green', 'running', '10.2.0.0/16'],
      ['red', 'starting', null],
    ],
  );
  t.equal(status.health.status, 'degraded');
  t.ok(status.health.reasons.every(({ segment }) => segment === 'red'));
  const listed = await selvage('status', '--socket', one.files.socket);
  t.equal(listed.code, 0);
  t.match(listed.stdout, /blue +10\.1\.0\.0\/16 +10\.1\.1\.0\/24 +flannel-blue +running/);
  t.match(listed.stdout, /green +10\.2\.0\.0\/16 .* flannel-green +running/);
  t.match(
    listed.stdout,
    /red +\/red\/network +- +- +starting +segment|red +\/red\/network +- +- +starting +\w/,
  );
  const blue = await selvage('status', '--socket', one.files.socket, '--segment', 'blue', '--json');
  t.match(JSON.parse(blue.stdout), { networkName: BLUE, health: { status: 'ok' } });
  const none = await selvage('status', '--socket', one.files.socket, '--segment', 'bleu');
  t.equal(none.code, 1);
  t.match(none.stderr, /no segment here is named "bleu"; there are blue, green, red/);
});

await t.test('routes, probes and metrics tell the segments apart', async (t) => {
  const routes = await selvage('routes', '--socket', one.files.socket, '--segment', 'blue', '--json');
  t.match(JSON.parse(routes.stdout), [{ prefix: '10.1.2.0/24', nextHop: '192.168.100.2', port: 8285 }]);
  const { code, text } = await httpGet(lab.host(0), '/metrics');
  t.equal(code, 200);
  t.match(text, /selvage_routes\{segment="blue"\} 1\nselvage_routes\{segment="green"\} 1\n/);
  t.match(await probe(lab.host(0), '/healthz'), { code: 200, body: { status: 'degraded' } });
  const readiness = await probe(lab.host(0), '/readyz');
  t.equal(readiness.code, 503);
  t.match(readiness.body, { reasons: [{ segment: 'red', message: /^segment red: / }] });
});

await t.test('check and top look at each segment, or at the one that is named', async (t) => {
  const socket = ['--socket', one.files.socket];
  const check = async (...args: readonly string[]) => {
    const { code, stdout } = await selvage('check', ...socket, '--json', ...args);
    const reports = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as CheckedSegment);
    return { code, verdicts: reports.map(({ segment, verdict }) => `${segment} ${verdict}`) };
  };
  const all = await check();
  t.strictSame(all, { code: 1, verdicts: ['blue ok', 'green ok', 'red fault'] }, 'red waits for its config');
  t.strictSame(await check('--segment', 'green'), { code: 0, verdicts: ['green ok'] });
  const inner = await check(await greenAddress(two));
  t.strictSame(inner, { code: 0, verdicts: ['green ok'] }, 'an address is of one network');
  const top = await selvage('top', ...socket);
  t.equal(top.code, 0);
  t.strictSame(
    [...top.stdout.matchAll(/^\S+ (\w+): /gm)].map(([, name]) => name).filter((name) => name !== 'ok'),
    ['blue', 'green', 'red'],
  );
});

await t.test("a frame of one network that a peer sends to the other's port goes nowhere", async (t) => {
  const before = await statusOf(one);
  const inner = { from: [10, 1, 2, 2], to: [10, 1, 1, 2] };
  await evaluate(
    lab.host(1),
    `const { createSocket } = await import('node:dgram');
     const socket = createSocket('udp4');
     const frame = Buffer.from([0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, ...input.from, ...input.to,
       0x1f, 0x90, 0x1f, 0x91, 0, 8, 0, 0]);
     let sum = 0;
     for (let i = 0; i < 20; i += 2) sum += frame.readUInt16BE(i);
     frame.writeUInt16BE(~((sum & 0xffff) + (sum >>> 16)) & 0xffff, 10);
     await new Promise((done) => socket.bind(0, '192.168.100.2', done));
     for (let i = 0; i < 10; i++) await new Promise((done) => socket.send(frame, 8286, '192.168.100.1', done));
     socket.close();
     tell('sent');`,
    inner,
  );
  const dropped = (status: SegmentsStatus, name: string): number => {
    const { drops } = status.segments.find((each) => each.name === name)!.status.forwarder!.inbound;
    return Object.values(drops).reduce((sum, frames) => sum + frames, 0);
  };
  await until(
    'green to have dropped all',
    async () => dropped(await statusOf(one), 'green') === dropped(before, 'green') + 10,
  );
  const after = await statusOf(one);
  t.equal(dropped(after, 'blue'), dropped(before, 'blue'), 'blue has not seen any');
  const carried = ({ segments }: SegmentsStatus): number[] =>
    segments.slice(0, 2).map(({ status }) => status.forwarder!.inbound.framesSent);
  t.strictSame(carried(after), carried(before), 'and no device has got one');
});

await t.test(
  'a packet that a pod sends into the other network is dropped by the host that receives it',
  async (t) => {
    const greenDrops = async (): Promise<number> => {
      const { inbound } = (await segmentOf(two, 'green')).status.forwarder!;
      return inbound.drops.spoofedSource;
    };
    const before = await greenDrops();
    t.notOk(await answers(lab.pod(0), await greenAddress(two)));
    t.equal(await greenDrops(), before + 1);
  },
);

await t.test('a device that is deleted: its segment starts again, the other carries on', async (t) => {
  const from = one.log.length;
  const transfer = checkedTcp(t, lab.pod(0), lab.pod(1), LOAD, 'blue meanwhile');
  await lab.host(0).ip('link del flannel-green');
  const failed = await says(one, 'green', /^the segment failed/, from);
  t.equal(failed['code'], 'ERR_TUN_GONE');
  await ready(one, 'green', from);
  await transfer;
  t.ok(await until('green to answer', greenAnswers, SECONDS));
  const { restarts, state } = await segmentOf(one, 'green');
  t.match({ restarts, state }, { restarts: 1, state: 'running' });
  t.equal((await segmentOf(one, 'blue')).restarts, 0);
});

await t.test("one network's etcd dies: the other carries on, and so do the routes there were", async (t) => {
  const transfer = checkedTcp(t, lab.pod(0), lab.pod(1), LOAD, 'blue meanwhile');
  await greenEtcd.kill();
  await until(
    'green to miss its etcd',
    async () =>
      (await segmentOf(one, 'green')).status.health.reasons.some(({ code }) => code === 'storeAway'),
    SECONDS,
  );
  await transfer;
  t.equal((await segmentOf(one, 'blue')).status.health.status, 'ok');
  t.ok(await greenAnswers(), 'green forwards by what it knew');
  await greenEtcd.restart();
  await until(
    'green to be well',
    async () => (await segmentOf(one, 'green')).status.health.status === 'ok',
    SECONDS,
  );
});

await t.test('a network that overlaps that of a segment is refused, and told which', async (t) => {
  const from = one.log.length;
  const transfer = checkedTcp(t, lab.pod(0), lab.pod(1), LOAD, 'blue meanwhile');
  await blueEtcd.put(`${RED}/config`, config('10.1.128.0/17', 8287));
  const failed = await says(one, 'red', /overlaps/, from);
  t.match(failed, {
    code: 'ERR_SEGMENT_OVERLAP',
    msg: /10\.1\.128\.0\/17 overlaps 10\.1\.0\.0\/16 of segment "blue"/,
  });
  t.match(await segmentOf(one, 'red'), { state: 'failed', reason: /overlaps/ });
  await transfer;
  t.match(await probe(lab.host(0), '/healthz'), { code: 200, body: { status: 'degraded' } });
  const links = await lab.host(0).exec('ip', ['-br', 'link', 'show', 'type', 'tun']);
  t.notMatch(links.stdout, /flannel-red/, 'it never had a device');
  const taken = one.log.length;
  await blueEtcd.put(`${RED}/config`, config('10.3.0.0/16', 8286));
  const refused = await says(
    one,
    'red',
    /UDP port 8286 on 192\.168\.100\.1 is that of segment "green"/,
    taken,
  );
  t.equal(refused['code'], 'ERR_SEGMENT_OVERLAP', 'nor does it share a port');
  const again = one.log.length;
  await blueEtcd.put(`${RED}/config`, config('10.3.0.0/16', 8287));
  await ready(one, 'red', again);
  t.pass('it joins as soon as it has a network of its own');
});

await t.test('a network that becomes one of another backend stops alone, and comes back', async (t) => {
  const from = one.log.length;
  const transfer = checkedTcp(t, lab.pod(0), lab.pod(1), LOAD, 'blue meanwhile');
  await greenEtcd.put(`${GREEN}/config`, config('10.2.0.0/16', 8286, 'vxlan'));
  await lab.host(0).ip('link del flannel-green');
  const again = await one.logged(
    (line) => line['segment'] === 'green' && line['code'] === 'ERR_BACKEND_TYPE',
    SECONDS,
    from,
  );
  t.match(again.msg, /vxlan/);
  await transfer;
  t.equal((await segmentOf(one, 'blue')).state, 'running');
  const back = one.log.length;
  await greenEtcd.put(`${GREEN}/config`, GREEN_CONFIG);
  await ready(one, 'green', back);
});

await t.test('a signal ends all: exit code 0, and no device stays', async (t) => {
  t.equal((await one.stop()).code, 0);
  const links = await lab.host(0).exec('ip', ['-br', 'link', 'show', 'type', 'tun']);
  t.notMatch(links.stdout, /flannel-/);
});
