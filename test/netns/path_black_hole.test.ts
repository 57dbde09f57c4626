/**
 * A path that takes less than the underlay interface, and does not say so.
 *
 * ```text
 *  pod1 --- host1 (selvage) --- 1500 --- router --- 1400, larger ones are lost --- host2 (selvage) --- pod2
 * ```
 *
 * No time is set for how soon that is found; what is asserted is that a transfer gets through, and the limit.
 */
import t from 'tap';

import type { Lab } from './lab.js';
import { isClose, passes, toldMtu } from './paths.js';
import { FOUND_SECONDS, NARROW_BYTES, openProbed } from './probed_hosts.js';
import { checkedTcp } from './transfers.js';
import { until } from './until.js';

const MEBIBYTE = 1024 * 1024;

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

for (const { title, dig, underlay } of HOLES) {
  t.test(`${title}, ${underlay} underlay: a transfer that runs goes on`, async (t) => {
    const { lab, daemons, narrow, full, limit } = await openProbed(t, { families: '46', underlay });
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
