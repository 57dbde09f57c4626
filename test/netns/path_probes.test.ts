/**
 * Probes of paths that lose large packets from the beginning, and of peers of all kinds.
 *
 * ```text
 *  pod1 --- host1 (selvage) --- 1500 --- router --- 1400, larger ones are lost --- host2 (selvage or openvpn) --- pod2
 * ```
 */
import t from 'tap';

import { startOpenvpn } from './carriers.js';
import { isClose, passes, pathMtuTo, pingOf } from './paths.js';
import { FOUND_SECONDS, NARROW_BYTES, openProbed, PROBES } from './probed_hosts.js';
import { gatewayIp } from './router.js';
import { Scenario } from './scenario.js';
import { checkedTcp } from './transfers.js';
import { until } from './until.js';

const MEBIBYTE = 1024 * 1024;

t.setTimeout(180_000);

for (const families of ['4', '6'] as const) {
  t.test(`a transfer that begins on such a path gets through, IPv${families} alone`, async (t) => {
    const kind = { families, underlay: families === '6' ? 'ipv6' : 'ipv4' } as const;
    const { lab, narrow, limit } = await openProbed(t, kind);
    const [pod1, pod2] = lab.pods.map((pod) => (families === '6' ? pod.ipv6 : pod));
    await lab.dropLarge(1, NARROW_BYTES);
    const load = { streams: 2, listenBytes: MEBIBYTE, connectBytes: 4 * MEBIBYTE };
    await checkedTcp(t, pod1!, pod2!, load, 'from the beginning');
    isClose(t, await limit(), narrow, 'the limit is what passes');
  });
}

t.test('a route with the MTU of such a path lets IPv6 pass where it takes less than 1308', async (t) => {
  const { lab } = await openProbed(t, { families: '46' });
  const [pod1, pod2] = [lab.pod(0), lab.pod(1)];
  await lab.dropLarge(1, 1200);
  t.notOk(await passes(pod1, pod2.ipv6, 1280, { cutting: 'do' }), 'without it nothing can be done');
  await lab.host(0).ip(`route add ${lab.host(1).publicIp} via ${gatewayIp(1)} mtu lock 1200`);
  await lab.host(1).ip(`route add ${lab.host(0).publicIp} via ${gatewayIp(2)} mtu lock 1200`);
  await until('both ends to know', () => passes(pod1, pod2.ipv6, 1280, { cutting: 'do' }));
  const load = { streams: 1, listenBytes: MEBIBYTE, connectBytes: MEBIBYTE };
  await checkedTcp(t, pod1.ipv6, pod2.ipv6, load, 'TCP over IPv6');
});

t.test('a peer that answers no echoes is left alone', async (t) => {
  const { lab, daemons, full, limit } = await openProbed(t);
  const [pod1, pod2] = [lab.pod(0), lab.pod(1)];
  await lab.host(1).exec('nft', ['-f', '-'], {
    input: `table ip deaf {
      counter probes { }
      chain rules {
        type filter hook input priority 0;
        iifname flannel0 icmp type echo-request counter name probes drop
      }
    }`,
  });
  const probes = async (): Promise<number> => {
    const { stdout } = await lab.host(1).exec('nft', ['list', 'counter', 'ip', 'deaf', 'probes']);
    return Number(/packets (\d+)/.exec(stdout)?.[1]);
  };
  const sendOn = async (): Promise<string> => await pingOf(pod1, pod2, full, { cutting: 'do' });
  // Three of full size, and ten sizes twice; what comes after that is the next probe's.
  await until(
    'two probes',
    async () => {
      await sendOn();
      return (await probes()) > 3 + 2 * 10 + 1;
    },
    FOUND_SECONDS,
  );
  t.equal(await limit(), null);
  t.notOk(daemons[0]!.log.some(({ msg }) => msg.startsWith('the path to a peer takes less')));
  t.ok(await passes(pod1, pod2, full, { cutting: 'do' }), 'full size goes on');
});

t.test("a foreign peer's kernel answers the probes, as flanneld's host does", async (t) => {
  const scenario = await Scenario.open(t, { router: true, hosts: 2, packages: ['openvpn'] });
  const { lab } = scenario;
  const [daemon] = await Promise.all([
    scenario.start(0, { extraArgs: PROBES }),
    startOpenvpn(lab, 1),
    lab.setPodMtu(1472),
  ]);
  await lab.host(1).ip(`addr add ${lab.host(1).tunIp}/32 dev ovpn0`);
  await lab.dropLarge(1, NARROW_BYTES);
  // One way, as openvpn's own large packets are lost for good.
  const load = { streams: 1, listenBytes: 0, connectBytes: MEBIBYTE };
  await checkedTcp(t, lab.pod(0), lab.pod(1), load, 'to openvpn');
  const limit = await pathMtuTo(daemon, lab.host(1).publicIp);
  isClose(t, limit, NARROW_BYTES - 28, 'the limit is what passes');
});
