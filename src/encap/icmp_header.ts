/**
 * The ICMP header (RFC 792; next-hop MTU: RFC 1191 section 4).
 *
 * ```text
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * +---------------+---------------+-------------------------------+
 * |     type      |     code      |           checksum            |
 * +---------------+---------------+-------------------------------+
 * |            unused             |  next-hop MTU (3/4), else 0   |
 * +-------------------------------+-------------------------------+
 * |   IP header of the offending frame, and what follows it ...   |
 * +---------------------------------------------------------------+
 * ```
 */

import { struct, u16be, u8 as u8Field } from 'buffer-layout';
import { fieldOffset } from '../field_offset.js';
import { u8 } from '../bytes.js';

/** The fields as {@link ICMP_LAYOUT} decodes them. */
export interface IcmpFields {
  type: number;
  code: number;
  checksum: number;
  unused: number;
  nextHopMtu: number;
}

/** The one description of the header: offsets come from it, and tests decode with it. Not for the hot path. */
export const ICMP_LAYOUT = struct<IcmpFields>([
  u8Field('type'),
  u8Field('code'),
  u16be('checksum'),
  u16be('unused'),
  u16be('nextHopMtu'),
]);

export const ICMP_OFFSET_TYPE = fieldOffset(ICMP_LAYOUT, 'type');
export const ICMP_OFFSET_CODE = fieldOffset(ICMP_LAYOUT, 'code');
export const ICMP_OFFSET_CHECKSUM = fieldOffset(ICMP_LAYOUT, 'checksum');
export const ICMP_OFFSET_UNUSED = fieldOffset(ICMP_LAYOUT, 'unused');
export const ICMP_OFFSET_NEXT_HOP_MTU = fieldOffset(ICMP_LAYOUT, 'nextHopMtu');

export const ICMP_HEADER_BYTES = ICMP_LAYOUT.span;

/** RFC 792, echo. */
export const ICMP_ECHO_REPLY = 0;
export const ICMP_ECHO_REQUEST = 8;

/** RFC 792, destination unreachable. */
export const ICMP_UNREACHABLE = 3;
/** Codes of {@link ICMP_UNREACHABLE}. */
export const ICMP_NET_UNREACHABLE = 0;
export const ICMP_HOST_UNREACHABLE = 1;
export const ICMP_FRAGMENTATION_NEEDED = 4;
/** RFC 792, time exceeded. */
export const ICMP_TIME_EXCEEDED = 11;
/** Code of {@link ICMP_TIME_EXCEEDED}: the TTL ran out in transit. */
export const ICMP_IN_TRANSIT = 0;

/**
 * Is a type one of the queries and replies (RFC 1122 section 3.2.2, RFC 792, RFC 950, RFC 1256)?
 *
 * Everything else is an error message, or unknown, and is never answered with an error.
 */
export function isIcmpQuery(type: number): boolean {
  switch (type) {
    case 0: // echo reply
    case 8: // echo
    case 9: // router advertisement
    case 10: // router solicitation
    case 13: // timestamp
    case 14: // timestamp reply
    case 15: // information request
    case 16: // information reply
    case 17: // address mask request
    case 18: // address mask reply
      return true;
    default:
      return false;
  }
}

export function icmpType(slab: Uint8Array, at: number): number {
  return u8(slab, at + ICMP_OFFSET_TYPE);
}
