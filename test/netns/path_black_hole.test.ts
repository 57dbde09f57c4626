/**
 * A path that takes less than the underlay interface, and does not say so.
 *
 * ```text
 *  pod1 --- host1 (selvage) --- 1500 --- router --- 1400, larger ones are lost --- host2 (selvage or openvpn) --- pod2
 * ```
 *
 * No time is set for how soon that is found; what is asserted is that a transfer gets through, and the limit.
 */
import t, { type Test } from 'tap';

import { startOpenvpn } from './carriers.js';
import type { Lab } from './lab.js';
import { isClose, passes, pathMtuTo, pingOf, toldMtu } from './paths.js';
import { Scenario } from './scenario.js';
import { overheadBytes, type NetworkKind, type SelvageDaemon } from './selvage.js';
import { checkedTcp } from './transfers.js';
import { until } from './until.js';

const MEBIBYTE = 1024 * 1024;
const NARROW_BYTES = 1400;
const PROBES = ['--path-probe-seconds', '1'];
/** A probe that finds a black hole takes some seconds; those of a busy machine are longer. */
const FOUND_SECONDS = 30;

t.setTimeout(180_000);

async function filterIcmp(lab: Lab): Promise<void> {
  await lab.silenceRouterIcmp();
  await lab.setRouterMtu(1, NARROW_BYTES);
}

async function dropLarge(lab: Lab): Promise<void> {
  await lab.dropLarge(1, NARROW_BYTES);
}

/** What makes a path lose what is larger than {@link NARROW_BYTES}. */
const HOLES = [
  { title: 'a router whose ICMP is filtered', dig: filterIcmp, underlay: 'ipv4' },
  { title: 'a switch that drops what is too long', dig: dropLarge, underlay: 'ipv4' },
  { title: 'a switch that drops what is too long', dig: dropLarge, underlay: 'ipv6' },
] as const;

interface Hosts {
  readonly lab: Lab;
  readonly daemons: SelvageDaemon[];
  /** What the path takes of an inner frame. */
  readonly narrow: number;
  readonly full: number;
  /** The limit of the path from host1 to host2. */
  readonly limit: () => Promise<number | null>;
}

async function twoHosts(t: Test, kind: NetworkKind = {}): Promise<Hosts> {
  const scenario = await Scenario.open(t, { router: true, hosts: 2 });
  const { lab } = scenario;
  await lab.offload('wire');
  const daemons = await scenario.startAll({ ...kind, extraArgs: PROBES });
  const peer = kind.underlay === 'ipv6' ? lab.host(1).publicIpv6 : lab.host(1).publicIp;
  const overhead = overheadBytes(kind);
  return {
    lab,
    daemons,
    narrow: NARROW_BYTES - overhead,
    full: lab.underlayMtu - overhead,
    limit: () => pathMtuTo(daemons[0]!, peer),
  };
}

for (const { title, dig, underlay } of HOLES) {
  t.test(`${title}, ${underlay} underlay: a transfer that runs goes on`, async (t) => {
    const { lab, daemons, narrow, full, limit } = await twoHosts(t, { families: '46', underlay });
    const [pod1, pod2] = [lab.pod(0), lab.pod(1)];
    let running = true;
    const load = { streams: 2, listenBytes: 32 * MEBIBYTE, connectBytes: 192 * MEBIBYTE };
    const transfer = checkedTcp(t, pod1, pod2, load, 'across the change').finally(() => (running = false));
    await until('the transfer to be under way', async () => {
      const { forwarder } = await daemons[0]!.status();
      return (forwarder?.outbound.bytesSent ?? 0) > MEBIBYTE;
    });
    await dig(lab);
    t.ok(running, 'the path became narrow in the middle of it');
    await transfer;

    await until('the limit', async () => (await limit()) !== null, FOUND_SECONDS);
    const found = await limit();
    isClose(t, found, narrow, 'the limit is what passes');
    t.equal(await toldMtu(pod1, pod2, full), found, 'pods are told');
    t.equal(await toldMtu(pod1, pod2.ipv6, full), found, 'those of IPv6 as well');
    t.ok(await passes(pod1, pod2, 4000, { cutting: 'dont', count: 3 }), 'what may be cut arrives');
    const lines = daemons[0]!.log.filter(({ msg }) => msg.startsWith('the path to a peer takes less'));
    t.match(lines, [{ mtu: found, msg: /larger packets vanish on it without a word/ }]);
  });
}

t.test('a transfer that begins on such a path gets through', async (t) => {
  const { lab, narrow, limit } = await twoHosts(t);
  await lab.dropLarge(1, NARROW_BYTES);
  const load = { streams: 2, listenBytes: MEBIBYTE, connectBytes: 4 * MEBIBYTE };
  await checkedTcp(t, lab.pod(0), lab.pod(1), load, 'from the beginning');
  isClose(t, await limit(), narrow, 'the limit is what passes');
});

t.test('a peer that answers no echoes is left alone', async (t) => {
  const { lab, daemons, full, limit } = await twoHosts(t);
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
