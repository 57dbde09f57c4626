/**
 * The IPv4 header (RFC 791 section 3.1).
 *
 * ```text
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * +-------+-------+---------------+-------------------------------+
 * |   4   |  IHL  |      TOS      |         total length          |
 * +-------+-------+---------------+-----+-------------------------+
 * |        identification         |flags|     fragment offset     |
 * +---------------+---------------+-----+-------------------------+
 * |      TTL      |   protocol    |        header checksum        |
 * +---------------+---------------+-------------------------------+
 * |                        source address                         |
 * +---------------------------------------------------------------+
 * |                      destination address                      |
 * +---------------------------------------------------------------+
 * |            options, 0..40 bytes (IHL - 5 words) ...           |
 * +---------------------------------------------------------------+
 * ```
 *
 * Accessors take the slab and `at`, the first byte of the header. The caller knows that the header lies inside.
 */

import { struct, u16be, u8 as u8Field, s32be } from 'buffer-layout';
import { fieldOffset } from '../field_offset.js';
import { i32, u16, u8 } from '../bytes.js';

/** The fields as {@link IPV4_LAYOUT} decodes them. */
export interface Ipv4Fields {
  versionIhl: number;
  tos: number;
  totalBytes: number;
  identification: number;
  fragment: number;
  ttl: number;
  protocol: number;
  checksum: number;
  source: number;
  destination: number;
}

/** The one description of the header: offsets come from it, and tests decode with it. Not for the hot path. */
export const IPV4_LAYOUT = struct<Ipv4Fields>([
  u8Field('versionIhl'),
  u8Field('tos'),
  u16be('totalBytes'),
  u16be('identification'),
  u16be('fragment'),
  u8Field('ttl'),
  u8Field('protocol'),
  u16be('checksum'),
  s32be('source'),
  s32be('destination'),
]);

export const IPV4_OFFSET_VERSION_IHL = fieldOffset(IPV4_LAYOUT, 'versionIhl');
export const IPV4_OFFSET_TOS = fieldOffset(IPV4_LAYOUT, 'tos');
export const IPV4_OFFSET_TOTAL_BYTES = fieldOffset(IPV4_LAYOUT, 'totalBytes');
export const IPV4_OFFSET_IDENTIFICATION = fieldOffset(IPV4_LAYOUT, 'identification');
export const IPV4_OFFSET_FRAGMENT = fieldOffset(IPV4_LAYOUT, 'fragment');
export const IPV4_OFFSET_TTL = fieldOffset(IPV4_LAYOUT, 'ttl');
export const IPV4_OFFSET_PROTOCOL = fieldOffset(IPV4_LAYOUT, 'protocol');
export const IPV4_OFFSET_CHECKSUM = fieldOffset(IPV4_LAYOUT, 'checksum');
export const IPV4_OFFSET_SOURCE = fieldOffset(IPV4_LAYOUT, 'source');
export const IPV4_OFFSET_DESTINATION = fieldOffset(IPV4_LAYOUT, 'destination');

/** Bytes of a header without options. */
export const IPV4_MIN_HEADER_BYTES = IPV4_LAYOUT.span;

/** First byte of a header without options: version 4, IHL 5. */
export const IPV4_PLAIN_FIRST_BYTE = 0x45;

/** Bits of the fragment word: don't fragment. */
export const IPV4_DF = 0x4000;
/** Bits of the fragment word that are set in any fragment: "more fragments" and the offset. */
export const IPV4_FRAGMENT_BITS = 0x3fff;
/** Bits of the fragment word: the offset, zero in the first fragment. */
export const IPV4_FRAGMENT_OFFSET_BITS = 0x1fff;

/** Protocol number of ICMP. */
export const PROTOCOL_ICMP = 1;

/** 4 or 6 for a frame we know; anything 0..15. */
export function ipVersion(slab: Uint8Array, at: number): number {
  return u8(slab, at + IPV4_OFFSET_VERSION_IHL) >>> 4;
}

/** Bytes of the header with its options, as the header claims: 0..60. */
export function ipv4HeaderBytes(slab: Uint8Array, at: number): number {
  return (u8(slab, at + IPV4_OFFSET_VERSION_IHL) & 0x0f) << 2;
}

/** Bytes of header and payload, as the header claims. */
export function ipv4TotalBytes(slab: Uint8Array, at: number): number {
  return u16(slab, at + IPV4_OFFSET_TOTAL_BYTES);
}

/** Flags and fragment offset. */
export function ipv4Fragment(slab: Uint8Array, at: number): number {
  return u16(slab, at + IPV4_OFFSET_FRAGMENT);
}

export function ipv4Ttl(slab: Uint8Array, at: number): number {
  return u8(slab, at + IPV4_OFFSET_TTL);
}

export function ipv4Protocol(slab: Uint8Array, at: number): number {
  return u8(slab, at + IPV4_OFFSET_PROTOCOL);
}

/** Source address as int32. */
export function ipv4Source(slab: Uint8Array, at: number): number {
  return i32(slab, at + IPV4_OFFSET_SOURCE);
}

/** Destination address as int32. */
export function ipv4Destination(slab: Uint8Array, at: number): number {
  return i32(slab, at + IPV4_OFFSET_DESTINATION);
}
