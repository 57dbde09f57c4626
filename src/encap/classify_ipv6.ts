/**
 * Is this frame a sound IPv6 packet? The counterpart of classify.ts.
 */

import { u8 } from '../bytes.js';
import { DropReason } from './drop_reason.js';
import { ipVersion } from './ipv4_header.js';
import {
  IPV6_HEADER_BYTES,
  NEXT_HEADER_FRAGMENT,
  NEXT_HEADER_HOP_BY_HOP,
  ipv6NextHeader,
  ipv6PayloadBytes,
} from './ipv6_header.js';

const VERSION_BITS = 0xf0;
const VERSION_6 = 0x60;

/**
 * Checks version and lengths; IPv6 has no header checksum.
 *
 * Extension headers pass unread, as a router forwards them (RFC 8200 section 4), and so do bytes beyond the payload length of
 * an ordinary frame (the receiving kernel trims them). A superframe must be exactly as long as its header says, and no
 * fragment, as no kernel makes another kind. A jumbogram (RFC 2675) does not say its length where a router looks for it, and
 * could not cross a TUN device, whose MTU is below 65,536.
 *
 * @param at first byte of the IP header
 * @param length bytes of the frame that lie in the slab, 0 or more
 * @param segments wire-sized frames in it, 1 or more
 * @returns 0, or `-DropReason`: of an IPv4 frame `ipv4NotCarried`, as the caller sends none here if the network carries it
 * @remarks Allocates nothing, never throws, and reads no byte at or beyond `at + length`.
 */
export function classifyIpv6(slab: Uint8Array, at: number, length: number, segments: number): number {
  if (length < IPV6_HEADER_BYTES) return classifyShort(slab, at, length);
  if ((u8(slab, at) & VERSION_BITS) !== VERSION_6) return versionVerdict(slab, at);
  const payloadBytes = ipv6PayloadBytes(slab, at);
  if (payloadBytes > length - IPV6_HEADER_BYTES) return -DropReason.truncated;
  if (payloadBytes === 0 && ipv6NextHeader(slab, at) === NEXT_HEADER_HOP_BY_HOP) {
    return -DropReason.badHeaderLength;
  }
  if (segments === 1) return 0;
  const isWhole = payloadBytes === length - IPV6_HEADER_BYTES;
  return isWhole && ipv6NextHeader(slab, at) !== NEXT_HEADER_FRAGMENT ? 0 : -DropReason.badGso;
}

/** The version is judged before the length, so that a short IPv4 frame is not taken for a cut IPv6 one. */
function classifyShort(slab: Uint8Array, at: number, length: number): number {
  if (length <= 0 || ipVersion(slab, at) === 6) return -DropReason.truncated;
  return versionVerdict(slab, at);
}

function versionVerdict(slab: Uint8Array, at: number): number {
  return ipVersion(slab, at) === 4 ? -DropReason.ipv4NotCarried : -DropReason.badVersion;
}
