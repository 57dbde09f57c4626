/**
 * What a raw socket of ICMP sends and receives: echoes, and errors about them and about UDP datagrams (RFC 792, RFC 4443).
 *
 * The kernel hands over IPv4 packets with their IP header, and ICMPv6 messages without (raw(7), RFC 3542 section 3).
 */
import { put16, put8, u16, u8 } from '../bytes.js';
import { checksumSum, finishChecksum } from '../encap/checksum.js';
import {
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_FRAGMENTATION_NEEDED,
  ICMP_HEADER_BYTES,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
} from '../encap/icmp_header.js';
import {
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_TIME_EXCEEDED,
  ICMPV6_UNREACHABLE,
} from '../encap/icmpv6_header.js';
import {
  IPV4_MIN_HEADER_BYTES,
  ipv4HeaderBytes,
  ipv4Protocol,
  ipVersion,
  PROTOCOL_ICMP,
} from '../encap/ipv4_header.js';
import { IPV6_HEADER_BYTES, ipv6NextHeader, NEXT_HEADER_ICMPV6 } from '../encap/ipv6_header.js';
import type { IpFamily } from '../ip_address.js';

/** A message about one of our packets. */
export type IcmpMessage =
  | { readonly kind: 'reply'; readonly identifier: number; readonly sequence: number }
  | {
      readonly kind: 'tooBig';
      readonly identifier: number;
      readonly sequence: number;
      /** What passes; null from a router that does not tell (RFC 792 without RFC 1191). */
      readonly mtuBytes: number | null;
    }
  | {
      readonly kind: 'unreachable';
      readonly identifier: number;
      readonly sequence: number;
      readonly why: string;
    };

const ECHO_HEADER_BYTES = 8;
const OFFSET_CHECKSUM = 2;
const OFFSET_IDENTIFIER = 4;
const OFFSET_SEQUENCE = 6;

/** Bytes of an IP header without options. */
export function ipHeaderBytes(family: IpFamily): number {
  return family === 4 ? IPV4_MIN_HEADER_BYTES : IPV6_HEADER_BYTES;
}

/** The smallest packet of an echo, with its IP header. */
export function leastEchoBytes(family: IpFamily): number {
  return ipHeaderBytes(family) + ECHO_HEADER_BYTES;
}

/**
 * Writes an echo request without IP header; of ICMPv6 the kernel fills in the checksum (RFC 3542 section 3.1).
 *
 * @param packetBytes with the IP header: {@link leastEchoBytes} to 65,535
 * @param identifier 0..65,535, as `sequence`
 */
export function echoRequest(
  family: IpFamily,
  packetBytes: number,
  identifier: number,
  sequence: number,
): Buffer {
  const message = Buffer.alloc(packetBytes - ipHeaderBytes(family));
  put8(message, 0, family === 4 ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST);
  put16(message, OFFSET_IDENTIFIER, identifier);
  put16(message, OFFSET_SEQUENCE, sequence);
  if (family === 4) put16(message, OFFSET_CHECKSUM, finishChecksum(checksumSum(message, 0, message.length)));
  return message;
}

/**
 * Reads what a raw socket received; undefined for all that is not about an echo request, or is cut short.
 *
 * @param bytes as the kernel hands them over; may be of anybody
 */
export function readIcmp(family: IpFamily, bytes: Uint8Array): IcmpMessage | undefined {
  const at = family === 4 ? ipv4PayloadAt(bytes, 0) : 0;
  if (at === undefined || bytes.length < at + ICMP_HEADER_BYTES) return undefined;
  const type = u8(bytes, at);
  if (type === (family === 4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY)) {
    return {
      kind: 'reply',
      identifier: u16(bytes, at + OFFSET_IDENTIFIER),
      sequence: u16(bytes, at + OFFSET_SEQUENCE),
    };
  }
  const about = quotedEcho(family, bytes, at + ICMP_HEADER_BYTES);
  if (about === undefined) return undefined;
  return family === 4 ? readError(bytes, at, type, about) : readIpv6Error(bytes, at, type, about);
}

interface QuotedEcho {
  readonly identifier: number;
  readonly sequence: number;
}

function readError(bytes: Uint8Array, at: number, type: number, about: QuotedEcho): IcmpMessage | undefined {
  const code = u8(bytes, at + 1);
  if (type === ICMP_TIME_EXCEEDED) return { kind: 'unreachable', why: TIME_EXCEEDED, ...about };
  if (type !== ICMP_UNREACHABLE) return undefined;
  if (code === ICMP_FRAGMENTATION_NEEDED) {
    return { kind: 'tooBig', mtuBytes: u16(bytes, at + 6) || null, ...about };
  }
  return { kind: 'unreachable', why: IPV4_UNREACHABLE[code] ?? `unreachable, code ${code}`, ...about };
}

function readIpv6Error(
  bytes: Uint8Array,
  at: number,
  type: number,
  about: QuotedEcho,
): IcmpMessage | undefined {
  const code = u8(bytes, at + 1);
  switch (type) {
    case ICMPV6_PACKET_TOO_BIG:
      return { kind: 'tooBig', mtuBytes: u16(bytes, at + 4) * 0x1_0000 + u16(bytes, at + 6), ...about };
    case ICMPV6_TIME_EXCEEDED:
      return { kind: 'unreachable', why: TIME_EXCEEDED, ...about };
    case ICMPV6_UNREACHABLE:
      return { kind: 'unreachable', why: IPV6_UNREACHABLE[code] ?? `unreachable, code ${code}`, ...about };
    default:
      return undefined;
  }
}

const TIME_EXCEEDED = 'time to live exceeded: a loop, or too many routers';
/** By code: RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1. */
const IPV4_UNREACHABLE: readonly string[] = [
  'net unreachable',
  'host unreachable',
  'protocol unreachable',
  'port unreachable',
  'fragmentation needed',
  'source route failed',
  'net unknown',
  'host unknown',
  'source host isolated',
  'net prohibited',
  'host prohibited',
  'net unreachable for this type of service',
  'host unreachable for this type of service',
  'prohibited by a filter',
];
/** By code: RFC 4443 section 3.1. */
const IPV6_UNREACHABLE: readonly string[] = [
  'no route',
  'prohibited by a filter',
  'beyond the scope of the source address',
  'address unreachable',
  'port unreachable',
  'source address refused',
  'route refused',
];

/** The echo request that an error quotes. */
function quotedEcho(family: IpFamily, bytes: Uint8Array, at: number): QuotedEcho | undefined {
  const echoAt = family === 4 ? ipv4PayloadAt(bytes, at) : ipv6EchoAt(bytes, at);
  if (echoAt === undefined || bytes.length < echoAt + ECHO_HEADER_BYTES) return undefined;
  if (u8(bytes, echoAt) !== (family === 4 ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST)) return undefined;
  return {
    identifier: u16(bytes, echoAt + OFFSET_IDENTIFIER),
    sequence: u16(bytes, echoAt + OFFSET_SEQUENCE),
  };
}

/** Where the ICMP message of an IPv4 packet begins. */
function ipv4PayloadAt(bytes: Uint8Array, at: number): number | undefined {
  if (bytes.length < at + IPV4_MIN_HEADER_BYTES) return undefined;
  const headerBytes = ipv4HeaderBytes(bytes, at);
  const isIcmp = ipVersion(bytes, at) === 4 && ipv4Protocol(bytes, at) === PROTOCOL_ICMP;
  return isIcmp && headerBytes >= IPV4_MIN_HEADER_BYTES ? at + headerBytes : undefined;
}

/** Our requests have no extension headers. */
function ipv6EchoAt(bytes: Uint8Array, at: number): number | undefined {
  if (bytes.length < at + IPV6_HEADER_BYTES) return undefined;
  const isEcho = ipVersion(bytes, at) === 6 && ipv6NextHeader(bytes, at) === NEXT_HEADER_ICMPV6;
  return isEcho ? at + IPV6_HEADER_BYTES : undefined;
}
