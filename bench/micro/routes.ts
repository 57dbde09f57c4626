import { formatIpv4, formatIpv4Prefix } from '../../src/ipv4_prefix.js';
import { formatIpv6, formatIpv6Prefix } from '../../src/ipv6_prefix.js';
import { ADDRESS_WORDS, type IpFamily, putIpv6Words } from '../../src/ip_address.js';
import type { Prefix } from '../../src/prefix.js';
import { buildRouteTable, type TableRoute } from '../../src/routing/build_route_table.js';
import type { Route } from '../../src/routing/route_set.js';
import { ENDPOINT_WORDS, LOCAL, RouteTable } from '../../src/routing/route_table.js';

/** Network 10.0.0.0/8, which 65,536 leases of /24 fill. */
const NETWORK = 10 << 24;
/** Network fd00:10:244::/48, which 65,536 leases of /64 fill. */
const IPV6_NETWORK = 0xfd00_0010_0244n << 80n;
/** Peers have addresses from 192.168.0.0 up, or 2001:db8:: up. */
const FIRST_PEER = (192 << 24) | (168 << 16);
const FIRST_IPV6_PEER = 0x2001_0db8n << 96n;
const PORT = 8285;

/** First address of the n-th IPv4 lease. */
export function leaseAddress(n: number): number {
  return NETWORK | (n << 8);
}

/** First address of the n-th IPv6 lease. */
export function ipv6LeaseAddress(n: number): bigint {
  return IPV6_NETWORK | (BigInt(n) << 64n);
}

/** IPv4 address of the peer that has the n-th lease. */
export function peerAddress(n: number): number {
  return FIRST_PEER + n;
}

/** IPv6 address of the peer that has the n-th lease. */
export function ipv6PeerAddress(n: number): bigint {
  return FIRST_IPV6_PEER + BigInt(n);
}

/** Routes to the first `count` leases, the n-th by next hop n; lease 0 is our own. */
export function leaseRoutes(count: number, family: IpFamily = 4): TableRoute[] {
  return Array.from({ length: count }, (_, n) => ({
    prefix: leasePrefix(n, family),
    nextHopId: n === 0 ? LOCAL : n,
  }));
}

/** The same as a user gives them: prefixes and peers of one family. */
export function textRoutes(count: number, family: IpFamily): Route[] {
  return leaseRoutes(count, family).map(({ prefix }, n) =>
    prefix.family === 4
      ? { prefix: formatIpv4Prefix(prefix), nextHop: formatIpv4(peerAddress(n)) }
      : { prefix: formatIpv6Prefix(prefix), nextHop: formatIpv6(ipv6PeerAddress(n)) },
  );
}

/** Endpoints of next hops 0..count-1. */
export function peerEndpoints(count: number, family: IpFamily = 4): Int32Array {
  const words = new Int32Array(count * ENDPOINT_WORDS);
  for (let n = 1; n < count; n++) {
    const at = n * ENDPOINT_WORDS;
    if (family === 4) words[at] = peerAddress(n);
    else putIpv6Words(words, at, ipv6PeerAddress(n));
    words[at + ADDRESS_WORDS] = PORT;
  }
  return words;
}

/** A table of the first `count` leases of one family, with peers of the same. */
export function leaseTable(count: number, family: IpFamily = 4): RouteTable {
  return new RouteTable(buildRouteTable(leaseRoutes(count, family), peerEndpoints(count, family), 1));
}

function leasePrefix(n: number, family: IpFamily): Prefix {
  return family === 4
    ? { family, address: leaseAddress(n), bits: 24 }
    : { family, address: ipv6LeaseAddress(n), bits: 64 };
}
