import { hasIpv6At, type LabHost } from './lab_nodes.js';
import type { Namespace } from './namespace.js';

/** Takes back what a call has changed. */
export type Undo = () => Promise<void>;

/** Hosts behind a router have numbers up to this: 100 + number is an octet, and the number of a routing table. */
export const MOST_ROUTED_HOSTS = 100;

/**
 * Joins the hosts' underlay networks, each of which has an interface of its own here:
 *
 * ```
 *  host1  u1 192.168.101.1/24   --- r1 192.168.101.254/24    router    r2 192.168.102.254/24   --- u2  host2
 *            fd00:c0:1::1/64           fd00:c0:1::fe/64                   fd00:c0:2::fe/64
 * ```
 *
 * A smaller MTU is one of the routes: a veth end with a smaller MTU than its peer would lose large packets without a word.
 * What comes in at rN is routed by table 100 + N, so that the way from a host can be as narrow as the way to it.
 */
export class LabRouter {
  readonly namespace: Namespace;
  readonly #hosts: readonly LabHost[];
  /** Bytes of a packet between host `i` and the router, by index. */
  readonly #mtus: number[];
  readonly #linkMtu: number;
  readonly #hasIpv6: boolean;

  constructor(namespace: Namespace, hosts: readonly LabHost[], linkMtu: number) {
    this.namespace = namespace;
    this.#hosts = hosts;
    this.#linkMtu = linkMtu;
    this.#hasIpv6 = hasIpv6At(linkMtu);
    this.#mtus = hosts.map(() => linkMtu);
  }

  /** Makes the links to all hosts; their own ends get addresses later. */
  async build(): Promise<void> {
    const link = `mtu ${this.#linkMtu}`;
    for (const { number, underlay, name } of this.#hosts) {
      await this.namespace.ip(`
        link add r${number} ${link} type veth peer name ${underlay} ${link} netns ${name}
        addr add ${gatewayIp(number)}/24 dev r${number}
        ${this.#hasIpv6 ? `addr add ${gatewayIpv6(number)}/64 dev r${number}` : ''}
        link set r${number} up
        rule add iif r${number} lookup ${100 + number} pref ${100 + number}`);
      if (this.#hasIpv6)
        await this.#ip6(`rule add iif r${number} lookup ${100 + number} pref ${100 + number}`);
    }
    await this.#writeRoutes();
  }

  /** Lets a host that has its addresses reach the others. */
  async connect(host: LabHost): Promise<void> {
    await host.ip(`
      route add 192.168.0.0/16 via ${gatewayIp(host.number)}
      ${this.#hasIpv6 ? `route add fd00:c0::/32 via ${gatewayIpv6(host.number)}` : ''}`);
  }

  /** @see Lab.setRouterMtu */
  async setMtu(index: number, bytes: number): Promise<Undo> {
    const before = this.#mtus[index];
    if (before === undefined) throw new RangeError(`${index} is not 0..${this.#mtus.length - 1}`);
    if (bytes > this.#linkMtu)
      throw new RangeError(`${bytes} bytes: the link itself carries ${this.#linkMtu}`);
    this.#mtus[index] = bytes;
    await this.#writeRoutes();
    return async () => {
      this.#mtus[index] = before;
      await this.#writeRoutes();
    };
  }

  /** @see Lab.silenceRouterIcmp */
  silenceIcmp(): Promise<Undo> {
    return this.#filter(
      'silence',
      `type filter hook output priority 0;
       icmp type destination-unreachable icmp code frag-needed drop;
       icmpv6 type packet-too-big drop;`,
    );
  }

  /** @see Lab.dropLarge */
  dropLarge(index: number, bytes: number): Promise<Undo> {
    const number = this.#hosts[index]?.number;
    if (number === undefined) throw new RangeError(`${index} is not 0..${this.#hosts.length - 1}`);
    return this.#filter(
      `large${number}`,
      `type filter hook forward priority 0;
       iifname r${number} meta length > ${bytes} counter drop;
       oifname r${number} meta length > ${bytes} counter drop;`,
    );
  }

  async #filter(table: string, chain: string): Promise<Undo> {
    const input = `table inet ${table} {\nchain rules {\n${chain}\n}\n}\n`;
    await this.namespace.exec('nft', ['-f', '-'], { input });
    return async () => {
      await this.namespace.exec('nft', ['delete', 'table', 'inet', table]);
    };
  }

  /** `lock`: without it IPv6 forwarding looks at the device alone (net/ipv6/route.c, ip6_dst_mtu_maybe_forward). */
  async #writeRoutes(): Promise<void> {
    const routes = (prefixOf: (number: number) => string): string =>
      this.#hosts
        .flatMap((from, i) =>
          this.#hosts.map((to, j) =>
            i === j
              ? ''
              : `route replace ${prefixOf(to.number)} dev r${to.number} table ${100 + from.number} ` +
                `mtu lock ${Math.min(this.#mtus[i]!, this.#mtus[j]!)}`,
          ),
        )
        .join('\n');
    await this.namespace.ip(routes((number) => `192.168.${100 + number}.0/24`));
    if (this.#hasIpv6) await this.#ip6(routes((number) => `fd00:c0:${number}::/64`));
  }

  async #ip6(batch: string): Promise<void> {
    await this.namespace.exec('ip', ['-6', '-batch', '-'], { input: `${batch}\n` });
  }
}

/** The router's address in the underlay network of a host. */
export function gatewayIp(number: number): string {
  return `192.168.${100 + number}.254`;
}

/** The same for IPv6. */
export function gatewayIpv6(number: number): string {
  return `fd00:c0:${number}::fe`;
}
