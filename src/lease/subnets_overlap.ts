import { overlapsIpv6Prefix, parseIpv6Prefix } from '../ipv6_prefix.js';
import { overlaps, parsePrefix } from '../prefix.js';
import type { LeaseSubnets } from './lease.js';

/** Whether two hosts could not have these subnets at once: they share addresses of either family. */
export function subnetsOverlap(a: LeaseSubnets, b: LeaseSubnets): boolean {
  if (overlaps(parsePrefix(a.ipv4), parsePrefix(b.ipv4))) return true;
  if (a.ipv6 === undefined || b.ipv6 === undefined) return false;
  return overlapsIpv6Prefix(parseIpv6Prefix(a.ipv6), parseIpv6Prefix(b.ipv6));
}
