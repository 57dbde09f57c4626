/**
 * A foreign peer: openvpn without cipher or authentication puts the bare inner packet into UDP, as flanneld does.
 *
 * ```text
 *  pod1          host1                              host2                 pod2
 *  eth0 --- cni0 - flannel0 ~ selvage ~ u1 ==== u2 ~ openvpn ~ ovpn0 - cni0 --- eth0
 *                                   port 8285, MTU 1500; overlay MTU 1472
 * ```
 *
 * openvpn sends and takes one datagram a system call and knows nothing of our superframes: what it receives must be
 * wire-sized, and what it sends must not need anything that it does not do.
 */
import t from 'tap';

import { startOpenvpn } from './carriers.js';
import { ping } from './loads.js';
import { Scenario } from './scenario.js';
import { checkedFlows, checkedSizes, checkedTcp } from './transfers.js';

const MTU_BYTES = 1472;
const UDP_HEADERS = 28;
const MEBIBYTE = 1024 * 1024;

t.setTimeout(120_000);

for (const lanes of [1, 2]) {
  t.test(`selvage and openvpn, lanes: ${lanes}`, async (t) => {
    const scenario = await Scenario.open(t, { packages: ['openvpn'] });
    const { lab } = scenario;
    const [pod1, pod2] = [lab.pod(0), lab.pod(1)];
    const [daemon] = await Promise.all([
      scenario.start(0, { extraArgs: ['--lanes', String(lanes)] }),
      startOpenvpn(lab, 1),
      lab.setPodMtu(MTU_BYTES),
    ]);

    for (const [from, to, way] of [
      [pod1, pod2, 'to openvpn'],
      [pod2, pod1, 'from openvpn'],
    ] as const) {
      const { sent, lost } = await ping(lab, {
        from,
        to,
        count: 20,
        intervalSeconds: 0.01,
        bytes: MTU_BYTES - UDP_HEADERS,
      });
      t.strictSame({ sent, lost }, { sent: 20, lost: 0 }, `${way}: pings at full MTU return`);
      await checkedSizes(t, from, to, MTU_BYTES);
      const oneWay = { streams: 1, listenBytes: 0, connectBytes: 16 * MEBIBYTE };
      await checkedTcp(t, from, to, oneWay, `${way}: 1 TCP stream`);
      const load = { flows: 16, datagrams: 2000, mostBytes: MTU_BYTES - UDP_HEADERS };
      for (const superframes of [false, true]) await checkedFlows(t, from, to, { ...load, superframes });
    }
    const bothWays = { streams: 4, listenBytes: 2 * MEBIBYTE, connectBytes: 2 * MEBIBYTE };
    await checkedTcp(t, pod1, pod2, bothWays, '4 TCP streams, both ways at once');

    const { inbound, outbound } = await daemon.stats();
    t.ok(
      outbound.superframesSent > 0,
      `${outbound.superframesSent} superframes left for openvpn, cut to its size`,
    );
    t.ok(
      inbound.superframesSent > 0,
      `${inbound.superframesSent} superframes were put together from its datagrams`,
    );
    // The kernel sends IPv6 router solicitations into openvpn's device, and openvpn carries them.
    t.strictSame(nonZero({ ...inbound.drops, ipv6NotCarried: 0 }), {}, 'nothing of its was dropped');
    t.strictSame(nonZero(outbound.drops), {}, 'and nothing for it');
  });
}

function nonZero(counts: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).filter(([, value]) => value > 0));
}
