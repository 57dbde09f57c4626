import { existsSync } from 'node:fs';

import { type ChildSet, End, Namespace } from './namespace.js';

/** Whether this kernel has IPv6; without it a lab has IPv4 alone. */
export const KERNEL_HAS_IPV6 = existsSync('/proc/net/if_inet6');
/** RFC 8200 section 5: below this an interface has no IPv6, and loses the addresses it had. */
const IPV6_LEAST_MTU = 1280;

/** A host: it owns a subnet of the overlay and speaks to the other hosts over the underlay. */
export class LabHost extends Namespace {
  /** 1 for host1. */
  readonly number: number;
  /** The pods' subnet here, e.g. `10.1.1.0/24`. */
  readonly subnet: string;
  /** The same for IPv6, e.g. `fd00:1:1::/64`. */
  readonly ipv6Subnet: string;
  /** Address of the bridge `cni0`, e.g. `10.1.1.1`. */
  readonly bridgeIp: string;
  /** The same for IPv6, e.g. `fd00:1:1::1`. */
  readonly bridgeIpv6: string;
  /** First address of the subnet, which selvage gives its device, e.g. `10.1.1.0`. */
  readonly tunIp: string;
  /** The same for IPv6, e.g. `fd00:1:1::`. */
  readonly tunIpv6: string;
  /** Name of the underlay interface, e.g. `u1`. */
  readonly underlay: string;
  /** Address of the underlay interface: `192.168.100.1`, behind a router `192.168.101.1`. */
  readonly publicIp: string;
  /** The same for IPv6: `fd00:c0::1`, behind a router `fd00:c0:1::1`. */
  readonly publicIpv6: string;

  /** @param routed whether its underlay network is its own, behind a router */
  constructor(name: string, number: number, children: ChildSet, routed: boolean) {
    super(name, `host${number}`, children);
    this.number = number;
    this.subnet = `10.1.${number}.0/24`;
    this.ipv6Subnet = `fd00:1:${number}::/64`;
    this.bridgeIp = `10.1.${number}.1`;
    this.bridgeIpv6 = `fd00:1:${number}::1`;
    this.tunIp = `10.1.${number}.0`;
    this.tunIpv6 = `fd00:1:${number}::`;
    this.underlay = `u${number}`;
    this.publicIp = routed ? `192.168.${100 + number}.1` : `192.168.100.${number}`;
    this.publicIpv6 = routed ? `fd00:c0:${number}::1` : `fd00:c0::${number}`;
  }
}

/** A pod: one interface `eth0` on its host's bridge. As an {@link End} it is its IPv4 address. */
export class LabPod extends End {
  readonly number: number;
  /** Address of `eth0`, e.g. `fd00:1:1::2`. */
  readonly ipv6Address: string;
  /** This pod as an end of loads and transfers over IPv6. */
  readonly ipv6: End;

  constructor(name: string, number: number, children: ChildSet) {
    super(name, `pod${number}`, children, `10.1.${number}.2`);
    this.number = number;
    this.ipv6Address = `fd00:1:${number}::2`;
    this.ipv6 = this.at(this.ipv6Address);
  }
}

/**
 * Makes it a router if wanted; loopback up, and no IPv6 duplicate address detection: it makes addresses unusable for their
 * first second. A device that is made later is no IPv6 router's, though packets from it are forwarded: it would begin with
 * reports that it has joined the group of all routers (ff02::2), which tests that count frames to the last one would find.
 */
export async function prepareNode(node: Namespace, forwards: boolean): Promise<void> {
  if (forwards) await node.sysctl({ 'net/ipv4/ip_forward': 1 });
  if (KERNEL_HAS_IPV6) {
    const conf = 'net/ipv6/conf';
    await node.sysctl({ [`${conf}/all/accept_dad`]: 0, [`${conf}/default/accept_dad`]: 0 });
    if (forwards) await node.sysctl({ [`${conf}/all/forwarding`]: 1, [`${conf}/default/forwarding`]: 0 });
  }
  await node.ip('link set lo up');
}

/** Gives a host its addresses, its bridge and its pod; MTUs are still to be set, see {@link setPodMtu}. */
export async function buildHost(host: LabHost, pod: LabPod, underlayMtu: number): Promise<void> {
  await host.ip(`
    addr add ${host.publicIp}/24 dev ${host.underlay}
    ${hasIpv6At(underlayMtu) ? `addr add ${host.publicIpv6}/64 dev ${host.underlay}` : ''}
    link set ${host.underlay} up
    link add cni0 mtu ${underlayMtu} type bridge
    addr add ${host.bridgeIp}/24 dev cni0
    link add pod mtu ${underlayMtu} type veth peer name eth0 mtu ${underlayMtu} netns ${pod.name}
    link set pod master cni0 up
    link set cni0 up`);
  await pod.ip(`
    addr add ${pod.address}/24 dev eth0
    link set eth0 up
    route add default via ${host.bridgeIp}`);
}

/** Sets the MTU of a pod's `eth0`, its other end and the bridge, and gives IPv6 (back) what a small MTU takes from it. */
export async function setPodMtu(host: LabHost, pod: LabPod, bytes: number): Promise<void> {
  const ipv6 = hasIpv6At(bytes);
  await host.ip(`
    link set pod mtu ${bytes}
    link set cni0 mtu ${bytes}
    ${ipv6 ? `addr replace ${host.bridgeIpv6}/64 dev cni0` : ''}`);
  await pod.ip(`
    link set eth0 mtu ${bytes}
    ${ipv6 ? `addr replace ${pod.ipv6Address}/64 dev eth0\nroute replace default via ${host.bridgeIpv6}` : ''}`);
}

/** Whether an interface of this MTU has IPv6. */
export function hasIpv6At(mtuBytes: number): boolean {
  return KERNEL_HAS_IPV6 && mtuBytes >= IPV6_LEAST_MTU;
}
