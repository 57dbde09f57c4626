/**
 * A path that takes less than the underlay interface, and says so.
 *
 * ```text
 *  pod1 --- host1 (selvage) --- 1500 --- router --- 1400 --- host2 (selvage) --- pod2
 *                                          |
 *                                          +------- 1500 --- host3 (selvage) --- pod3
 * ```
 *
 * The limit of the path from host1 to host2 is 1372 bytes of an inner frame, 1352 over IPv6; to host3 it is full size.
 */
import t, { type Test } from 'tap';

import { HEALTH_ARGS, httpGet } from './daemon_checks.js';
import type { Lab } from './lab.js';
import type { End } from './namespace.js';
import { HeaderWatch, passes, pathMtuTo, pingOf, toldMtu } from './paths.js';
import { Scenario } from './scenario.js';
import { overheadBytes, type SelvageDaemon } from './selvage.js';
import { checkedTcp } from './transfers.js';
import { until } from './until.js';

const MEBIBYTE = 1024 * 1024;
const NARROW_BYTES = 1400;
const BOTH_WAYS = { streams: 2, listenBytes: MEBIBYTE, connectBytes: 4 * MEBIBYTE };
/** The kernel is asked again every 15 s about a path that it limits. */
const FORGET_SECONDS = 30;

t.setTimeout(180_000);

/** The pods of a lab by their addresses of one family. */
function podsOf(lab: Lab, isIpv6: boolean): [End, End, End] {
  const [one, two, three] = lab.pods.map((pod) => (isIpv6 ? pod.ipv6 : pod));
  return [one!, two!, three!];
}

for (const underlay of ['ipv4', 'ipv6'] as const) {
  t.test(`a router with a smaller MTU in an ${underlay} underlay`, async (t) => {
    const packages = ['iputils-tracepath', 'tcpdump'] as const;
    const scenario = await Scenario.open(t, { router: true, packages });
    const { lab } = scenario;
    const full = lab.underlayMtu - overheadBytes({ underlay });
    const narrow = NARROW_BYTES - overheadBytes({ underlay });
    const daemons = await scenario.startAll({
      families: '46',
      underlay,
      extraArgs: HEALTH_ARGS,
    });
    const addressOf = (i: number): string =>
      underlay === 'ipv6' ? lab.host(i).publicIpv6 : lab.host(i).publicIp;
    const widen = await lab.setRouterMtu(1, NARROW_BYTES);

    await t.test('what may be cut arrives, in inner fragments', async (t) => {
      const [pod1, pod2] = podsOf(lab, false);
      await until('both ends to have learned the path', () => passes(pod1, pod2, full, { cutting: 'dont' }));
      const protocol = underlay === 'ipv6' ? '(ip6 proto 17 or ip6 proto 44)' : 'ip proto 17';
      const filter = `${protocol} and src host ${addressOf(0)}`;
      const outer = await HeaderWatch.start(lab.host(1), lab.host(1).underlay, filter);
      const inner = await HeaderWatch.start(lab.host(1), 'flannel0', `icmp and src host ${pod1.address}`);
      for (const bytes of [full, 4000]) {
        t.ok(
          await passes(pod1, pod2, bytes, { cutting: 'dont', count: 3 }),
          `packets of ${bytes} bytes return`,
        );
      }
      const pieces = 3 * 2 + 3 * (2 * 2 + 1); // 4000 bytes are 1472 + 1472 + the rest when they leave the pod
      await Promise.all([outer.seen(pieces), inner.seen(pieces)]);
      t.same(outer.fragments, [], 'no outer datagram is a fragment');
      t.equal(inner.fragments.length, pieces, 'the inner packets are');
      await Promise.all([outer.stop(), inner.stop()]);
    });

    for (const isIpv6 of [false, true]) {
      const [pod1, pod2, pod3] = podsOf(lab, isIpv6);
      const family = isIpv6 ? 'IPv6' : 'IPv4';
      await t.test(`${family}: who may not cut is told the path's MTU`, async (t) => {
        t.equal(await toldMtu(pod1, pod2, full), narrow);
        t.equal(await toldMtu(pod2, pod1, full), narrow, 'in the other direction too');
        t.ok(await passes(pod1, pod2, narrow, { cutting: 'do' }), 'and what fits goes on');
        t.ok(await passes(pod1, pod3, full, { cutting: 'do' }), 'another peer keeps full size');
      });
      await t.test(`${family}: TCP gets through`, async (t) => {
        await lab.forgetPathMtu();
        await checkedTcp(t, pod1, pod2, BOTH_WAYS, 'over the narrow path');
        await checkedTcp(t, pod1, pod3, BOTH_WAYS, 'and over the other');
      });
      await t.test(`${family}: tracepath finds it`, async (t) => {
        await lab.forgetPathMtu();
        const trace = (to: End): Promise<{ stdout: string }> =>
          pod1.exec('tracepath', [isIpv6 ? '-6' : '-4', '-n', '-m', '10', to.address]);
        await until('the lane to know the path', async () => {
          const { stdout } = await trace(pod2);
          return new RegExp(`Resume: pmtu ${narrow} `).test(stdout);
        });
        t.match((await trace(pod3)).stdout, new RegExp(`Resume: pmtu ${full} `), 'and full size elsewhere');
      });
    }

    await t.test('status, metrics and log tell of it', async (t) => {
      const [daemon] = daemons as [SelvageDaemon];
      t.equal(await pathMtuTo(daemon, addressOf(1)), narrow);
      t.equal(await pathMtuTo(daemon, addressOf(2)), null);
      const { text } = await httpGet(lab.host(0), '/metrics');
      const samples = text.split('\n').filter((line) => line.startsWith('selvage_peer_path_mtu_bytes{'));
      t.equal(samples.length, 1, 'of the narrow path alone');
      t.ok(samples[0]?.includes(addressOf(1)), 'the metric names the peer');
      t.equal(Number(samples[0]?.split(' ').at(-1)), narrow);
      const told = daemon.log.filter(({ msg }) => msg.startsWith('the path to a peer takes less'));
      t.match(told, [{ peer: addressOf(1), mtu: narrow, msg: /as the kernel was told/ }]);
    });

    await t.test('when the path takes more again, so do the lanes', async (t) => {
      const [daemon] = daemons as [SelvageDaemon];
      const [pod1, pod2] = podsOf(lab, false);
      await widen();
      await lab.forgetPathMtu();
      const isForgotten = async (): Promise<boolean> => (await pathMtuTo(daemon, addressOf(1))) === null;
      await until('the limit to be lifted', isForgotten, FORGET_SECONDS);
      await daemon.logged(({ msg }) => msg === 'the path to a peer takes full size again', FORGET_SECONDS);
      await until('host2 to have forgotten, too', () => passes(pod1, pod2, full, { cutting: 'do' }));
      t.equal(await pathMtuTo(daemon, addressOf(1)), null);
    });
  });
}

t.test("a host's own route with a smaller MTU is known at once", async (t) => {
  const { lab, start, pod1, pod2 } = await twoHosts(t);
  await lab.host(0).ip(`route add ${lab.host(1).publicIp} via 192.168.101.254 mtu lock ${NARROW_BYTES}`);
  await start();
  const said = await pingOf(pod1, pod2, 1472, { cutting: 'do' });
  t.match(said, new RegExp(`mtu ?= ?${NARROW_BYTES - 28}`), 'the first packet is answered with it');
  t.ok(await passes(pod1, pod2, NARROW_BYTES - 28, { cutting: 'do' }));
  t.ok(await passes(pod1, pod2, 4000, { cutting: 'dont', count: 3 }), 'what may be cut is not lost');
});

t.test('a path too narrow for IPv6 carries it in outer fragments', async (t) => {
  const { lab, start, pod1, pod2 } = await twoHosts(t);
  await lab.setRouterMtu(1, 1200);
  await start();
  const small = 1280;
  t.equal(await toldMtu(pod1.ipv6, pod2.ipv6, 1472), small, 'a sender is told what IPv6 may rely on');
  await until('both ends to know', () => passes(pod1, pod2.ipv6, small, { cutting: 'do' }));
  const watch = await HeaderWatch.start(
    lab.host(1),
    lab.host(1).underlay,
    `ip proto 17 and src host ${lab.host(0).publicIp}`,
  );
  t.ok(await passes(pod1, pod2.ipv6, small, { cutting: 'do', count: 3 }), 'which passes');
  await watch.seen(6);
  t.equal(watch.fragments.length, 6, 'each outer datagram in two fragments');
  t.ok(await passes(pod1, pod2, 1472, { cutting: 'dont', count: 3 }), 'IPv4 is cut inside');
  await watch.seen(12);
  t.equal(watch.fragments.length, 6, 'and not outside');
  await watch.stop();
  await checkedTcp(t, pod1.ipv6, pod2.ipv6, BOTH_WAYS, 'TCP over IPv6');
  await checkedTcp(t, pod1, pod2, BOTH_WAYS, 'TCP over IPv4');
});

/** Two hosts behind a router that carry both families over IPv4. */
async function twoHosts(t: Test): Promise<{
  lab: Lab;
  pod1: Lab['pods'][number];
  pod2: Lab['pods'][number];
  start: () => Promise<SelvageDaemon[]>;
}> {
  const scenario = await Scenario.open(t, { router: true, hosts: 2, packages: ['tcpdump'] });
  const { lab } = scenario;
  const start = (): Promise<SelvageDaemon[]> => scenario.startAll({ families: '46' });
  return { lab, pod1: lab.pod(0), pod2: lab.pod(1), start };
}
