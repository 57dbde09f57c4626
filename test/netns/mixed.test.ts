/**
 * A network that moves over host by host: flanneld on host1, selvage on the others, one etcd.
 *
 * ```text
 *  pod1 --- host1 ~ openvpn ~~~ wires ~~~ selvage ~ host2 --- pod2
 *     its lease is written        ^  ~~~~ selvage ~ host3 --- pod3
 *     by hand, as flanneld's      etcd 192.168.100.254
 * ```
 *
 * openvpn without cipher or authentication is flanneld's wire format. Then host1 changes to selvage, and back again.
 */
import { rmSync } from 'node:fs';

import t, { type Test } from 'tap';

import { startOpenvpnMesh, stopOpenvpnMesh } from './carriers.js';
import type { Child } from './child.js';
import { assertAllReach, says } from './daemon_checks.js';
import { FlannelNetwork, leaseValue } from './flannel_network.js';
import { daemonFiles } from './selvage.js';
import { checkedTcp } from './transfers.js';

const MEBIBYTE = 1024 * 1024;
const LOAD = { streams: 2, listenBytes: 8 * MEBIBYTE, connectBytes: 8 * MEBIBYTE };

t.setTimeout(240_000);

t.test('flanneld and selvage side by side', async (t) => {
  const network = await FlannelNetwork.open(t, { hosts: 3, packages: ['openvpn', 'nftables'] });
  const { lab, etcd } = network;
  const host1 = lab.host(0);
  const startFlanneld = async (): Promise<Child[]> => {
    await network.putAsFlanneld(host1.subnet, host1.publicIp);
    return await startOpenvpnMesh(lab, host1);
  };

  let [openvpns] = await Promise.all([startFlanneld(), network.start(1), network.start(2)]);
  await assertAllWork(t, network, 'flanneld on host1');

  await t.test('host1 moves over: selvage takes the lease that flanneld held', async (t) => {
    const before = await network.lease(host1.subnet);
    await stopOpenvpnMesh(host1, openvpns);
    // Neither subnet.env nor saved routes: the lease alone tells.
    rmSync(daemonFiles(lab, 0).subnetEnv, { force: true });
    const daemon = await network.start(0, { labSubnet: false });
    t.match(await says(daemon, /^lease acquired$/), { subnet: host1.subnet, how: 'reused' });
    const after = await network.lease(host1.subnet);
    t.equal(after.createRevision, before.createRevision, 'its key was never away');
    t.equal(after.value, leaseValue(host1.publicIp), 'and says what it said');
    t.not(after.lease, before.lease, 'with a time limit of our own');
    t.equal((await network.leases()).length, 3, 'no lease came by');
    await assertAllWork(t, network, 'selvage everywhere');
    t.equal((await daemon.stop()).code, 0);
  });

  await t.test('and back: flanneld takes the lease that selvage left', async (t) => {
    const left = await network.lease(host1.subnet);
    t.equal(left.value, leaseValue(host1.publicIp), 'flanneld finds its own value under its public IP');
    const rest = (await etcd.list('/coreos.com/network/')).map(({ key }) => key);
    t.notOk(
      rest.some((key) => key.endsWith(`/hosts/${host1.publicIp}`)),
      'nothing of ours stays for the host',
    );
    openvpns = await startFlanneld();
    await assertAllWork(t, network, 'flanneld on host1 again');
  });
});

/** Asserts that all pods reach each other, and that TCP passes from and to host1 and between the others. */
async function assertAllWork(t: Test, network: FlannelNetwork, when: string): Promise<void> {
  const { pods } = network.lab;
  await assertAllReach(t, pods, when);
  for (const [from, to] of [
    [0, 1],
    [2, 0],
    [1, 2],
  ] as const) {
    const rule = `${when}: TCP from pod${from + 1} to pod${to + 1}`;
    await checkedTcp(t, network.lab.pod(from), network.lab.pod(to), LOAD, rule);
  }
}
