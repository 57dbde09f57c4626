/**
 * The lab itself: whatever ends it leaves nothing behind, and its paths and loads do what they say.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';

import t from 'tap';

import { Lab } from './lab.js';
import { parsePing, ping, tcp, udpFlood } from './loads.js';
import { ensurePackages, LAB_PACKAGES } from './packages.js';
import { createPath } from './peers.js';
import { ensurePrivileges } from './privileges.js';
import { until } from './until.js';

const LAB_MODULE = new URL('./lab.js', import.meta.url).href;
/** Namespaces of two hosts and two pods, and the lab's directory. */
const TRACES_OF_A_LAB = 5;

t.setTimeout(120_000);

t.before(async () => {
  await ensurePrivileges();
  ensurePackages([...LAB_PACKAGES, 'ethtool', 'iperf3']);
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
