/**
 * The generator of hostile packets itself: what it says it has sent has left, of every kind and family, and a seed repeats it.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import {
  hostileDatagrams,
  hostileForgeries,
  hostileFrames,
  type HostileOptions,
  hostilePackets,
  type HostileReport,
} from './hostile.js';
import { Lab, type LabHost } from './lab.js';
import { ensurePackages, LAB_PACKAGES } from './packages.js';
import { ensurePrivileges } from './privileges.js';
import { startToolUntil } from './tool.js';
import { until } from './until.js';

const PORT = 8285;
const COUNT = 1500;

/** Opens a TUN device and says a line for each frame; its queue holds what comes meanwhile. */
const TUN_READER = `
import fcntl, os, struct, subprocess
fd = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(fd, 0x400454CA, struct.pack('16sH22x', b'flannel0', 0x1001))
for how in (['addrgenmode', 'none'], ['txqueuelen', '10000', 'up']):
    subprocess.check_call(['ip', 'link', 'set', 'flannel0', *how])
print('open', flush=True)
while os.read(fd, 65536): print('frame', flush=True)`;

t.setTimeout(120_000);

t.before(async () => {
  await ensurePrivileges();
  ensurePackages([...LAB_PACKAGES, 'python3']);
});

/** Asserts that every kind occurred, be it that the kernel refused it, and that the kinds add up to all. */
function isWhole(t: Test, report: HostileReport, rule: string): void {
  const rare = Object.entries(report.perKind).filter(
    ([kind, packets]) => packets === 0 && report.refused[kind] === undefined,
  );
  t.strictSame(rare, [], `${rule}: every kind is there (${report.seed})`);
  t.equal(
    Object.values(report.perKind).reduce((sum, each) => sum + each, 0),
    report.sent,
    `${rule}: the kinds add up`,
  );
}

/** What arrives at the port of a host while somebody sends, one line of hex each. */
async function arrivals(
  lab: Lab,
  to: LabHost,
  address: string,
  send: () => Promise<HostileReport>,
): Promise<{ report: HostileReport; lines: string[] }> {
  const file = join(lab.directory, 'arrivals');
  const sink = await startToolUntil('listening', to, 'udp_sink', address, PORT, file);
  const report = await send();
  const lines = (): string[] => readFileSync(file, 'utf8').split('\n').slice(0, -1);
  const outerErrors = report.perKind['outer_error'] ?? 0;
  await until('all datagrams', () => lines().length >= report.sent - outerErrors);
  await sink.terminate(0);
  return { report, lines: lines() };
}

t.test('every datagram that is counted arrives, and a seed repeats them', async (t) => {
  const lab = await Lab.create({ hosts: 3 });
  t.teardown(() => lab.close());
  const [to, from] = [lab.host(0), lab.host(1)];
  for (const underlay of ['ipv4', 'ipv6'] as const) {
    const address = underlay === 'ipv6' ? to.publicIpv6 : to.publicIp;
    const options: HostileOptions = { count: COUNT, underlay };
    const once = await arrivals(lab, to, address, () => hostileDatagrams(lab, from, to, options).report());
    isWhole(t, once.report, `over ${underlay}`);
    t.equal(once.report.sent, COUNT);
    t.equal(once.lines.length, COUNT, `over ${underlay}: as many arrive`);
    t.ok(once.lines.some((line) => line.startsWith('4')) && once.lines.some((line) => line.startsWith('6')));
    const again = await arrivals(lab, to, address, () => hostileDatagrams(lab, from, to, options).report());
    t.strictSame(again.lines, once.lines, `over ${underlay}: the same again`);
    t.strictSame(again.report.perKind, once.report.perKind);
  }
});

t.test('a forged datagram arrives with the source of another', async (t) => {
  const lab = await Lab.create({ hosts: 3 });
  t.teardown(() => lab.close());
  const [to, peer, stranger] = [lab.host(0), lab.host(1), lab.host(2)];
  for (const underlay of ['ipv4', 'ipv6'] as const) {
    const [address, source] =
      underlay === 'ipv6' ? [to.publicIpv6, peer.publicIpv6] : [to.publicIp, peer.publicIp];
    const seen = await startToolUntil('capturing', to, 'capture', to.underlay);
    const { report, lines } = await arrivals(lab, to, address, () =>
      hostileForgeries(lab, stranger, { as: peer, to }, { count: COUNT, underlay }).report(),
    );
    isWhole(t, report, `over ${underlay}`);
    t.equal(lines.length, report.sent - (report.perKind['outer_error'] ?? 0));
    await seen.terminate(0);
    const hex = underlay === 'ipv6' ? 'fd0000c0000000000000000000000002' : 'c0a86402';
    t.ok(seen.stdout.includes(hex), `from ${source}`);
  }
});

t.test('pods and devices send what they count, of both families', async (t) => {
  const lab = await Lab.create();
  t.teardown(() => lab.close());
  const [host, pod] = [lab.host(0), lab.pod(0)];
  const options: HostileOptions = { count: COUNT };
  const received = async (): Promise<number> => {
    const { stdout } = await host.exec('ip', ['-json', '-stats', 'link', 'show', 'pod']);
    const [link] = JSON.parse(stdout) as { stats64: { rx: { packets: number } } }[];
    return link?.stats64.rx.packets ?? 0;
  };
  const before = await received();
  const fromPod = await (await hostilePackets(lab, pod, lab.host(1), options)).report();
  isWhole(t, fromPod, 'a pod');
  t.ok((await received()) - before >= fromPod.sent, 'the host has got as many');

  const reader = host.spawn('python3', ['-c', TUN_READER]);
  await until('the device', () => reader.stdout.includes('open'));
  const fromDevice = await hostileFrames(lab, host, lab.host(1), 'flannel0', options).report();
  isWhole(t, fromDevice, 'a device');
  await until('as many at its reader', () => framesOf(reader.stdout) >= fromDevice.sent);
  t.equal(framesOf(reader.stdout), fromDevice.sent, 'and no more');
});

t.test('it ends when its time is over, and sends only what is asked for', async (t) => {
  const lab = await Lab.create();
  t.teardown(() => lab.close());
  const options = {
    count: 1e9,
    seconds: 1,
    perSecond: 1000,
    kinds: ['sound', 'last_hop'],
    families: '6',
  } as const;
  const report = await hostileDatagrams(lab, lab.host(1), lab.host(0), options).report();
  t.ok(report.sent > 0 && report.sent < 3000, `${report.sent} were sent`);
  t.strictSame(Object.keys(report.perKind).sort(), ['last_hop', 'sound']);
});

function framesOf(printed: string): number {
  return printed.split('\n').filter((line) => line === 'frame').length;
}
