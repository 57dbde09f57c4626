import { overlaps, parsePrefix } from '../prefix.js';
import type { LeaseSubnets } from './lease.js';

/** Whether two hosts could not have these subnets at once: they share addresses of either family. */
export function subnetsOverlap(a: LeaseSubnets, b: LeaseSubnets): boolean {
  return sharesAddresses(a.ipv4, b.ipv4) || sharesAddresses(a.ipv6, b.ipv6);
}

function sharesAddresses(a: string | undefined, b: string | undefined): boolean {
  return a !== undefined && b !== undefined && overlaps(parsePrefix(a), parsePrefix(b));
}
