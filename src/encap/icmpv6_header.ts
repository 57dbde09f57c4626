/**
 * The ICMPv6 header (RFC 4443 section 2.1; of errors section 3).
 *
 * ```text
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * +---------------+---------------+-------------------------------+
 * |     type      |     code      |           checksum            |
 * +---------------+---------------+-------------------------------+
 * |            MTU ("packet too big"), otherwise 0                |
 * +---------------------------------------------------------------+
 * |   IPv6 header of the offending frame, and what follows it ... |
 * +---------------------------------------------------------------+
 * ```
 */

import { struct, s32be, u16be, u8 as u8Field } from 'buffer-layout';
import { fieldOffset } from '../field_offset.js';
import { u8 } from '../bytes.js';

/** The fields as {@link ICMPV6_LAYOUT} decodes them. */
export interface Icmpv6Fields {
  type: number;
  code: number;
  checksum: number;
  mtu: number;
}

/** The one description of the header: offsets come from it, and tests decode with it. Not for the hot path. */
export const ICMPV6_LAYOUT = struct<Icmpv6Fields>([
  u8Field('type'),
  u8Field('code'),
  u16be('checksum'),
  s32be('mtu'),
]);

export const ICMPV6_OFFSET_TYPE = fieldOffset(ICMPV6_LAYOUT, 'type');
export const ICMPV6_OFFSET_CODE = fieldOffset(ICMPV6_LAYOUT, 'code');
export const ICMPV6_OFFSET_CHECKSUM = fieldOffset(ICMPV6_LAYOUT, 'checksum');
export const ICMPV6_OFFSET_MTU = fieldOffset(ICMPV6_LAYOUT, 'mtu');

export const ICMPV6_HEADER_BYTES = ICMPV6_LAYOUT.span;

/** RFC 4443 section 3.1, destination unreachable. */
export const ICMPV6_UNREACHABLE = 1;
/** Codes of {@link ICMPV6_UNREACHABLE}. */
export const ICMPV6_NO_ROUTE = 0;
export const ICMPV6_ADDRESS_UNREACHABLE = 3;
/** RFC 4443 section 3.2; its code is 0. */
export const ICMPV6_PACKET_TOO_BIG = 2;
/** RFC 4443 section 3.3, time exceeded. */
export const ICMPV6_TIME_EXCEEDED = 3;
/** Code of {@link ICMPV6_TIME_EXCEEDED}. */
export const ICMPV6_HOP_LIMIT_EXCEEDED = 0;
/** RFC 4443 sections 4.1 and 4.2. */
export const ICMPV6_ECHO_REQUEST = 128;
export const ICMPV6_ECHO_REPLY = 129;

const FIRST_INFORMATIONAL = 128;
const REDIRECT = 137; // RFC 4861 section 4.5

/**
 * May a message of this type be answered with an error (RFC 4443 section 2.4 e.1 and e.2)? Informational messages but the
 * redirect; types below 128 are errors, known or not.
 */
export function isIcmpv6Informational(type: number): boolean {
  return type >= FIRST_INFORMATIONAL && type !== REDIRECT;
}

export function icmpv6Type(slab: Uint8Array, at: number): number {
  return u8(slab, at + ICMPV6_OFFSET_TYPE);
}
