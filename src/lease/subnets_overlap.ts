import { overlapsIpv6Prefix, parseIpv6Prefix } from '../ipv6_prefix.js';
import { overlapsIpv4Prefix, parseIpv4Prefix } from '../ipv4_prefix.js';
import type { LeaseSubnets } from './lease.js';

/** Whether two hosts could not have these subnets at once: they share addresses of either family. */
export function subnetsOverlap(a: LeaseSubnets, b: LeaseSubnets): boolean {
  if (overlapsIpv4Prefix(parseIpv4Prefix(a.ipv4), parseIpv4Prefix(b.ipv4))) return true;
  if (a.ipv6 === undefined || b.ipv6 === undefined) return false;
  return overlapsIpv6Prefix(parseIpv6Prefix(a.ipv6), parseIpv6Prefix(b.ipv6));
}
