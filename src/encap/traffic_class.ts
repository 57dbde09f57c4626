/**
 * The traffic class (IPv6) or TOS (IPv4): six bits of DSCP (RFC 2474), two of ECN (RFC 3168), in a header of either family.
 *
 * `at` is the first byte of a sound header, which lies in the slab whole.
 */

import { put16, u16, u8 } from '../bytes.js';
import { IPV4_OFFSET_CHECKSUM, IPV4_OFFSET_TOS, ipVersion } from './ipv4_header.js';
import { IPV6_OFFSET_VERSION_CLASS_FLOW } from './ipv6_header.js';

/** @returns 0..255 */
export function trafficClassOf(slab: Uint8Array, at: number): number {
  if (ipVersion(slab, at) === 4) return u8(slab, at + IPV4_OFFSET_TOS);
  return (u16(slab, at + IPV6_OFFSET_VERSION_CLASS_FLOW) >>> 4) & 0xff;
}

/**
 * Sets it, and of IPv4 corrects the header checksum.
 *
 * @param trafficClass 0..255
 */
export function putTrafficClass(slab: Uint8Array, at: number, trafficClass: number): void {
  const before = u16(slab, at);
  if (before >>> 12 === 4) {
    const after = (before & 0xff00) | trafficClass;
    put16(slab, at, after);
    correctChecksum(slab, at + IPV4_OFFSET_CHECKSUM, before, after);
  } else {
    put16(slab, at, (before & 0xf00f) | (trafficClass << 4));
  }
}

/**
 * RFC 1624 equation 3: HC' = ~(~HC + ~m + m'). As m' is not 0 (it holds the version), the sum is not 0 either, and the result
 * is never 0xffff: the same as a computation from scratch.
 */
function correctChecksum(slab: Uint8Array, checksumAt: number, before: number, after: number): void {
  const sum = (~u16(slab, checksumAt) & 0xffff) + (~before & 0xffff) + after;
  const once = (sum & 0xffff) + (sum >>> 16);
  put16(slab, checksumAt, ~((once & 0xffff) + (once >>> 16)));
}
