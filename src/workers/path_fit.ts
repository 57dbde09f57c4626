import { IPV4_DF, ipVersion, ipv4Fragment } from '../encap/ipv4_header.js';
import { IPV6_MIN_MTU_BYTES } from '../encap/ipv6_header.js';
import { CUT_OUTER } from '../tun/burst.js';
import type { LaneContext } from './lane_context.js';

/** In place of a cut: the frame may not be made smaller here, its sender has to. */
export const TOO_BIG = -2;

/** Most bytes of an inner frame to a next hop: what its path takes, and never more than the underlay interface does. */
export function pathMtuOf(lane: LaneContext, nextHop: number): number {
  const limit = lane.paths.limit(nextHop);
  return limit === 0 || limit > lane.mtuBytes ? lane.mtuBytes : limit;
}

/**
 * How a frame that is larger than the path takes is made to fit: a router fragments IPv4 where it may (RFC 1812 section
 * 5.2.6) and never IPv6; but a path of less than 1,280 bytes has to carry IPv6 of that size all the same, in fragments of
 * its own (RFC 8200 section 5, RFC 2473 section 7.1).
 *
 * @param wireBytes of the largest frame in the row, above `limit`
 * @param limit most bytes of an inner frame on this path
 * @returns the row's `cut`, or {@link TOO_BIG}
 */
export function cutOf(slab: Uint8Array, at: number, wireBytes: number, limit: number): number {
  if (ipVersion(slab, at) === 6) return wireBytes <= IPV6_MIN_MTU_BYTES ? CUT_OUTER : TOO_BIG;
  return (ipv4Fragment(slab, at) & IPV4_DF) === 0 ? limit : TOO_BIG;
}
