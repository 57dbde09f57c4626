/**
 * Leases of networks with IPv6, and with IPv6 alone, over an underlay of either family: `LeaseSource` on `EtcdStore` and a
 * real etcd-server.
 *
 * ```text
 *  two LeaseSources --- EtcdStore --- etcd-server --- etcdctl, which writes as flanneld and reads as it would
 * ```
 */
import t, { type Test } from 'tap';

import type { LeaseEvent } from '../../src/lease/lease_event.js';
import { releaseLease, reserveLease } from '../../src/lease/lease_reservation.js';
import { LeaseSource } from '../../src/lease/lease_source.js';
import type { LeaseSourceOptions } from '../../src/lease/lease_source_options.js';
import type { Peer, RouteSnapshot } from '../../src/lease/route_source.js';
import { PREFIX } from './flannel_network.js';
import type { EtcdServer } from './etcd_server.js';
import { FOREVER, openStore, startEtcd } from './etcd_stores.js';
import { until } from './until.js';

const DUAL = '{"Network":"10.1.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:1::/48"}';
const IPV6_ONLY = '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:1::/48"}';

t.setTimeout(60_000);

/** A host on a store of its own, with the peers that it was told of. */
class Host {
  readonly events: LeaseEvent[] = [];
  readonly source: LeaseSource;
  readonly snapshot: Promise<RouteSnapshot>;
  readonly #peers = new Map<string, Peer>();

  private constructor(options: LeaseSourceOptions) {
    this.source = new LeaseSource(options);
    this.snapshot = this.source.open({
      onChanges: (changes) => {
        for (const change of changes) {
          if (change.kind === 'snapshot') this.#take(change.snapshot);
          else if (change.kind === 'set') this.#peers.set(change.peer.subnet, change.peer);
          else this.#peers.delete(change.subnet);
        }
      },
      onError: () => undefined,
      onEnd: () => undefined,
      onLeaseEvent: (event) => this.events.push(event),
    });
  }

  static async open(
    t: Test,
    etcd: EtcdServer,
    name: string,
    options: Pick<LeaseSourceOptions, 'publicIp' | 'publicIpv6' | 'underlay'>,
  ): Promise<Host> {
    const store = await openStore(t, { endpoints: [etcd.endpoint] });
    const host = new Host({ store, host: { id: name, name }, ...options });
    t.teardown(() => host.source.close());
    host.#take(await host.snapshot);
    return host;
  }

  /** Waits until the peers are these, `subnet publicIp` each. */
  async routes(...expected: string[]): Promise<void> {
    const text = (): string =>
      [...this.#peers.values()]
        .map(({ subnet, publicIp }) => `${subnet} ${publicIp}`)
        .sort()
        .join(', ');
    await until(`peers ${expected.join(', ')}`, () => text() === [...expected].sort().join(', '));
  }

  #take({ peers }: RouteSnapshot): void {
    this.#peers.clear();
    for (const peer of peers) this.#peers.set(peer.subnet, peer);
  }
}

const ADDRESSES = [
  { publicIp: '192.0.2.1', publicIpv6: '2001:db8::1' },
  { publicIp: '192.0.2.2', publicIpv6: '2001:db8::2' },
] as const;

for (const underlay of [4, 6] as const) {
  t.test(`a network of both families over IPv${underlay}`, async (t) => {
    const etcd = await startEtcd(t);
    await etcd.put(`${PREFIX}/config`, DUAL);
    const first = await Host.open(t, etcd, 'first', { ...ADDRESSES[0], underlay });
    const second = await Host.open(t, etcd, 'second', { ...ADDRESSES[1], underlay });
    const [one, two] = [await first.snapshot, await second.snapshot];
    const address = underlay === 4 ? '192.0.2.2' : '2001:db8::2';
    await first.routes(`${two.subnet} ${address}`, `${two.ipv6Subnet} ${address}`);
    t.match(one, { network: '10.1.0.0/16', ipv6Network: 'fd00:1::/48', underlay });
    const key = `${PREFIX}/subnets/${two.subnet!.replace('/', '-')}&${two.ipv6Subnet!.replace('/', '-')}`;
    t.equal((await etcd.get(key))?.value, '{"PublicIP":"192.0.2.2","PublicIPv6":"2001:db8::2"}');

    // As flanneld's udp backend, which names no PublicIPv6.
    const third = 'subnets/10.1.0.0-24&fd00:1::-64';
    await etcd.put(`${PREFIX}/${third}`, '{"PublicIP":"192.0.2.3","PublicIPv6":null}');
    if (underlay === 4) {
      await first.routes(
        `${two.subnet} ${address}`,
        `${two.ipv6Subnet} ${address}`,
        '10.1.0.0/24 192.0.2.3',
        'fd00:1::/64 192.0.2.3',
      );
    } else {
      await until('the lease to be skipped', () =>
        first.events.some(
          (event) => event.kind === 'skipped' && event.reason.includes('names no PublicIPv6'),
        ),
      );
    }
    await etcd.del(`${PREFIX}/${third}`);
    await first.routes(`${two.subnet} ${address}`, `${two.ipv6Subnet} ${address}`);
  });
}

t.test(
  'a network of IPv6 alone: the key has the zeros of Go, and is taken again when it is lost',
  async (t) => {
    const etcd = await startEtcd(t);
    await etcd.put(`${PREFIX}/config`, IPV6_ONLY);
    const first = await Host.open(t, etcd, 'first', ADDRESSES[0]);
    const second = await Host.open(t, etcd, 'second', { publicIpv6: ADDRESSES[1].publicIpv6 });
    const { ipv6Subnet, ...rest } = await second.snapshot;
    t.match(rest, { network: undefined, subnet: undefined, ipv6Network: 'fd00:1::/48', underlay: 6 });
    const key = `${PREFIX}/subnets/0.0.0.0-0&${ipv6Subnet!.replace('/', '-')}`;
    t.equal((await etcd.get(key))?.value, '{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::2"}');
    await first.routes(`${ipv6Subnet} 2001:db8::2`);
    await etcd.del(key);
    await until('the lease to be regained', () => second.events.some(({ kind }) => kind === 'regained'));
    await first.routes(`${ipv6Subnet} 2001:db8::2`);

    const store = await openStore(t, { endpoints: [etcd.endpoint] });
    t.match(await reserveLease(store, { subnet: ipv6Subnet! }, FOREVER), { how: 'kept' });
    await until('the reservation to be adopted', () => second.source.state.lease?.reserved === true);
    t.match(await releaseLease(store, { subnet: ipv6Subnet! }, FOREVER), { how: 'timed' });
    await until('its end to be adopted', () => second.source.state.lease?.reserved === false);
  },
);
