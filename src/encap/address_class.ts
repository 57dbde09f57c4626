/**
 * Which addresses may stand in a frame between hosts (RFC 1812 section 5.3.7). Addresses are int32.
 */

import { DropReason } from './drop_reason.js';

const LIMITED_BROADCAST = -1; // 255.255.255.255
const FIRST_OCTET_LOOPBACK = 127;
const FIRST_OCTET_MULTICAST = 224; // and from 240 on class E
const FIRST_NIBBLE_MULTICAST = 0xe;
const LINK_LOCAL = 0xa9fe; // 169.254/16

/**
 * Whether this is the address of one host that others may reach: not 0/8, 127/8, multicast, class E nor the limited
 * broadcast (RFC 1812 sections 4.2.2.11 and 5.3.7), and not 169.254/16, which a router must not forward (RFC 3927
 * section 2.7). A directed broadcast is not told from a host: only its own network knows its size.
 */
export function isRoutableUnicast(address: number): boolean {
  const first = address >>> 24;
  if (first >= FIRST_OCTET_MULTICAST || first === FIRST_OCTET_LOOPBACK || first === 0) return false;
  return address >>> 16 !== LINK_LOCAL;
}

/** Multicast, or the limited broadcast: meant for many hosts. */
export function isGroupAddress(address: number): boolean {
  return address >>> 28 === FIRST_NIBBLE_MULTICAST || address === LIMITED_BROADCAST;
}

/**
 * Does a router forward a frame with these addresses?
 *
 * @returns 0, or `-DropReason`
 */
export function classifyAddresses(source: number, destination: number): number {
  if (!isRoutableUnicast(source)) return -DropReason.martian;
  if (isRoutableUnicast(destination)) return 0;
  return isGroupAddress(destination) ? -DropReason.notUnicast : -DropReason.martian;
}
