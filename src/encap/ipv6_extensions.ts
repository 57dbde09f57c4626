/**
 * Extension headers (RFC 8200 section 4): where does the upper layer of an IPv6 packet begin, and what is it?
 *
 * A router forwards whatever the chain holds (RFC 8200 section 4: not examined on the way), so nothing is dropped for it.
 * It is walked only to learn whether a packet is an ICMPv6 error, and to say what a frame was.
 *
 * ```text
 * +-------------+-------------+----------------------------------+
 * | next header |   length    |  ...                             |
 * +-------------+-------------+----------------------------------+
 *
 *  most of them          (length + 1) * 8 bytes      RFC 8200 section 4, RFC 6275, RFC 7401, RFC 5533
 *  authentication        (length + 2) * 4 bytes      RFC 4302 section 2.2
 *  fragment              8 bytes, offset in bits 0..12 of bytes 2 and 3      RFC 8200 section 4.5
 * ```
 */

import { u16, u8 } from '../bytes.js';
import {
  IPV6_HEADER_BYTES,
  NEXT_HEADER_AUTHENTICATION,
  NEXT_HEADER_DESTINATION_OPTIONS,
  NEXT_HEADER_FRAGMENT,
  NEXT_HEADER_HIP,
  NEXT_HEADER_HOP_BY_HOP,
  NEXT_HEADER_MOBILITY,
  NEXT_HEADER_ROUTING,
  NEXT_HEADER_SHIM6,
  ipv6NextHeader,
  ipv6TotalBytes,
} from './ipv6_header.js';

/**
 * Headers walked at most. RFC 8200 section 4.1 recommends seven at most in one packet; a longer chain is some sender's
 * experiment or attack.
 */
export const MAX_EXTENSION_HEADERS = 8;

/** What {@link findUpperLayer} returns when the packet does not tell. */
export const UPPER_LAYER_UNKNOWN = -1;

/** Every extension header has at least a next header and a length. */
const PREAMBLE_BYTES = 2;
const FRAGMENT_BYTES = 8;
const FRAGMENT_OFFSET_BITS = 0xfff8;

/**
 * Finds the upper layer of an IPv6 packet.
 *
 * ESP, "no next header" and numbers that nobody has assigned count as upper layers: nothing behind them can be read.
 *
 * @param at first byte of a header that classifyIpv6 found sound
 * @param length bytes of the packet that lie in the slab at `at`, 40 or more; bytes beyond what the header claims are not read
 * @returns for {@link upperProtocol} and {@link upperOffset}; {@link UPPER_LAYER_UNKNOWN} for a chain that is cut or has more
 *   than {@link MAX_EXTENSION_HEADERS} headers, and for a later fragment whose chain lies in the first one
 * @remarks Allocates nothing, never throws, whatever the bytes are.
 */
export function findUpperLayer(slab: Uint8Array, at: number, length: number): number {
  const end = Math.min(length, ipv6TotalBytes(slab, at));
  let header = ipv6NextHeader(slab, at);
  let offset = IPV6_HEADER_BYTES;
  for (let count = 0; isExtensionHeader(header); count++) {
    if (count === MAX_EXTENSION_HEADERS || offset + PREAMBLE_BYTES > end) return UPPER_LAYER_UNKNOWN;
    const headerBytes = extensionHeaderBytes(header, u8(slab, at + offset + 1));
    if (offset + headerBytes > end) return UPPER_LAYER_UNKNOWN;
    const next = u8(slab, at + offset);
    if (header === NEXT_HEADER_FRAGMENT && (u16(slab, at + offset + 2) & FRAGMENT_OFFSET_BITS) !== 0) {
      return isExtensionHeader(next) ? UPPER_LAYER_UNKNOWN : next;
    }
    header = next;
    offset += headerBytes;
  }
  return (offset << 8) | header;
}

/** The protocol number of the upper layer that was found. */
export function upperProtocol(found: number): number {
  return found & 0xff;
}

/**
 * Bytes from the IPv6 header to the upper layer's; 0 in a later fragment, which has none of it. It may be the end of the
 * packet: that a header is announced does not mean that it is there.
 */
export function upperOffset(found: number): number {
  return found >> 8;
}

function isExtensionHeader(header: number): boolean {
  switch (header) {
    case NEXT_HEADER_HOP_BY_HOP:
    case NEXT_HEADER_ROUTING:
    case NEXT_HEADER_FRAGMENT:
    case NEXT_HEADER_AUTHENTICATION:
    case NEXT_HEADER_DESTINATION_OPTIONS:
    case NEXT_HEADER_MOBILITY:
    case NEXT_HEADER_HIP:
    case NEXT_HEADER_SHIM6:
      return true;
    default:
      return false;
  }
}

function extensionHeaderBytes(header: number, length: number): number {
  if (header === NEXT_HEADER_FRAGMENT) return FRAGMENT_BYTES;
  return header === NEXT_HEADER_AUTHENTICATION ? (length + 2) << 2 : (length + 1) << 3;
}
