/**
 * ICMPv6 errors about frames that we cannot forward (RFC 4443).
 *
 * ```text
 * +-----------------------+-----------------+--------------------------------------+
 * | IPv6 header, 40 bytes | ICMPv6, 8 bytes | the offending frame, as much as fits |
 * +-----------------------+-----------------+--------------------------------------+
 * |<------------------------------ 1280 bytes at most ---------------------------->|
 * ```
 */

import { put16, put32, put8 } from '../bytes.js';
import { checksumSum, finishChecksum } from './checksum.js';
import { copyBytes } from './copy_bytes.js';
import {
  ICMPV6_HEADER_BYTES,
  ICMPV6_OFFSET_CHECKSUM,
  ICMPV6_OFFSET_CODE,
  ICMPV6_OFFSET_MTU,
  ICMPV6_OFFSET_TYPE,
  icmpv6Type,
  isIcmpv6Informational,
} from './icmpv6_header.js';
import { isMulticastIpv6, isRoutableUnicastIpv6 } from './ipv6_address_class.js';
import { UPPER_LAYER_UNKNOWN, findUpperLayer, upperOffset, upperProtocol } from './ipv6_extensions.js';
import {
  IPV6_ADDRESS_BYTES,
  IPV6_HEADER_BYTES,
  IPV6_MIN_MTU_BYTES,
  IPV6_OFFSET_DESTINATION,
  IPV6_OFFSET_HOP_LIMIT,
  IPV6_OFFSET_NEXT_HEADER,
  IPV6_OFFSET_PAYLOAD_BYTES,
  IPV6_OFFSET_SOURCE,
  IPV6_OFFSET_VERSION_CLASS_FLOW,
  NEXT_HEADER_ICMPV6,
  ipv6TotalBytes,
} from './ipv6_header.js';

/** No ICMPv6 error is longer (RFC 4443 section 2.4 c): every link takes a packet of this size. */
export const ICMPV6_ERROR_MAX_BYTES = IPV6_MIN_MTU_BYTES;

/** Bytes before the quotation. */
const ANSWER_HEADER_BYTES = IPV6_HEADER_BYTES + ICMPV6_HEADER_BYTES;

/** Version 6, flow label 0, and the class of ICMP errors over IPv4: class selector 6, internetwork control (RFC 2474). */
const ANSWER_VERSION_CLASS_FLOW = 0x6c00_0000;

/** The default of hosts (IANA, IP parameters), as in our ICMP errors over IPv4. */
const ANSWER_HOP_LIMIT = 64;

/**
 * May an ICMPv6 error be sent about this frame (RFC 4443 section 2.4 e)?
 *
 * Never about an ICMPv6 error or a redirect, a frame to many hosts, or one whose source is not a single host; nor about a
 * frame that does not tell whether it is one of these: a chain of extension headers that is cut or too long, or a later
 * fragment of ICMPv6. The exceptions for multicast do not arise: a frame to a group ends before its size is looked at.
 *
 * @param at first byte of a header that classifyIpv6 found sound
 * @param length bytes of the frame that lie together in the slab at `at`
 * @remarks Allocates nothing, never throws.
 */
export function mayAnswerIpv6(slab: Uint8Array, at: number, length: number): boolean {
  if (!isRoutableUnicastIpv6(slab, at + IPV6_OFFSET_SOURCE)) return false;
  if (isMulticastIpv6(slab, at + IPV6_OFFSET_DESTINATION)) return false;
  const found = findUpperLayer(slab, at, length);
  if (found === UPPER_LAYER_UNKNOWN) return false;
  if (upperProtocol(found) !== NEXT_HEADER_ICMPV6) return true;
  const offset = upperOffset(found);
  // Its type decides, so an ICMPv6 message without one gets no answer.
  const end = Math.min(length, ipv6TotalBytes(slab, at));
  return offset !== 0 && end > offset && isIcmpv6Informational(icmpv6Type(slab, at + offset));
}

/**
 * Writes an ICMPv6 error about a frame, as a whole IPv6 packet with its checksum. No extension follows the quotation
 * (RFC 4884), so that its length attribute is 0.
 *
 * @param out memory for the answer: {@link ICMPV6_ERROR_MAX_BYTES} free bytes from `outAt` on
 * @param slab memory of the offending frame; not changed
 * @param at first byte of its IP header, which classifyIpv6 found sound
 * @param length bytes of it that may be quoted, 40 or more; bytes beyond what its header claims are not
 * @param mtuOr0 for "packet too big" (RFC 4443 section 3.2), otherwise 0
 * @param sourceBytes the 16 bytes of the answer's source address
 * @returns bytes written, 88..1280
 * @remarks Allocates nothing, never throws.
 */
export function writeIcmpv6Error(
  out: Uint8Array,
  outAt: number,
  slab: Uint8Array,
  at: number,
  length: number,
  type: number,
  code: number,
  mtuOr0: number,
  sourceBytes: Uint8Array,
): number {
  const quotedBytes = quotableBytes(slab, at, length);
  const icmpBytes = ICMPV6_HEADER_BYTES + quotedBytes;
  copyBytes(out, outAt + ANSWER_HEADER_BYTES, slab, at, quotedBytes);
  put32(out, outAt + IPV6_OFFSET_VERSION_CLASS_FLOW, ANSWER_VERSION_CLASS_FLOW);
  put16(out, outAt + IPV6_OFFSET_PAYLOAD_BYTES, icmpBytes);
  put8(out, outAt + IPV6_OFFSET_NEXT_HEADER, NEXT_HEADER_ICMPV6);
  put8(out, outAt + IPV6_OFFSET_HOP_LIMIT, ANSWER_HOP_LIMIT);
  copyBytes(out, outAt + IPV6_OFFSET_SOURCE, sourceBytes, 0, IPV6_ADDRESS_BYTES);
  copyBytes(out, outAt + IPV6_OFFSET_DESTINATION, slab, at + IPV6_OFFSET_SOURCE, IPV6_ADDRESS_BYTES);
  const icmpAt = outAt + IPV6_HEADER_BYTES;
  put8(out, icmpAt + ICMPV6_OFFSET_TYPE, type);
  put8(out, icmpAt + ICMPV6_OFFSET_CODE, code);
  put32(out, icmpAt + ICMPV6_OFFSET_MTU, mtuOr0);
  putIcmpv6Checksum(out, outAt, icmpBytes);
  return IPV6_HEADER_BYTES + icmpBytes;
}

/**
 * Fills in the checksum of the ICMPv6 message right behind an IPv6 header (RFC 4443 section 2.3).
 *
 * The addresses of the pseudo-header (RFC 8200 section 8.1) and the message lie next to each other, so they are one sum.
 *
 * @param at first byte of the IPv6 header, complete
 * @param icmpBytes 4..65,503: what a 16-bit count of the sum takes with the addresses
 */
export function putIcmpv6Checksum(out: Uint8Array, at: number, icmpBytes: number): void {
  const checksumAt = at + IPV6_HEADER_BYTES + ICMPV6_OFFSET_CHECKSUM;
  put16(out, checksumAt, 0);
  const sum = checksumSum(out, at + IPV6_OFFSET_SOURCE, 2 * IPV6_ADDRESS_BYTES + icmpBytes);
  put16(out, checksumAt, finishChecksum(sum + icmpBytes + NEXT_HEADER_ICMPV6));
}

function quotableBytes(slab: Uint8Array, at: number, length: number): number {
  return Math.min(length, ipv6TotalBytes(slab, at), ICMPV6_ERROR_MAX_BYTES - ANSWER_HEADER_BYTES);
}
