/**
 * Echo requests of our own, and the replies to them, of either family (RFC 792; RFC 4443 section 4).
 *
 * ```text
 * +----------------------+---------------+---------------+-------------------------------+
 * | IPv4, 20 bytes, or   |     type      |     code      |           checksum            |
 * | IPv6, 40 bytes       +---------------+---------------+-------------------------------+
 * |                      |          identifier           |        sequence number        |
 * +----------------------+-------------------------------+-------------------------------+
 * |                                 zeros to the asked size                              |
 * +--------------------------------------------------------------------------------------+
 * ```
 */

import { struct, u16be, u8 as u8Field } from 'buffer-layout';
import { fieldOffset } from '../field_offset.js';
import { put16, put32, put8, u16, u8 } from '../bytes.js';
import { ADDRESS_WORDS, type IpAddress } from '../ip_address.js';
import { checksumSum, finishChecksum } from './checksum.js';
import { ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST } from './icmp_header.js';
import { putIcmpv6Checksum } from './icmpv6_error.js';
import { ICMPV6_ECHO_REPLY, ICMPV6_ECHO_REQUEST } from './icmpv6_header.js';
import {
  IPV4_DF,
  IPV4_FRAGMENT_BITS,
  IPV4_MIN_HEADER_BYTES,
  IPV4_OFFSET_CHECKSUM,
  IPV4_OFFSET_DESTINATION,
  IPV4_OFFSET_FRAGMENT,
  IPV4_OFFSET_PROTOCOL,
  IPV4_OFFSET_SOURCE,
  IPV4_OFFSET_TOTAL_BYTES,
  IPV4_OFFSET_TTL,
  IPV4_OFFSET_VERSION_IHL,
  IPV4_PLAIN_FIRST_BYTE,
  PROTOCOL_ICMP,
  ipVersion,
  ipv4Fragment,
  ipv4HeaderBytes,
  ipv4Protocol,
  ipv4TotalBytes,
} from './ipv4_header.js';
import {
  IPV6_HEADER_BYTES,
  IPV6_OFFSET_DESTINATION,
  IPV6_OFFSET_HOP_LIMIT,
  IPV6_OFFSET_NEXT_HEADER,
  IPV6_OFFSET_PAYLOAD_BYTES,
  IPV6_OFFSET_SOURCE,
  IPV6_OFFSET_VERSION_CLASS_FLOW,
  NEXT_HEADER_ICMPV6,
  ipv6NextHeader,
  ipv6TotalBytes,
} from './ipv6_header.js';

/** The fields as {@link ECHO_LAYOUT} decodes them. */
export interface EchoFields {
  type: number;
  code: number;
  checksum: number;
  identifier: number;
  sequence: number;
}

/** The message's header, the same in both families. Not for the hot path. */
export const ECHO_LAYOUT = struct<EchoFields>([
  u8Field('type'),
  u8Field('code'),
  u16be('checksum'),
  u16be('identifier'),
  u16be('sequence'),
]);

const ECHO_OFFSET_TYPE = fieldOffset(ECHO_LAYOUT, 'type');
const ECHO_OFFSET_CHECKSUM = fieldOffset(ECHO_LAYOUT, 'checksum');
const ECHO_OFFSET_IDENTIFIER = fieldOffset(ECHO_LAYOUT, 'identifier');
const ECHO_OFFSET_SEQUENCE = fieldOffset(ECHO_LAYOUT, 'sequence');
const ECHO_HEADER_BYTES = ECHO_LAYOUT.span;

/** The smallest {@link EchoRequest.totalBytes}. */
export const MIN_IPV4_ECHO_BYTES = IPV4_MIN_HEADER_BYTES + ECHO_HEADER_BYTES;
/** The smallest {@link EchoRequest.totalBytes}. */
export const MIN_IPV6_ECHO_BYTES = IPV6_HEADER_BYTES + ECHO_HEADER_BYTES;

const HOP_LIMIT = 64;
const VERSION_6 = 0x6000_0000;

/** What {@link writeEcho} is to write. */
export interface EchoRequest {
  readonly source: IpAddress;
  /** Of the source's family. */
  readonly destination: IpAddress;
  /** 0..65,535 */
  readonly identifier: number;
  /** 0..65,535 */
  readonly sequence: number;
  /** Of the whole packet: 28 (IPv6: 48) to 65,535. */
  readonly totalBytes: number;
}

/**
 * Writes an echo request as a whole packet with its checksums: hop limit 64, of IPv4 with don't-fragment, so that it
 * arrives in one piece or not at all.
 */
export function writeEcho(request: EchoRequest): Uint8Array {
  const packet = new Uint8Array(request.totalBytes);
  if (request.source.family === 4) {
    putIpv4Header(packet, request);
    putEchoHeader(packet, IPV4_MIN_HEADER_BYTES, ICMP_ECHO_REQUEST, request);
    const icmpBytes = request.totalBytes - IPV4_MIN_HEADER_BYTES;
    const checksum = finishChecksum(checksumSum(packet, IPV4_MIN_HEADER_BYTES, icmpBytes));
    put16(packet, IPV4_MIN_HEADER_BYTES + ECHO_OFFSET_CHECKSUM, checksum);
  } else {
    putIpv6Header(packet, request);
    putEchoHeader(packet, IPV6_HEADER_BYTES, ICMPV6_ECHO_REQUEST, request);
    putIcmpv6Checksum(packet, 0, request.totalBytes - IPV6_HEADER_BYTES);
  }
  return packet;
}

/**
 * Is this frame a whole echo reply to a request with this identifier?
 *
 * Replies behind extension headers are not looked for: the kernel that answers puts none there. The checksum of the message
 * is not verified; who can send one here as the peer can send any.
 *
 * @param at first byte of a sound header of either family
 * @param length bytes of the frame
 * @param identifier 0..65,535
 * @remarks Allocates nothing, never throws. A frame of another protocol costs two loads.
 */
export function isEchoReply(slab: Uint8Array, at: number, length: number, identifier: number): boolean {
  if (ipVersion(slab, at) === 6) {
    return (
      ipv6NextHeader(slab, at) === NEXT_HEADER_ICMPV6 &&
      length >= MIN_IPV6_ECHO_BYTES &&
      isReply(slab, at + IPV6_HEADER_BYTES, ICMPV6_ECHO_REPLY, identifier)
    );
  }
  if (ipv4Protocol(slab, at) !== PROTOCOL_ICMP) return false;
  if ((ipv4Fragment(slab, at) & IPV4_FRAGMENT_BITS) !== 0) return false;
  const headerBytes = ipv4HeaderBytes(slab, at);
  return (
    length >= headerBytes + ECHO_HEADER_BYTES && isReply(slab, at + headerBytes, ICMP_ECHO_REPLY, identifier)
  );
}

/** The sequence number of a frame that {@link isEchoReply} recognised: 0..65,535. */
export function echoSequence(slab: Uint8Array, at: number): number {
  const headerBytes = ipVersion(slab, at) === 6 ? IPV6_HEADER_BYTES : ipv4HeaderBytes(slab, at);
  return u16(slab, at + headerBytes + ECHO_OFFSET_SEQUENCE);
}

/** Bytes of the whole packet, as the header of a frame that {@link isEchoReply} recognised claims. */
export function echoTotalBytes(slab: Uint8Array, at: number): number {
  return ipVersion(slab, at) === 6 ? ipv6TotalBytes(slab, at) : ipv4TotalBytes(slab, at);
}

function isReply(slab: Uint8Array, icmpAt: number, type: number, identifier: number): boolean {
  return (
    u8(slab, icmpAt + ECHO_OFFSET_TYPE) === type && u16(slab, icmpAt + ECHO_OFFSET_IDENTIFIER) === identifier
  );
}

function putEchoHeader(packet: Uint8Array, icmpAt: number, type: number, request: EchoRequest): void {
  put8(packet, icmpAt + ECHO_OFFSET_TYPE, type);
  put16(packet, icmpAt + ECHO_OFFSET_IDENTIFIER, request.identifier);
  put16(packet, icmpAt + ECHO_OFFSET_SEQUENCE, request.sequence);
}

function putIpv4Header(packet: Uint8Array, { source, destination, totalBytes }: EchoRequest): void {
  put8(packet, IPV4_OFFSET_VERSION_IHL, IPV4_PLAIN_FIRST_BYTE);
  put16(packet, IPV4_OFFSET_TOTAL_BYTES, totalBytes);
  put16(packet, IPV4_OFFSET_FRAGMENT, IPV4_DF);
  put8(packet, IPV4_OFFSET_TTL, HOP_LIMIT);
  put8(packet, IPV4_OFFSET_PROTOCOL, PROTOCOL_ICMP);
  put32(packet, IPV4_OFFSET_SOURCE, source.words[0]!);
  put32(packet, IPV4_OFFSET_DESTINATION, destination.words[0]!);
  put16(packet, IPV4_OFFSET_CHECKSUM, finishChecksum(checksumSum(packet, 0, IPV4_MIN_HEADER_BYTES)));
}

function putIpv6Header(packet: Uint8Array, { source, destination, totalBytes }: EchoRequest): void {
  put32(packet, IPV6_OFFSET_VERSION_CLASS_FLOW, VERSION_6);
  put16(packet, IPV6_OFFSET_PAYLOAD_BYTES, totalBytes - IPV6_HEADER_BYTES);
  put8(packet, IPV6_OFFSET_NEXT_HEADER, NEXT_HEADER_ICMPV6);
  put8(packet, IPV6_OFFSET_HOP_LIMIT, HOP_LIMIT);
  putAddress(packet, IPV6_OFFSET_SOURCE, source);
  putAddress(packet, IPV6_OFFSET_DESTINATION, destination);
}

function putAddress(packet: Uint8Array, at: number, { words }: IpAddress): void {
  for (let word = 0; word < ADDRESS_WORDS; word++) put32(packet, at + 4 * word, words[word]!);
}
