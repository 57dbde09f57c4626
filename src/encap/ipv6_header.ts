/**
 * The IPv6 header (RFC 8200 section 3).
 *
 * ```text
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * +-------+---------------+---------------------------------------+
 * |   6   | traffic class |              flow label               |
 * +-------+---------------+-------+---------------+---------------+
 * |        payload length         |  next header  |   hop limit   |
 * +-------------------------------+---------------+---------------+
 * |                                                               |
 * +                                                               +
 * |                   source address, 16 bytes                    |
 * +                                                               +
 * |                                                               |
 * +                                                               +
 * |                                                               |
 * +---------------------------------------------------------------+
 * |                                                               |
 * +                                                               +
 * |                 destination address, 16 bytes                 |
 * +                                                               +
 * |                                                               |
 * +                                                               +
 * |                                                               |
 * +---------------------------------------------------------------+
 * |   extension headers (ipv6_extensions.ts), upper layer ...     |
 * +---------------------------------------------------------------+
 * ```
 *
 * Accessors take the slab and `at`, the first byte of the header. The caller knows that the header lies inside.
 */

import { struct, s32be, u16be, u8 as u8Field } from 'buffer-layout';
import { fieldOffset } from '../field_offset.js';
import { u16, u8 } from '../bytes.js';

/** The fields as {@link IPV6_LAYOUT} decodes them; an address is four int32 words. */
export interface Ipv6Fields {
  versionClassFlow: number;
  payloadBytes: number;
  nextHeader: number;
  hopLimit: number;
  source0: number;
  source1: number;
  source2: number;
  source3: number;
  destination0: number;
  destination1: number;
  destination2: number;
  destination3: number;
}

/** The one description of the header: offsets come from it, and tests decode with it. Not for the hot path. */
export const IPV6_LAYOUT = struct<Ipv6Fields>([
  s32be('versionClassFlow'),
  u16be('payloadBytes'),
  u8Field('nextHeader'),
  u8Field('hopLimit'),
  s32be('source0'),
  s32be('source1'),
  s32be('source2'),
  s32be('source3'),
  s32be('destination0'),
  s32be('destination1'),
  s32be('destination2'),
  s32be('destination3'),
]);

export const IPV6_OFFSET_VERSION_CLASS_FLOW = fieldOffset(IPV6_LAYOUT, 'versionClassFlow');
export const IPV6_OFFSET_PAYLOAD_BYTES = fieldOffset(IPV6_LAYOUT, 'payloadBytes');
export const IPV6_OFFSET_NEXT_HEADER = fieldOffset(IPV6_LAYOUT, 'nextHeader');
export const IPV6_OFFSET_HOP_LIMIT = fieldOffset(IPV6_LAYOUT, 'hopLimit');
export const IPV6_OFFSET_SOURCE = fieldOffset(IPV6_LAYOUT, 'source0');
export const IPV6_OFFSET_DESTINATION = fieldOffset(IPV6_LAYOUT, 'destination0');

/** Bytes of the header; extension headers count as payload. */
export const IPV6_HEADER_BYTES = IPV6_LAYOUT.span;

export const IPV6_ADDRESS_BYTES = IPV6_OFFSET_DESTINATION - IPV6_OFFSET_SOURCE;

/** Every IPv6 link carries packets of this size (RFC 8200 section 5). */
export const IPV6_MIN_MTU_BYTES = 1280;

/** Next header values (IANA protocol numbers). */
export const NEXT_HEADER_HOP_BY_HOP = 0;
export const NEXT_HEADER_ROUTING = 43;
export const NEXT_HEADER_FRAGMENT = 44;
export const NEXT_HEADER_AUTHENTICATION = 51;
export const NEXT_HEADER_ICMPV6 = 58;
export const NEXT_HEADER_DESTINATION_OPTIONS = 60;
export const NEXT_HEADER_MOBILITY = 135;
export const NEXT_HEADER_HIP = 139;
export const NEXT_HEADER_SHIM6 = 140;

/** Bytes behind the header, as it claims: 0..65,535. */
export function ipv6PayloadBytes(slab: Uint8Array, at: number): number {
  return u16(slab, at + IPV6_OFFSET_PAYLOAD_BYTES);
}

/** Bytes of header and payload, as the header claims: 40..65,575. */
export function ipv6TotalBytes(slab: Uint8Array, at: number): number {
  return IPV6_HEADER_BYTES + ipv6PayloadBytes(slab, at);
}

export function ipv6NextHeader(slab: Uint8Array, at: number): number {
  return u8(slab, at + IPV6_OFFSET_NEXT_HEADER);
}

export function ipv6HopLimit(slab: Uint8Array, at: number): number {
  return u8(slab, at + IPV6_OFFSET_HOP_LIMIT);
}
