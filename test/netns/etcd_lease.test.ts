/**
 * What happens to leases while real daemons hold them: deleted, taken, reserved, renewed, claimed by two.
 *
 * ```text
 *  pod1 --- host1 ~ selvage ~~~ wires ~~~ selvage ~ host2 --- pod2
 *                                ^        host3: nothing, or a lease written by hand
 *                                etcd 192.168.100.254, and an operator with etcdctl and `selvage lease`
 * ```
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import type { AgentStatus } from '../../src/index.js';
import { CheckedLoad } from './checked_load.js';
import { hasDevice } from './cli_checks.js';
import { assertAllReach, nextHops, reaches, says, SECONDS } from './daemon_checks.js';
import { FlannelNetwork, leaseKey, leaseValue, PREFIX } from './flannel_network.js';
import type { LabHost } from './lab.js';
import type { SelvageDaemon } from './selvage.js';
import { checkedTcp } from './transfers.js';
import { until } from './until.js';

const OURS = '10.1.1.0/24';
/** Of the renewal margin's default, one hour, and a little. */
const NEARLY_DUE_SECONDS = 3_602;
const DAY_SECONDS = 86_400;
/** Each way and stream: seconds of work. */
const TRANSFER_BYTES = 96 * 1024 * 1024;

t.setTimeout(240_000);

t.test('the lease is lost', async (t) => {
  const network = await FlannelNetwork.open(t, { packages: ['nftables'] });
  const { lab, etcd } = network;
  const host1 = lab.host(0);
  const [daemon, peer] = await Promise.all([
    network.start(0, { extraArgs: ['--ip-masq'] }),
    network.start(1),
  ]);
  await assertAllReach(t, lab.pods, 'joined');

  await t.test('deleted by hand: the same subnet again, and a TCP transfer goes on', async (t) => {
    const [pod1, pod2] = [lab.pod(0), lab.pod(1)];
    const before = await network.lease(OURS);
    const load = { streams: 2, listenBytes: TRANSFER_BYTES, connectBytes: TRANSFER_BYTES };
    const transfer = checkedTcp(t, pod1, pod2, load, 'what was under way');
    await until('frames on their way', async () => (await daemon.stats()).outbound.framesSent > 1000);
    await etcd.del(before.key);
    await says(daemon, /lease lost: it was deleted/);
    await says(daemon, /same subnet was free: lease acquired again/);
    const after = await network.lease(OURS);
    t.ok(after.createRevision > before.createRevision, 'its key was made anew');
    t.equal(after.value, leaseValue(host1.publicIp), 'with the same value');
    t.ok((await network.remainingSeconds(after)) > DAY_SECONDS - 300, 'for a day');
    await until('the peer to have the route again', async () => OURS in (await nextHops(peer)));
    await transfer;
    t.notOk(
      daemon.log.some(({ msg }) => msg.startsWith('moved')),
      'nothing had to move',
    );
  });

  await t.test('its time runs out: the same subnet again', async (t) => {
    const from = daemon.log.length;
    const before = await network.lease(OURS);
    await etcd.revoke(before.lease); // etcd does the same at a lease's end
    await says(daemon, /lease lost: it was deleted, or its time ran out/, from);
    await says(daemon, /same subnet was free: lease acquired again/, from);
    t.ok((await network.lease(OURS)).createRevision > before.createRevision);
    await until('the peer to have the route again', async () => OURS in (await nextHops(peer)));
  });

  await t.test('overwritten by another host: it says so, and moves to another subnet', async (t) => {
    await takenBy(daemon, () => network.putAsFlanneld(OURS, '192.168.100.77'));
    await assertMoved(t, network, daemon, peer, OURS);
    t.equal(
      (await network.lease(OURS)).value,
      leaseValue('192.168.100.77'),
      'the lease of the other is left alone',
    );
    t.equal((await nextHops(daemon))[OURS], '192.168.100.77', 'and routed to');
  });

  await t.test('deleted and taken while the daemon looks away: likewise', async (t) => {
    const subnet = (await daemon.status()).network!.subnet!;
    await takenBy(daemon, async () => {
      daemon.child.kill('SIGSTOP');
      await etcd.del(leaseKey(subnet));
      await network.putAsFlanneld(subnet, '192.168.100.78');
      daemon.child.kill('SIGCONT');
    });
    await assertMoved(t, network, daemon, peer, subnet);
    t.equal((await nextHops(daemon))[subnet], '192.168.100.78');
  });

  await t.test('its last stop leaves lease, firewall and subnet.env, as flanneld does', async (t) => {
    const subnet = (await daemon.status()).network!.subnet!;
    t.equal((await daemon.stop()).code, 0);
    t.equal((await network.lease(subnet)).value, leaseValue(host1.publicIp), 'lease');
    t.match(await firewall(host1), subnet, 'firewall');
    t.match(readFileSync(daemon.files.subnetEnv, 'utf8'), bridgeLine(subnet), 'subnet.env');
    t.notOk(await hasDevice(host1, 'flannel0'), 'but not the device');
  });

  await t.test('--exit-on-lease-loss: exit code 0, and a line says why', async (t) => {
    const leaving = await network.start(0, { extraArgs: ['--exit-on-lease-loss'] });
    const subnet = (await leaving.status()).network!.subnet!;
    await etcd.del(leaseKey(subnet));
    t.equal((await leaving.child.result(SECONDS)).code, 0, 'exit code, as flanneld');
    const said = leaving.log.filter(({ msg }) => msg.includes(`lease ${subnet} was lost: it was deleted`));
    t.equal(said.length, 1, 'one line says why');
    t.equal(await etcd.get(leaseKey(subnet)), undefined, 'it took no other');
  });
});

t.test('reservations and the commands of operators', async (t) => {
  const network = await FlannelNetwork.open(t);
  const { lab, etcd } = network;
  const [host1] = lab.hosts as [LabHost];
  const reserved = '10.1.33.0/24';
  await etcd.put(leaseKey(reserved), leaseValue(host1.publicIp));
  let daemon = await network.start(0);

  await t.test('a key without time limit is taken, and kept without one over a restart', async (t) => {
    const before = await network.lease(reserved);
    for (const start of ['first', 'second']) {
      t.match(
        await daemon.status(),
        {
          network: { subnet: reserved },
          source: { lease: { reserved: true, expiresAt: null } },
        },
        `${start} start`,
      );
      t.strictSame(await network.lease(reserved), before, `${start} start: the entry is as it was`);
      t.equal((await network.leases()).length, 1, `${start} start: there is no other lease`);
      t.equal((await daemon.stop()).code, 0);
      if (start === 'first') daemon = await network.start(0);
    }
  });

  await t.test('lease list, show, reserve and release, while daemons run', async (t) => {
    const [first, second] = await Promise.all([network.start(0), network.start(1)]);
    const from = second.log.length;

    const list = await network.selvage(['lease', 'list']);
    t.equal(list.code, 0, list.stderr);
    t.match(list.stdout, /^10\.1\.2\.0\/24 +192\.168\.100\.2 +udp +23 h$/m);
    t.match(list.stdout, /^10\.1\.33\.0\/24 +192\.168\.100\.1 +udp +reserved$/m);

    const show = await network.selvage(['lease', 'show', '192.168.100.2', '--json']);
    t.match(JSON.parse(show.stdout), [
      {
        key: 'subnets/10.1.2.0-24',
        subnet: '10.1.2.0/24',
        publicIp: '192.168.100.2',
        reserved: false,
        problem: null,
      },
    ]);

    const reserve = await network.selvage(['lease', 'reserve', '10.1.2.0/24']);
    t.match(reserve.stdout, /10\.1\.2\.0\/24 is reserved for 192\.168\.100\.2/);
    t.equal((await network.lease('10.1.2.0/24')).lease, '', 'the key has no time limit');
    await says(second, /stays ours: an operator reserved it/, from);
    t.match(await second.status(), { source: { lease: { reserved: true } } }, 'its daemon knows');

    const refused = await network.selvage([
      'lease',
      'reserve',
      '10.1.2.0/24',
      '--public-ip',
      '192.168.100.9',
    ]);
    t.equal(refused.code, 1, 'for another host it is refused');
    t.match(
      refused.stderr,
      /^selvage: [^\n]*192\.168\.100\.2[^\n]*\n$/,
      'in one line, which names who has it',
    );

    const release = await network.selvage(['lease', 'release', '10.1.2.0/24']);
    t.match(release.stdout, /no reservation any more/);
    const timed = await network.lease('10.1.2.0/24');
    t.ok((await network.remainingSeconds(timed)) > DAY_SECONDS - 300, 'it has a day again');
    await says(second, /stays ours: an operator ended its reservation/, from);
    t.match(await second.status(), { source: { lease: { reserved: false } } });

    const inUse = await network.selvage(['lease', 'release', '10.1.2.0/24']);
    t.equal(inUse.code, 1, 'what is no reservation is not released without --force');
    t.match(inUse.stderr, /^selvage: [^\n]*--force[^\n]*\n$/);
    const force = await network.selvage(['lease', 'release', '10.1.2.0/24', '--force']);
    t.equal(force.code, 0, force.stderr);
    await says(second, /same subnet was free: lease acquired again/, from);

    t.notOk(
      [first, second].some((each) => each.log.some(({ msg }) => /uses the public IP/.test(msg))),
      'no daemon took the operator for another host',
    );
    await Promise.all([first.stop(), second.stop()]);
  });

  await t.test('a free subnet that is reserved for a host is given to it at its next start', async (t) => {
    const wanted = '10.1.44.0/24';
    await network.selvage(['lease', 'release', reserved, '--force']);
    const result = await network.selvage(['lease', 'reserve', wanted, '--public-ip', host1.publicIp]);
    t.match(result.stdout, /10\.1\.44\.0\/24 is reserved for 192\.168\.100\.1/);
    daemon = await network.start(0);
    await until('the reserved subnet', async () => (await daemon.status()).network?.subnet === wanted);
    await until('subnet.env to tell it', () =>
      readFileSync(daemon.files.subnetEnv, 'utf8').includes(bridgeLine(wanted)),
    );
    t.equal((await network.lease(wanted)).lease, '', 'and it stays without time limit');
  });
});

t.test('public IPs', async (t) => {
  const network = await FlannelNetwork.open(t, { hosts: 3 });
  const { lab, etcd } = network;
  const [host1, host2, host3] = lab.hosts as [LabHost, LabHost, LabHost];
  let daemon = await network.start(0);

  await t.test(
    'a second host with our public IP says so, takes nothing, and joins when given its own',
    async (t) => {
      const second = await network.start(1, {
        started: 'spawned',
        extraArgs: ['--public-ip', host1.publicIp],
      });
      const { msg } = await says(second, /^waiting: .*is present under this host's public IP/);
      t.match(msg, /192\.168\.100\.1; give each host its own/);
      await says(second, /another host uses the public IP 192\.168\.100\.1: .*--public-ip/);
      t.strictSame(
        (await network.leases()).map(({ key }) => key),
        [leaseKey(OURS)],
        'there is one lease',
      );
      t.notOk(await hasDevice(host2, 'flannel0'), 'and it does not forward');
      t.equal((await second.stop()).code, 0);

      const given = await network.start(1);
      t.equal((await network.lease('10.1.2.0/24')).value, leaseValue(host2.publicIp));
      await assertAllReach(t, [lab.pod(0), lab.pod(1)], 'with its own');
      await given.stop();
    },
  );

  await t.test('a host like flanneld writes our key: reported once', async (t) => {
    const from = daemon.log.length;
    for (let write = 0; write < 2; write++) {
      await network.putAsFlanneld(OURS, host1.publicIp);
      const { modRevision } = await network.lease(OURS);
      await until('the write to be seen', async () => (await revisionOf(daemon)) >= modRevision);
    }
    await says(daemon, /another host uses the public IP 192\.168\.100\.1/, from);
    // The lease is still held, and a change behind the writes has been taken in.
    await network.putAsFlanneld('10.1.60.0/24', '192.168.100.60');
    await until('a later change', async () => '10.1.60.0/24' in (await nextHops(daemon)));
    const told = daemon.log
      .slice(from)
      .filter(({ msg }) => msg.startsWith('another host uses the public IP'));
    t.equal(told.length, 1);
    const { health } = await daemon.status();
    t.match(health.reasons, [{ code: 'duplicatePublicIp' }], 'and health keeps telling');
  });

  await t.test('a lease that is nearly due is renewed for a day', async (t) => {
    const from = daemon.log.length;
    const nearly = await etcd.grant(NEARLY_DUE_SECONDS);
    await etcd.put(leaseKey(OURS), leaseValue(host1.publicIp), nearly);
    await says(daemon, /^lease renewed$/, from);
    const lease = await network.lease(OURS);
    t.not(lease.lease, nearly, 'with a time limit of its own');
    t.equal(lease.value, leaseValue(host1.publicIp), 'and the same value');
    t.ok((await network.remainingSeconds(lease)) > DAY_SECONDS - 300);
    t.match(await daemon.status(), { source: { renewals: 1 } }, 'once');
    const told = daemon.log.filter(({ msg }) => msg.startsWith('another host uses the public IP'));
    t.equal(told.length, 1, 'and who wrote it is no news');
  });

  await t.test("a peer's public IP changes: its next hop follows", async (t) => {
    const subnet = '10.1.70.0/24';
    for (const { publicIp } of [host2, host3]) {
      await network.putAsFlanneld(subnet, publicIp);
      await until(`the next hop ${publicIp}`, async () => (await nextHops(daemon))[subnet] === publicIp);
      const before = await framesTo(daemon, publicIp);
      await host1.exec('ping', ['-n', '-c', '3', '-i', '0.05', '-W', '0.1', '10.1.70.7'], { mayFail: true });
      await until('all to be counted', async () => (await framesTo(daemon, publicIp)) >= before + 3);
      t.equal(await framesTo(daemon, publicIp), before + 3, `frames go to ${publicIp}`);
    }
    t.equal((await network.leases()).filter(({ key }) => key === leaseKey(subnet)).length, 1);
  });

  await t.test(
    'our own public IP changes over a restart: the host keeps its subnet, and peers follow',
    async (t) => {
      const peer = await network.start(1);
      await until('the old next hop', async () => (await nextHops(peer))[OURS] === host1.publicIp);
      t.equal((await daemon.stop()).code, 0);
      // Only the saved routes tell that the lease is this host's.
      rmSync(daemon.files.subnetEnv);
      await host1.ip('addr del 192.168.100.1/24 dev u1\naddr add 192.168.100.101/24 dev u1');
      daemon = await network.start(0, { labSubnet: false });
      t.match(await daemon.status(), { network: { subnet: OURS }, publicIp: '192.168.100.101' });
      t.equal((await network.lease(OURS)).value, leaseValue('192.168.100.101'));
      await until('the new next hop', async () => (await nextHops(peer))[OURS] === '192.168.100.101');
      await assertAllReach(t, [lab.pod(0), lab.pod(1)], 'at the new address');
    },
  );
});

t.test('clock jumps', async (t) => {
  const network = await FlannelNetwork.open(t, { packages: ['faketime'] });
  const { lab, etcd } = network;
  const clock = join(lab.directory, 'clock');
  setClock(clock, '+0');
  const [daemon, peer] = await Promise.all([network.start(0, { env: fakeClock(clock) }), network.start(1)]);
  await assertAllReach(t, lab.pods, 'before');
  const lease = await network.lease(OURS);
  const load = await CheckedLoad.start(lab);
  for (const [jump, hours] of [
    ['+25h', 25],
    ['-25h', -25],
    ['+0', 0],
  ] as const) {
    setClock(clock, jump);
    await until(`the daemon's clock to be ${jump}`, async () => {
      const { syncedAt } = (await daemon.status()).source as { syncedAt: string };
      return Math.abs(Date.parse(syncedAt) - Date.now() - hours * 3_600_000) < 600_000;
    });
    const subnet = `10.1.${100 + hours}.0/24`;
    await network.putAsFlanneld(subnet, '192.168.100.99');
    await until('a change to reach it', async () => subnet in (await nextHops(daemon)));
    t.match(
      await daemon.status(),
      { health: { status: 'ok' }, source: { renewals: 0, disconnects: 0, relists: 0 } },
      jump,
    );
    const left = (Date.parse(expiryOf(await daemon.status())) - Date.now()) / 1000 - hours * 3600;
    t.ok(left > DAY_SECONDS - 300 && left <= DAY_SECONDS, `${jump}: its end is told by the new clock`);
    t.strictSame(await network.lease(OURS), lease, `${jump}: its lease is untouched`);
    t.equal((await nextHops(daemon))['10.1.2.0/24'], '192.168.100.2', `${jump}: and so are its routes`);
  }
  await load.assertWhole(t);
  const presence = await etcd.list(`${PREFIX}/selvage/hosts/`);
  t.equal(presence.length, 2, 'both hosts are present');
  t.equal((await nextHops(peer))[OURS], '192.168.100.1', 'the peer has seen nothing of it');
  const told = daemon.log.filter(({ msg }) => /lost|renew|away|listed anew|moved/.test(msg));
  t.strictSame(told, [], 'and nothing of the kind was logged');
});

/** Has another host take the lease, and waits until the daemon has moved. */
async function takenBy(daemon: SelvageDaemon, take: () => Promise<void>): Promise<void> {
  const from = daemon.log.length;
  await take();
  await says(daemon, /lease lost: host 192\.168\.100\.7\d has taken it/, from);
  await says(daemon, /another host has the old subnet: lease acquired for another/, from);
  await says(daemon, /^moved to another subnet$/, from);
}

/** Asserts that everything of a host has followed its new lease. */
async function assertMoved(
  t: Test,
  network: FlannelNetwork,
  daemon: SelvageDaemon,
  peer: SelvageDaemon,
  before: string,
): Promise<void> {
  const [host1, host2] = network.lab.hosts as [LabHost, LabHost];
  const subnet = (await daemon.status()).network!.subnet!;
  const address = subnet.split('/')[0]!;
  t.not(subnet, before, `${before} is given up for ${subnet}`);
  t.equal((await network.lease(subnet)).value, leaseValue(host1.publicIp), 'which is leased');
  t.match(readFileSync(daemon.files.subnetEnv, 'utf8'), bridgeLine(subnet), 'subnet.env is rewritten');
  const { stdout } = await host1.exec('ip', ['-json', '-4', 'address', 'show', 'dev', 'flannel0']);
  t.match(
    JSON.parse(stdout),
    [{ addr_info: [{ local: address, prefixlen: 32 }] }],
    'the device has its address',
  );
  const rules = await firewall(host1);
  t.match(rules, subnet, 'the firewall follows');
  t.notMatch(rules, before, 'and has forgotten the old one');
  t.match(
    await daemon.status(),
    { readiness: { ready: true }, health: { status: 'ok' } },
    'the daemon is ready',
  );
  await until('the peer to have the route', async () => (await nextHops(peer))[subnet] === host1.publicIp);
  t.ok(await reaches(host2, address), 'and the peer reaches it there');
}

async function firewall(host: LabHost): Promise<string> {
  return (await host.exec('nft', ['list', 'table', 'inet', 'selvage-flannel0'])).stdout;
}

/** The line of subnet.env about a subnet. */
function bridgeLine(subnet: string): string {
  return `FLANNEL_SUBNET=${subnet.replace('.0/', '.1/')}\n`;
}

async function revisionOf(daemon: SelvageDaemon): Promise<number> {
  return Number(((await daemon.status()).source as { revision: string }).revision);
}

async function framesTo(daemon: SelvageDaemon, publicIp: string): Promise<number> {
  return (await daemon.stats()).peers.find(({ address }) => address === publicIp)?.framesOut ?? 0;
}

function expiryOf({ source }: AgentStatus): string {
  return (source as { lease: { expiresAt: string } }).lease.expiresAt;
}

/** Sets the clock of a process with {@link fakeClock} off by so much, e.g. `+25h`. */
function setClock(file: string, offset: string): void {
  writeFileSync(`${file}.next`, `${offset}\n`);
  renameSync(`${file}.next`, file);
}

/** Environment for a wall clock that is read from a file; intervals stay true, as when an administrator sets the time. */
function fakeClock(file: string): Record<string, string> {
  return {
    LD_PRELOAD: '/usr/$LIB/faketime/libfaketimeMT.so.1', // ld.so(8) knows $LIB
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    DONT_FAKE_MONOTONIC: '1', // its name before libfaketime 0.9.9
  };
}
