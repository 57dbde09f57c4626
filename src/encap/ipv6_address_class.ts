/**
 * Which addresses may stand in an IPv6 frame between hosts (RFC 4291 section 2.5, RFC 4007). Addresses are bytes in the slab.
 */

import { i32, u8 } from '../bytes.js';
import { DropReason } from './drop_reason.js';
import { IPV6_OFFSET_DESTINATION, IPV6_OFFSET_SOURCE } from './ipv6_header.js';

const FIRST_BYTE_MULTICAST = 0xff;
const LINK_LOCAL = 0xfe80 >>> 6; // fe80::/10, the first ten bits
const MAPPED_WORD = 0xffff; // ::ffff:0:0/96, the third word

/**
 * Whether this is the address of one host that others may reach: not unspecified, loopback, multicast nor link-local
 * (RFC 4291 sections 2.5.2, 2.5.3 and 2.5.6: no router forwards them), and not IPv4-mapped, which no packet on a wire has
 * (RFC 6890 section 2.2.3: not forwardable). An anycast address is not told from a host.
 *
 * @param at first of the 16 bytes
 */
export function isRoutableUnicastIpv6(bytes: Uint8Array, at: number): boolean {
  const first = i32(bytes, at);
  if (first === 0) return !isHostOnly(bytes, at);
  return first >>> 22 !== LINK_LOCAL && first >>> 24 !== FIRST_BYTE_MULTICAST;
}

/** Meant for many hosts. */
export function isMulticastIpv6(bytes: Uint8Array, at: number): boolean {
  return u8(bytes, at) === FIRST_BYTE_MULTICAST;
}

/**
 * Does a router forward a frame with these addresses?
 *
 * @param at first byte of the IPv6 header, which lies in the slab whole
 * @returns 0, or `-DropReason`
 * @remarks Allocates nothing, never throws.
 */
export function classifyIpv6Addresses(slab: Uint8Array, at: number): number {
  if (!isRoutableUnicastIpv6(slab, at + IPV6_OFFSET_SOURCE)) return -DropReason.martian;
  const destinationAt = at + IPV6_OFFSET_DESTINATION;
  if (isRoutableUnicastIpv6(slab, destinationAt)) return 0;
  return isMulticastIpv6(slab, destinationAt) ? -DropReason.notUnicast : -DropReason.martian;
}

/** An address whose first word is 0: `::`, `::1` or IPv4-mapped? */
function isHostOnly(bytes: Uint8Array, at: number): boolean {
  if (i32(bytes, at + 4) !== 0) return false;
  const third = i32(bytes, at + 8);
  if (third === 0) return i32(bytes, at + 12) >>> 1 === 0;
  return third === MAPPED_WORD;
}
