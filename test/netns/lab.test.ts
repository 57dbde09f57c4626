/**
 * The lab itself: whatever ends it leaves nothing behind, and its paths and loads do what they say.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import type { CommandResult } from './child.js';
import { CheckedLoad } from './checked_load.js';
import { Lab, type LabHost } from './lab.js';
import { parsePing, ping, tcp, udpFlood } from './loads.js';
import type { End, Namespace } from './namespace.js';
import { ensurePackages, LAB_PACKAGES } from './packages.js';
import { createPath } from './peers.js';
import { ensurePrivileges } from './privileges.js';
import { sendPackets } from './replay.js';
import { runPython, startToolUntil } from './tool.js';
import { checkedFlows, checkedSizes, checkedTcp } from './transfers.js';
import { until } from './until.js';

const LAB_MODULE = new URL('./lab.js', import.meta.url).href;
/** Namespaces of two hosts and two pods, and the lab's directory. */
const TRACES_OF_A_LAB = 5;

t.setTimeout(120_000);

t.before(async () => {
  await ensurePrivileges();
  ensurePackages([...LAB_PACKAGES, 'ethtool', 'iperf3', 'nftables', 'python3']);
});

/** Starts a process that says `building`, builds a lab with a process and a grandchild in it, says `up` and goes on. */
function startHolder(afterwards = ''): ChildProcess {
  const program = `
    import { Lab } from ${JSON.stringify(LAB_MODULE)};
    setInterval(() => {}, 1000);
    console.log('building');
    const lab = await Lab.create();
    lab.pods[0].spawn('sh', ['-c', 'sleep 300.' + process.pid + ' & sleep 300.' + process.pid]);
    console.log('up');
    ${afterwards}`;
  return spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function said(holder: ChildProcess, word: string): Promise<number> {
  let output = '';
  holder.stdout?.on('data', (text) => (output += String(text)));
  await until(`the holder to say ${word}`, () => output.includes(word) || holder.exitCode !== null);
  return holder.pid ?? -1;
}

/** Namespaces, directories and sleeping processes of the labs that process `pid` made. */
function tracesOf(pid: number): string[] {
  const isTheirs = (name: string): boolean => name.startsWith(`selvage-${pid}-`);
  const sleepers = readdirSync('/proc').filter(
    (name) => commandOf(name) === ['sleep', `300.${pid}`, ''].join('\0'),
  );
  return [...readdirSync('/run/netns'), ...readdirSync(tmpdir())].filter(isTheirs).concat(sleepers);
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // no process, or it has gone
  }
}

t.test('a closed lab leaves nothing and takes no new work', async (t) => {
  const lab = await Lab.create();
  const child = lab.pod(0).spawn('sh', ['-c', `sleep 300.${process.pid} & sleep 300.${process.pid}`]);
  t.equal(tracesOf(process.pid).filter((name) => name.startsWith('selvage-')).length, TRACES_OF_A_LAB);
  await Promise.all([lab.close(), lab.close()]);
  t.notOk(child.running);
  await until('nothing to be left', () => tracesOf(process.pid).length === 0);
  t.throws(() => lab.pod(0).spawn('true'), { message: '[pod1] true: the lab is closed' });
});

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  t.test(`${signal} removes the lab, and the process dies of it`, async (t) => {
    const holder = startHolder();
    const pid = await said(holder, 'up');
    t.not(tracesOf(pid).length, 0);
    holder.kill(signal);
    t.same(await once(holder, 'exit'), [null, signal]);
    await until('nothing to be left', () => tracesOf(pid).length === 0);
  });
}

t.test('SIGTERM while the lab is being built removes what there is', async (t) => {
  const holder = startHolder();
  const pid = await said(holder, 'building');
  await until('the first namespace', () => tracesOf(pid).some((name) => name.endsWith('-h1')));
  holder.kill('SIGTERM');
  t.same(await once(holder, 'exit'), [null, 'SIGTERM']);
  await until('nothing to be left', () => tracesOf(pid).length === 0);
});

for (const [title, afterwards, code] of [
  ['process.exit()', 'process.exit(7);', 7],
  ['an uncaught error', 'throw new Error("on purpose");', 1],
] as const) {
  t.test(`${title} removes the lab`, async (t) => {
    const holder = startHolder(afterwards);
    t.same(await once(holder, 'exit'), [code, null]);
    await until('nothing to be left', () => tracesOf(holder.pid ?? -1).length === 0);
  });
}

t.test('what SIGKILL leaves is swept, processes in the namespaces too', async (t) => {
  const holder = startHolder();
  const pid = await said(holder, 'up');
  const mine = await Lab.create();
  t.teardown(() => mine.close());
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  t.not(tracesOf(pid).length, 0, 'a killed process cannot clean up');
  const swept = await Lab.sweep();
  t.ok(swept.includes(`selvage-${pid}-1-h1`) || tracesOf(pid).length === 0, 'or another lab was quicker');
  await until('nothing to be left', () => tracesOf(pid).length === 0);
  t.equal((await mine.pod(0).exec('ip', ['link', 'show', 'eth0'])).code, 0, 'a living lab is left alone');
});

t.test('a command that fails rejects with its output, one that hangs is ended', async (t) => {
  const lab = await Lab.create();
  t.teardown(() => lab.close());
  const pod = lab.pod(0);
  await t.rejects(pod.exec('sh', ['-c', 'echo why >&2; exit 3']), {
    message: /\[pod1\] sh .*: exit code 3\n {4}why/,
  });
  t.match(await pod.exec('sh', ['-c', 'exit 3'], { mayFail: true }), { code: 3, stdout: '' });
  t.match(await pod.exec('cat', [], { input: 'to and fro' }), { code: 0, stdout: 'to and fro' });
  t.match(await pod.exec('no-such-program', [], { mayFail: true }), { stderr: /no-such-program/ });
  const hanging = pod.exec('sh', ['-c', 'sleep 300 & sleep 300'], { timeoutSeconds: 0.2 });
  await t.rejects(hanging, { message: /still running after 0.2 s, killed/ });
});

t.test('an offload scenario holds on both ends, and veth restores what the kernel had set', async (t) => {
  const lab = await Lab.create();
  t.teardown(() => lab.close());
  const features = async (): Promise<string[]> => {
    const outputs = lab.hosts.map((host) => host.exec('ethtool', ['-k', host.underlay]));
    return (await Promise.all(outputs)).map(({ stdout }) => stdout.replace(/^.*:\n/, ''));
  };
  const original = await features();
  await lab.offload('wire');
  for (const text of await features()) {
    t.match(text, /^tcp-segmentation-offload: off$/m);
    t.match(text, /^tx-udp-segmentation: off$/m);
    t.match(text, /^generic-receive-offload: on$/m);
  }
  await lab.offload('wire-nogro');
  for (const text of await features()) t.match(text, /^generic-receive-offload: off$/m);
  await lab.offload('veth');
  t.same(await features(), original);
});

t.test('a path carries between all pods, at its full MTU, until it is stopped', async (t) => {
  for (const hosts of [2, 3]) {
    const lab = await Lab.create({ hosts });
    t.teardown(() => lab.close());
    for (const name of ['host-gw', 'vxlan', 'vxlan'] as const) {
      const path = createPath(lab, name);
      await path.start();
      for (const from of lab.pods) {
        for (const to of lab.pods.filter((pod) => pod !== from)) {
          const bytes = path.overlayMtu - 28; // IPv4 and ICMP headers
          const { lost } = await ping(lab, { from, to, count: 3, bytes });
          t.equal(lost, 0, `${name}: ${from.label} to ${to.label} of ${hosts}`);
        }
      }
      await path.stop();
      const { code } = await lab
        .pod(0)
        .exec('ping', ['-c', '1', '-W', '1', lab.pod(1).address], { mayFail: true });
      t.equal(code, 1, `${name} is stopped: no answer`);
    }
  }
});

t.test('loads report what arrived', async (t) => {
  const lab = await Lab.create();
  t.teardown(() => lab.close());
  await createPath(lab, 'host-gw').start();
  const received = async (): Promise<number> => {
    const { stdout } = await lab.pod(1).exec('cat', ['/proc/net/snmp']);
    return Number(/^Udp: (\d+)/m.exec(stdout)?.[1]);
  };
  const before = await received();
  const udp = await udpFlood(lab, { seconds: 1, bytes: 100, bitsPerSecond: 1000 * 100 * 8 });
  const arrived = (await received()) - before;
  t.ok(udp.sent > 0 && udp.lost === 0, `${udp.sent} sent slowly, ${udp.lost} lost`);
  t.ok(Math.abs(arrived - udp.sent) <= 3, `the kernel counted ${arrived}; a few are iperf3's own greetings`);

  const reports: number[] = [];
  for (const reverse of [false, true]) {
    const onProgress = ({ perSecond }: { perSecond: number }): unknown => reports.push(perSecond);
    const stream = await tcp(lab, { seconds: 1, reverse, progressPerSecond: 4, onProgress });
    t.ok(stream.bytes > 0 && stream.gbitPerSecond > 0);
  }
  t.ok(reports.some((bits) => bits > 0));
  await lab.host(0).ip('route replace unreachable 10.1.2.0/24');
  t.match(await ping(lab, { count: 2, intervalSeconds: 0.01 }), { sent: 2, lost: 2, p50Millis: NaN });
  await t.rejects(tcp(lab, { seconds: 1 }), { message: /iperf3/ });
});

t.test('a lab has IPv6 beside IPv4, also after an MTU that is too small for it', async (t) => {
  const lab = await Lab.create({ hosts: 3, controlPlane: true });
  t.teardown(() => lab.close());
  await lab.setPodMtu(1279);
  await lab.setPodMtu(1500);
  const [pod1, host1, host3] = [lab.pod(0), lab.host(0), lab.host(2)];
  await answers(t, pod1.ipv6, host1.at(host1.bridgeIpv6));
  await answers(t, host1, host3.at(host3.publicIpv6));
  await answers(t, host1, host3.at(lab.controlPlane.ipv6Address));
});

t.test('loads and transfers are of the family of their ends', async (t) => {
  const lab = await Lab.create();
  t.teardown(() => lab.close());
  await createPath(lab, 'host-gw').start();
  const [from, to] = [lab.pod(0), lab.pod(1)];
  for (const ends of [
    { from, to },
    { from: from.ipv6, to: to.ipv6 },
  ]) {
    const beside = await CheckedLoad.start(lab, ends);
    const rates: number[] = [];
    const onProgress = ({ perSecond }: { perSecond: number }): unknown => rates.push(perSecond);
    const udp = await udpFlood(lab, {
      ...{ ...ends, seconds: 1, bitsPerSecond: 512_000 },
      ...{ onProgress, progressPerSecond: 4 },
    });
    t.ok(udp.sent > 0 && udp.lost === 0 && rates.some((each) => each > 0), 'UDP arrives and is counted');
    const load = { streams: 2, listenBytes: 300_000, connectBytes: 3_000_000 };
    await checkedTcp(t, ends.from, ends.to, load, 'TCP');
    for (const superframes of [false, true])
      await checkedFlows(t, ends.from, ends.to, { flows: 4, datagrams: 300, mostBytes: 1400, superframes });
    await checkedSizes(t, ends.from, ends.to, 1500);
    await beside.assertWhole(t);
  }
});

t.test('a pod sends packets that no stack would make', async (t) => {
  const lab = await Lab.create();
  t.teardown(() => lab.close());
  const seen = await startToolUntil('capturing', lab.host(0), 'capture', 'pod');
  const odd = ['4f00', '6f00'].map((start) => start.padEnd(120, '0'));
  const packets = odd.map((hex) => new Uint8Array(Buffer.from(hex, 'hex')));
  t.match(await sendPackets(lab, lab.pod(0), packets), { sent: 2, refused: {} });
  await until('both at the host', () => odd.every((hex) => seen.stdout.includes(`< ${hex}`)));
});

t.test('an underlay too small for IPv6 has IPv4 alone', async (t) => {
  for (const router of [false, true]) {
    const lab = await Lab.create({ underlayMtu: 600, router });
    t.teardown(() => lab.close());
    await answers(t, lab.host(0), lab.host(1).at(lab.host(1).publicIp));
  }
});

t.test('hosts behind a router reach each other and the control plane, by both families', async (t) => {
  const lab = await Lab.create({ router: true, controlPlane: true });
  t.teardown(() => lab.close());
  t.equal(lab.hosts.length, 3);
  const { address, ipv6Address } = lab.controlPlane;
  for (const host of lab.hosts) {
    for (const to of [address, ipv6Address]) await answers(t, host, lab.router.at(to));
    for (const other of lab.othersOf(host)) {
      for (const to of [other.publicIp, other.publicIpv6]) await answers(t, host, other.at(to), 1500);
    }
  }
  await t.rejects(Lab.create({ router: true, hosts: 101 }), { message: 'hosts: 101 is not 2..100' });
});

t.test("a router's smaller MTU holds both ways, and its ICMP can be silenced", async (t) => {
  const lab = await Lab.create({ router: true });
  t.teardown(() => lab.close());
  const [one, two, three] = [lab.host(0), lab.host(1), lab.host(2)];
  const widen = await lab.setRouterMtu(1, 1400);
  for (const [from, to] of [
    [one, two],
    [two, one],
  ] as const) {
    for (const address of [to.publicIp, to.publicIpv6]) {
      const end = to.at(address);
      await answers(t, from, end, 1400);
      t.match(await unanswered(from, end, 1401), /mtu ?= ?1400/, `${from.label} to ${address}: it is told`);
      await answers(t, three, one.at(one.publicIp), 1500);
    }
  }
  await lab.forgetPathMtu();
  const unsilence = await lab.silenceRouterIcmp();
  for (const address of [two.publicIp, two.publicIpv6])
    t.notMatch(await unanswered(one, two.at(address), 1401), /mtu/, `${address}: nobody is told`);
  await unsilence();
  t.match(await unanswered(one, two.at(two.publicIp), 1401), /mtu ?= ?1400/);
  await widen();
  await lab.forgetPathMtu();
  await answers(t, one, two.at(two.publicIp), 1500);
  await t.rejects(lab.setRouterMtu(0, 1501), { message: '1501 bytes: the link itself carries 1500' });
  await t.rejects(lab.setRouterMtu(3, 1400), { message: '3 is not 0..2' });
});

t.test('a black hole swallows large packets both ways, superframes too, until it is undone', async (t) => {
  const lab = await Lab.create({ router: true });
  t.teardown(() => lab.close());
  const [one, two] = [lab.host(0), lab.host(1)];
  const undo = await lab.dropLarge(1, 1400);
  for (const [from, to] of [
    [one, two],
    [two, one],
  ] as const) {
    for (const address of [to.publicIp, to.publicIpv6]) {
      const end = to.at(address);
      await answers(t, from, end, 1400);
      t.notMatch(await unanswered(from, end, 1401), /mtu/);
    }
  }
  t.equal(await trainsThat(one, two, 1372), 4, 'the pieces of a superframe that fit pass');
  t.equal(await trainsThat(one, two, 1373), 0, 'and those that do not are lost');
  await undo();
  await answers(t, one, two.at(two.publicIp), 1500);
  const unrouted = await Lab.create();
  t.teardown(() => unrouted.close());
  t.throws(() => unrouted.router, { message: 'the lab has no router' });
});

const PATIENT = ['-c', '2', '-i', '0.2', '-W', '2'];

/** Asserts that an unfragmented echo request of a whole size comes back. */
async function answers(t: Test, from: Namespace, to: End, packetBytes = 100): Promise<void> {
  const { code, stdout } = await echo(from, to, packetBytes);
  t.equal(code, 0, `${from.label} to ${to.address}, ${packetBytes} bytes\n${code === 0 ? '' : stdout}`);
}

/** What ping prints about requests that do not come back. @throws Error when one does */
async function unanswered(from: Namespace, to: End, packetBytes: number): Promise<string> {
  const { code, stdout, stderr } = await echo(from, to, packetBytes);
  if (code === 0) throw new Error(`${from.label} to ${to.address}, ${packetBytes} bytes: was answered`);
  return stdout + stderr;
}

function echo(from: Namespace, to: End, packetBytes: number): Promise<CommandResult> {
  const headers = to.address.includes(':') ? 48 : 28;
  const args = ['-n', '-M', 'do', ...PATIENT, '-s', String(packetBytes - headers), to.address];
  return from.exec('ping', args, { mayFail: true });
}

/** Of a superframe of 4 datagrams, how many arrive. */
async function trainsThat(from: LabHost, to: LabHost, bytes: number): Promise<number> {
  const file = join(tmpdir(), `${to.name}-${bytes}`);
  const sink = await startToolUntil('listening', to, 'udp_sink', to.publicIp, 7100, file);
  const code = `
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendmsg([bytes(4 * ${bytes})], [(17, 103, struct.pack('=H', ${bytes}))], 0, ('${to.publicIp}', 7100))
s.sendto(b'end', ('${to.publicIp}', 7100))`;
  await runPython(from, code);
  const lines = (): string[] => readFileSync(file, 'utf8').split('\n').slice(0, -1);
  await until('the last datagram', () => lines().includes(Buffer.from('end').toString('hex')));
  await sink.terminate(0);
  const arrived = lines().filter((line) => line.length === 2 * bytes).length;
  rmSync(file);
  return arrived;
}

t.test('percentiles of ping are of the answers, nearest rank', (t) => {
  const lines = [5, 1, 4, 2, 3].map(
    (time, i) => `64 bytes from 10.1.2.2: icmp_seq=${i} ttl=62 time=0.${time} ms`,
  );
  const duplicate = '64 bytes from 10.1.2.2: icmp_seq=1 ttl=62 time=9.0 ms (DUP!)';
  const summary = '8 packets transmitted, 5 received, +1 duplicates, 37.5% packet loss, time 7ms';
  const result = parsePing([...lines, duplicate, '', summary, ''].join('\n'));
  t.match(result, { sent: 8, lost: 3, p50Millis: 0.3, p99Millis: 0.5 });
  t.ok(Math.abs(result.avgMillis - 0.3) < 1e-9);
  t.throws(() => parsePing('connect: Network is unreachable'), { message: /no summary/ });
  t.end();
});
