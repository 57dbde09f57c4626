/**
 * Joining a flannel network: real daemons, a real etcd, and what flanneld would have left in both.
 *
 * ```text
 *  pod1 --- host1 ~ selvage ~~~ wires ~~~ selvage ~ host2 --- pod2
 *                                ^  ~~~~~ selvage ~ host3 --- pod3
 *                                etcd 192.168.100.254
 * ```
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { hasDevice } from './cli_checks.js';
import {
  answers,
  assertAllReach,
  HEALTH_ARGS,
  HEALTH_PORT,
  httpGet,
  nextHops,
  reaches,
  says,
  SECONDS,
} from './daemon_checks.js';
import { FlannelNetwork, leaseKey, leaseValue, PREFIX } from './flannel_network.js';
import type { LabHost } from './lab.js';
import { daemonFiles, SELVAGE_MAIN, SelvageDaemon } from './selvage.js';
import { startToolUntil } from './tool.js';
import { until } from './until.js';

const DAY_SECONDS = 86_400;
const MASQUERADE_FLAGS = ['-ip-masq', '-healthz-ip', '127.0.0.1', '-healthz-port', String(HEALTH_PORT)];

t.setTimeout(240_000);

t.test('three hosts join', async (t) => {
  const network = await FlannelNetwork.open(t, { hosts: 3, packages: ['nftables'] });
  const { lab, etcd } = network;
  const path = join(lab.directory, 'notify.sock');
  const manager = await startToolUntil('listening', lab.host(0), 'notify_socket', path);
  const [first, second] = await Promise.all([
    network.start(0, { extraArgs: ['--ip-masq', ...HEALTH_ARGS], env: { NOTIFY_SOCKET: path } }),
    network.start(1),
    network.start(2),
  ]);
  await assertAllReach(t, lab.pods, 'joined');

  await t.test('the leases are those that flanneld would have written', async (t) => {
    const leases = await network.leases();
    const expected = lab.hosts.map(({ subnet, publicIp }) => [leaseKey(subnet), leaseValue(publicIp)]);
    t.strictSame(
      leases.map(({ key, value }) => [key, value]),
      expected,
      'keys and values, byte for byte',
    );
    for (const lease of leases) {
      const seconds = await network.remainingSeconds(lease);
      t.ok(
        seconds > DAY_SECONDS - 300 && seconds <= DAY_SECONDS,
        `${lease.key} lives for a day: ${seconds} s`,
      );
    }
  });

  await t.test('subnet.env is what flanneld writes', (t) => {
    const text = (host: LabHost, ipMasq: boolean): string =>
      `FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=${host.bridgeIp}/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=${ipMasq}\n`;
    t.equal(readFileSync(first.files.subnetEnv, 'utf8'), text(lab.host(0), true), 'with --ip-masq');
    t.equal(readFileSync(second.files.subnetEnv, 'utf8'), text(lab.host(1), false), 'without');
    t.end();
  });

  await t.test('the service manager is told READY=1', async (t) => {
    await until('READY=1', () => manager.stdout.includes('READY=1'));
    const told = manager.stdout.split('\n').filter((line) => line.includes('READY=1'));
    t.strictSame(told, [JSON.stringify('READY=1\nSTATUS=forwarding\n')], 'once');
  });

  await t.test('--ip-masq: the rules are in force, and a pod reaches the outside', async (t) => {
    const rules = (await lab.host(0).exec('nft', ['list', 'table', 'inet', 'selvage-flannel0'])).stdout;
    t.match(rules, /type nat hook postrouting priority srcnat; policy accept;/, 'on the way out');
    t.match(
      rules,
      /ip saddr 10\.1\.0\.0\/16 ip daddr != 224\.0\.0\.0\/4 masquerade/,
      'what leaves the network is masqueraded',
    );
    t.match(
      rules,
      /ip saddr 10\.1\.1\.0\/24 ip daddr 10\.1\.0\.0\/16 return/,
      'and what goes to other pods is not',
    );
    // Nothing out there has a route to pods.
    t.ok(await reaches(lab.pod(0), lab.controlPlane.address), 'pod1 is masqueraded as its host');
    t.notOk(await answers(lab.pod(1), lab.controlPlane.address), 'pod2, whose host does not, is not');
  });

  await t.test('/metrics has real values', async (t) => {
    const before = await metrics(lab.host(0));
    t.equal(before.get('selvage_routes'), 2);
    t.equal(before.get('selvage_leases'), 2);
    t.equal(before.get('selvage_store_connected'), 1);
    t.equal(before.get('selvage_lease_held'), 1);
    const expiry = before.get('selvage_lease_expiry_timestamp_seconds') ?? NaN;
    const seconds = expiry - Date.now() / 1000;
    t.ok(seconds > DAY_SECONDS - 300 && seconds <= DAY_SECONDS, `the lease ends in ${seconds} s`);
    await assertAllReach(t, lab.pods, 'between two scrapes');
    const after = await metrics(lab.host(0));
    const frames = `selvage_frames_total{direction="outbound",lane="0"}`;
    t.ok((after.get(frames) ?? 0) >= (before.get(frames) ?? NaN) + 2, 'frames are counted');
  });

  await t.test('what is no lease of the network is skipped, told once, and the rest is routed', async (t) => {
    const rows: [key: string, value: string, reason: RegExp][] = [
      [leaseKey('10.1.40.0/24'), vxlanValue('192.168.100.40'), /backend is "vxlan", not udp/],
      [`${PREFIX}/subnets/nonsense`, leaseValue('192.168.100.41'), /key names no subnet/],
      [leaseKey('10.1.42.0/24'), '{"PublicIP":', /JSON/i],
      [leaseKey('10.1.43.0/24'), '{"PublicIPv6":null}', /PublicIP is missing/],
      [leaseKey('10.9.44.0/24'), leaseValue('192.168.100.44'), /outside the network 10\.1\.0\.0\/16/],
    ];
    const from = first.log.length;
    for (const [key, value] of rows) await etcd.put(key, value);
    await network.putAsFlanneld('10.1.50.0/24', '192.168.100.50');
    // A write that changes nothing is no news.
    for (const [key, value] of rows) await etcd.put(key, value);
    await network.putAsFlanneld('10.1.51.0/24', '192.168.100.51');
    await until('the last lease to be routed to', async () => '10.1.51.0/24' in (await nextHops(first)));
    const warnings = first.log.slice(from).filter(({ msg }) => msg.startsWith('lease not routed to'));
    for (const [key, , reason] of rows) {
      const told = warnings.filter((line) => `${PREFIX}/${String(line['key'])}` === key);
      t.equal(told.length, 1, `${key}: one warning`);
      t.match(told[0]?.msg, reason, `${key}: says why`);
    }
    t.equal(warnings.length, rows.length, 'and no other');
    t.strictSame(
      await nextHops(first),
      {
        '10.1.2.0/24': '192.168.100.2',
        '10.1.3.0/24': '192.168.100.3',
        '10.1.50.0/24': '192.168.100.50',
        '10.1.51.0/24': '192.168.100.51',
      },
      'all others are routed to',
    );
    t.match(await first.status(), { source: { leases: 6, skipped: 5 } }, 'and status counts them');
  });
});

t.test('the network config', async (t) => {
  const config = {
    EnableIPv6: true,
    Network: '10.1.0.0/16',
    SubnetLen: 26,
    SubnetMin: '10.1.7.64',
    SubnetMax: '10.1.7.128',
    IPv6Network: 'fd00:1::/48',
    Backend: { Type: 'udp', Port: 9285 },
  };
  const network = await FlannelNetwork.open(t, { config, packages: ['tcpdump'] });
  const { lab } = network;
  const daemons = await Promise.all([0, 1].map((i) => network.start(i, { labSubnet: false })));
  const leases = await network.leases();

  await t.test('SubnetLen, SubnetMin and SubnetMax bound the subnets', (t) => {
    const subnets = leases.map(({ key }) => /\/([^/&]+)&/.exec(key)?.[1]);
    t.strictSame(subnets, ['10.1.7.64-26', '10.1.7.128-26'].sort(), 'two fit in, and two hosts have them');
    t.end();
  });

  await t.test('EnableIPv6: a key with both subnets, and both in subnet.env', async (t) => {
    const { publicIp, publicIpv6 } = lab.host(0);
    const lease = leases.find(({ value }) => value === leaseValue(publicIp, publicIpv6));
    const [, ipv4 = '', ipv6 = ''] =
      /\/subnets\/([0-9.]+)-26&(fd00:1:0:[0-9a-f]+::)-64$/.exec(lease?.key ?? '') ?? [];
    t.not(ipv6, '', `the key is as flanneld's: ${lease?.key}`);
    const bridge = ipv4.replace(/\d+$/, (last) => String(Number(last) + 1));
    t.equal(
      readFileSync(daemonFiles(lab, 0).subnetEnv, 'utf8'),
      `FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=${bridge}/26\n` +
        `FLANNEL_IPV6_NETWORK=fd00:1::/48\nFLANNEL_IPV6_SUBNET=${ipv6}1/64\n` +
        'FLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n',
    );
    t.equal((await daemons[0]!.status()).network?.ipv6Subnet, `${ipv6}/64`, 'and status tells it');
  });

  await t.test('Backend.Port is the source and destination port on the wire', async (t) => {
    const filter =
      'udp src port 9285 and udp dst port 9285 and src host 192.168.100.1 and dst host 192.168.100.2';
    const dump = lab.host(1).spawn('tcpdump', ['-i', 'u2', '-n', '-c', '1', filter]);
    await until('tcpdump to listen', () => dump.stderr.includes('listening'));
    const far = (await daemons[1]!.status()).network!.subnet!.split('/')[0]!;
    t.ok(await reaches(lab.host(0), far), 'host1 reaches the device of host2');
    t.equal((await dump.result(SECONDS)).code, 0, 'by datagrams of that port');
  });
});

t.test('what is not there yet is waited for', async (t) => {
  const network = await FlannelNetwork.open(t, { config: null });
  const { lab, etcd } = network;
  const [host1] = lab.hosts as [LabHost];

  await t.test('no config, then a wrong one, then a sound one', async (t) => {
    const daemon = await network.start(0, { started: 'spawned', extraArgs: HEALTH_ARGS });
    await says(
      daemon,
      /waiting: flannel config not found in etcd .*write key "\/coreos\.com\/network\/config"/,
    );
    t.equal((await httpGet(host1, '/healthz')).code, 200, 'waiting is no reason to be ended');
    t.equal((await httpGet(host1, '/readyz')).code, 503, 'but it is not ready');
    t.match((await daemon.status()).health, { status: 'degraded' });

    await network.configure({ Network: '10.1.0.0/16', SubnetLen: 31 });
    await says(daemon, /waiting: SubnetLen must be less than \/31/);
    await network.configure('{"Network": "10.1.0.0/16"');
    await says(daemon, /waiting: .*JSON/i);
    await network.configure({ Network: '10.1.0.0/16', SubnetMin: 'fd00::1' });
    await says(daemon, /waiting: .*SubnetMin/);

    await network.configure({ Network: '10.1.0.0/16' });
    await says(daemon, /^ready$/);
    t.equal((await httpGet(host1, '/readyz')).code, 200, 'it goes on by itself');
    const waits = daemon.log.filter(({ msg }) => msg.startsWith('waiting: flannel config not found'));
    t.equal(waits.length, 1, 'each reason was told once');
    t.equal((await daemon.stop()).code, 0);
  });

  await t.test('etcd is away at the start', async (t) => {
    await etcd.kill();
    const daemon = await network.start(1, { started: 'spawned' });
    await says(daemon, /^waiting: /);
    await etcd.restart();
    await says(daemon, /^ready$/);
    t.match(
      (await network.lease('10.1.2.0/24')).value,
      leaseValue('192.168.100.2'),
      'it joins when etcd is there',
    );
    t.equal((await daemon.stop()).code, 0);
  });

  await t.test('SIGTERM while it waits: exit code 0', async (t) => {
    await etcd.del(`${PREFIX}/config`);
    const forConfig = await network.start(0, {
      started: 'spawned',
      extraArgs: ['--state-dir', join(lab.directory, 'new1')],
    });
    await says(forConfig, /waiting: flannel config/);
    t.equal((await forConfig.stop(SECONDS)).code, 0, 'while there is no config');
    await etcd.kill();
    const forEtcd = await network.start(0, {
      started: 'spawned',
      extraArgs: ['--state-dir', join(lab.directory, 'new2')],
    });
    await says(forEtcd, /^waiting: /);
    t.equal((await forEtcd.stop(SECONDS)).code, 0, 'while etcd is away');
    t.notOk(await hasDevice(host1, 'flannel0'), 'there is no device');
    await etcd.restart();
  });

  await t.test('another backend: exit code 1, and one line says so', async (t) => {
    await network.configure({ Network: '10.1.0.0/16', Backend: { Type: 'vxlan' } });
    const daemon = await network.start(0, {
      started: 'spawned',
      extraArgs: ['--state-dir', join(lab.directory, 'new3')],
    });
    t.equal((await daemon.child.result(SECONDS)).code, 1);
    const lines = daemon.child.stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
    t.equal(lines.length, 1, 'one line that is not the log');
    t.match(lines[0], /^selvage: this network's backend type is "vxlan": selvage carries "udp" only/);
  });
});

t.test("flanneld's command line and environment", async (t) => {
  const network = await FlannelNetwork.open(t, { packages: ['nftables'] });
  const { lab, etcd } = network;
  const [host1, host2] = lab.hosts as [LabHost, LabHost];
  /** Where files of ours go that flanneld does not have. */
  const ours = (index: number): Record<string, string> => {
    const { socket, state } = daemonFiles(lab, index);
    return { SELVAGE_CONTROL_SOCKET: socket, SELVAGE_STATE_DIR: state, SELVAGE_LOG_FORMAT: 'json' };
  };
  const spawn = (index: number, args: readonly string[], env: Record<string, string>): SelvageDaemon => {
    const options = { env: { ...ours(index), ...env } };
    const child = lab.host(index).spawn(process.execPath, [SELVAGE_MAIN, 'run', ...args], options);
    return new SelvageDaemon(child, daemonFiles(lab, index));
  };
  // By default the interface would be that of the default route; a name and a pattern of addresses choose against it.
  for (const host of [host1, host2]) {
    await host.ip(`
      link add other0 type veth peer name other1
      link set other1 up
      addr add 198.51.100.${host.number}/24 dev other0
      link set other0 up
      route add default dev other0`);
  }
  await host2.ip('addr add 192.0.2.2/24 dev u2');
  const daemons = [
    spawn(
      0,
      [
        `-etcd-endpoints=${etcd.endpoint}`,
        '-iface=u1',
        `-subnet-file=${daemonFiles(lab, 0).subnetEnv}`,
        ...MASQUERADE_FLAGS,
      ],
      {},
    ),
    spawn(1, [], {
      FLANNELD_ETCD_ENDPOINTS: etcd.endpoint,
      FLANNELD_IFACE_REGEX: '^192[.]168[.]100[.]',
      FLANNELD_SUBNET_FILE: daemonFiles(lab, 1).subnetEnv,
      FLANNELD_IP_MASQ: 'true',
      FLANNELD_HEALTHZ_IP: '127.0.0.1',
      FLANNELD_HEALTHZ_PORT: String(HEALTH_PORT),
    }),
  ];
  for (const [i, host] of [host1, host2].entries()) {
    const how = ['command line', 'environment'][i];
    await t.test(`the ${how}`, async (t) => {
      const daemon = daemons[i]!;
      await says(daemon, /^ready$/);
      t.equal((await httpGet(host, '/readyz')).code, 200, 'health is where it was asked for');
      t.match(readFileSync(daemon.files.subnetEnv, 'utf8'), /FLANNEL_IPMASQ=true\n$/, 'masquerading is on');
      const subnet = (await daemon.status()).network!.subnet!;
      const { value } = await network.lease(subnet);
      t.equal(
        value,
        leaseValue(host.publicIp),
        'its lease tells the address of the interface that was named',
      );
    });
  }
  await t.test('the two carry frames for each other', async (t) => {
    const far = (await daemons[1]!.status()).network!.subnet!.split('/')[0]!;
    t.ok(await reaches(host1, far));
  });
});

function vxlanValue(publicIp: string): string {
  return `{"PublicIP":"${publicIp}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VtepMAC":"0e:00:00:00:00:01"}}`;
}

/** Samples of the Prometheus text of a host's daemon, by name and labels. */
async function metrics(host: LabHost): Promise<Map<string, number>> {
  const { code, text } = await httpGet(host, '/metrics');
  if (code !== 200) throw new Error(`/metrics answers ${code}`);
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}
