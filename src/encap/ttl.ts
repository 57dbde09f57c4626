import { put16, put8, u16, u8 } from '../bytes.js';
import { IPV4_OFFSET_CHECKSUM, IPV4_OFFSET_TTL } from './ipv4_header.js';
import { IPV6_OFFSET_HOP_LIMIT, ipv6HopLimit } from './ipv6_header.js';

/**
 * Takes one from the TTL of a sound IPv4 header whose TTL is 1 or more, and corrects the header checksum.
 *
 * RFC 1624 equation 3: HC' = ~(~HC + ~m + m'). The TTL is the high byte of its word, so ~m + m' is -0x0100 whatever the
 * word holds, and the sum becomes HC + 0x0100 with an end-around carry. The carry is taken at 0xffff already: the other
 * zero of ones' complement is written as 0x0000, as a computation from scratch does.
 *
 * @param at first byte of the IP header
 */
export function decrementTtl(slab: Uint8Array, at: number): void {
  put8(slab, at + IPV4_OFFSET_TTL, u8(slab, at + IPV4_OFFSET_TTL) - 1);
  const sum = u16(slab, at + IPV4_OFFSET_CHECKSUM) + 0x0100;
  put16(slab, at + IPV4_OFFSET_CHECKSUM, sum >= 0xffff ? sum + 1 : sum);
}

/**
 * Takes one from the hop limit of a sound IPv6 header whose hop limit is 1 or more (RFC 8200 section 3). No checksum covers it.
 *
 * @param at first byte of the IP header
 */
export function decrementHopLimit(slab: Uint8Array, at: number): void {
  put8(slab, at + IPV6_OFFSET_HOP_LIMIT, ipv6HopLimit(slab, at) - 1);
}
