import { BlockList, isIPv4 } from 'node:net';

/** One address of an interface, as `ip -json address show` tells it (iproute2 5.0 or later; absent flags are false). */
export interface HostAddress {
  readonly family: string;
  /** Absent on a few kinds of point-to-point links. */
  readonly local?: string;
  /** Has a lifetime, as from DHCP or a router advertisement. */
  readonly dynamic?: boolean;
  /** An IPv6 privacy address, which goes away within days (RFC 8981). */
  readonly temporary?: boolean;
  /** Past its preferred lifetime: not to be used for anything new (RFC 4862 section 5.5.4). */
  readonly deprecated?: boolean;
  /** IPv6: another host has it (RFC 4862 section 5.4.5). */
  readonly dadfailed?: boolean;
}

/** One interface, as `ip -json address show` tells it. */
export interface HostLink {
  readonly ifname: string;
  /** Bytes. */
  readonly mtu: number;
  readonly addr_info: readonly HostAddress[];
}

const linkLocal = new BlockList();
linkLocal.addSubnet('169.254.0.0', 16);
linkLocal.addSubnet('fe80::', 10, 'ipv6');
/** What can name no host to another: RFC 1122 section 3.2.1.3, RFC 4291 sections 2.5.2, 2.5.3 and 2.7. */
const notUnicast = new BlockList();
notUnicast.addSubnet('0.0.0.0', 8);
notUnicast.addSubnet('127.0.0.0', 8);
notUnicast.addSubnet('224.0.0.0', 3);
notUnicast.addAddress('::', 'ipv6');
notUnicast.addAddress('::1', 'ipv6');
notUnicast.addSubnet('ff00::', 8, 'ipv6');

/**
 * The IPv4 addresses of an interface that peers may be told, best first: global before link-local, permanent before
 * dynamic, else as the kernel lists them. Deprecated ones and loopback are left out.
 */
export function usableIpv4Addresses(link: HostLink): string[] {
  return usable(link, 'inet');
}

/** Every IPv4 address of an interface: what an operator may name. */
export function allIpv4Addresses(link: HostLink): string[] {
  return link.addr_info.flatMap(({ family, local }) => (family === 'inet' && local ? [local] : []));
}

/**
 * The IPv6 addresses that peers may be told, in the same order and non-temporary first. Link-local ones are left out too:
 * they mean nothing without a zone, which is each host's own (RFC 4007 section 6).
 */
export function usableIpv6Addresses(link: HostLink): string[] {
  return usable(link, 'inet6').filter((address) => !isLinkLocal(address));
}

/** Every IPv6 address of an interface that an operator may name: all but link-local. */
export function allIpv6Addresses(link: HostLink): string[] {
  const all = link.addr_info.flatMap(({ family, local }) => (family === 'inet6' && local ? [local] : []));
  return all.filter((address) => !isLinkLocal(address));
}

/** 169.254/16 (RFC 3927) or fe80::/10. */
export function isLinkLocal(address: string): boolean {
  return linkLocal.check(address, versionOf(address));
}

function usable(link: HostLink, family: 'inet' | 'inet6'): string[] {
  const ranked = link.addr_info.flatMap((entry) => {
    const { local, deprecated = false, dadfailed = false } = entry;
    if (entry.family !== family || local === undefined || deprecated || dadfailed) return [];
    return notUnicast.check(local, versionOf(local)) ? [] : [{ local, rank: rankOf(entry, local) }];
  });
  // Array.prototype.sort is stable (ECMA-262), so equals stay in the kernel's order.
  return ranked.sort((a, b) => a.rank - b.rank).map(({ local }) => local);
}

function rankOf({ dynamic = false, temporary = false }: HostAddress, local: string): number {
  return (isLinkLocal(local) ? 4 : 0) + (dynamic ? 2 : 0) + (temporary ? 1 : 0);
}

function versionOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv4(address) ? 'ipv4' : 'ipv6';
}
