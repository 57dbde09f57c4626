import { SelvageError } from './errors.js';
import { quote, QUOTED_CHARS } from './quote.js';

/**
 * An IPv4 prefix. Addresses are host-order int32 (may be negative): `-1062731519` is 192.168.1.1.
 */
export interface Ipv4Prefix {
  readonly family: 4;
  /** First address; bits after the first `bits` are zero. */
  readonly address: number;
  /** Prefix length, 0..32. */
  readonly bits: number;
}

const ADDRESS_BITS = 32;
const OCTETS = 4;
const DOT = 0x2e;
const DIGIT_0 = 0x30;

/**
 * Reads a prefix in its one canonical spelling: dotted quad, `/`, decimal length; no spaces, no leading zeros, no host bits.
 * So equal prefixes have equal texts, and the text can serve as a key.
 *
 * @throws SelvageError ERR_PREFIX_INVALID naming what is wrong: the quad, the length, or host bits
 */
export function parseIpv4Prefix(text: string): Ipv4Prefix {
  const slash = text.indexOf('/');
  if (slash < 0) throw prefixError(text, 'the length, as in "/24", is missing');
  const address = scanIpv4(text, slash);
  if (address < 0) throw prefixError(text, whyNotIpv4(text.slice(0, slash)));
  const bits = scanLength(text, slash + 1);
  if (bits < 0) throw prefixError(text, `${quote(text.slice(slash))} is not a length from /0 to /32`);
  const prefix: Ipv4Prefix = { family: 4, address: address & maskOf(bits), bits };
  if ((address | 0) !== prefix.address) {
    throw prefixError(
      text,
      `bits are set after the first ${bits}; the prefix is ${formatIpv4Prefix(prefix)}`,
    );
  }
  return prefix;
}

/**
 * Reads a dotted quad: four decimal numbers 0..255 without leading zeros, which some parsers read as octal
 * (RFC 6943 section 3.1.1).
 *
 * @returns host-order int32
 * @throws SelvageError ERR_ADDRESS_INVALID naming what is wrong
 */
export function parseIpv4(text: string): number {
  const address = scanIpv4(text, text.length);
  if (address >= 0) return address | 0;
  throw new SelvageError(
    'ERR_ADDRESS_INVALID',
    `${quote(text)} is not an IPv4 address like 192.0.2.1: ${whyNotIpv4(text)}`,
  );
}

/** Dotted quad of a host-order int32. */
export function formatIpv4(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** The canonical text, as {@link parseIpv4Prefix} reads it. */
export function formatIpv4Prefix(prefix: Ipv4Prefix): string {
  return `${formatIpv4(prefix.address)}/${prefix.bits}`;
}

/** Whether every address of `inner` lies in `outer`; equal prefixes contain each other. */
export function containsIpv4Prefix(outer: Ipv4Prefix, inner: Ipv4Prefix): boolean {
  return inner.bits >= outer.bits && (inner.address & maskOf(outer.bits)) === outer.address;
}

/** Whether two prefixes share an address. Prefixes nest or are disjoint, so one of them contains the other. */
export function overlapsIpv4Prefix(a: Ipv4Prefix, b: Ipv4Prefix): boolean {
  return containsIpv4Prefix(a, b) || containsIpv4Prefix(b, a);
}

/**
 * Whether a host could send to and from this address: not "this network" 0/8, multicast 224/4, or reserved and broadcast
 * 240/4 (RFC 1122 section 3.2.1.3, RFC 1112 section 4). Loopback is unicast.
 */
export function isUnicastIpv4(address: number): boolean {
  const first = address >>> 24;
  return first !== 0 && first < 224;
}

/** The network mask as int32. A shift by 32 would be a shift by 0 (ECMA-262, "the << operator"), hence the special case. */
function maskOf(bits: number): number {
  return bits === 0 ? 0 : -1 << (ADDRESS_BITS - bits);
}

/** Reads a dotted quad in `text[0, end)`; 0..2^32-1, or -1. By hand: a file may hold 65,536 of them. */
function scanIpv4(text: string, end: number): number {
  let address = 0;
  let octets = 0;
  let at = 0;
  for (;;) {
    const start = at;
    let octet = 0;
    for (; at < end && at - start < 3; at++) {
      const digit = text.charCodeAt(at) - DIGIT_0;
      if (digit < 0 || digit > 9) break;
      octet = octet * 10 + digit;
    }
    if (at === start || octet > 255 || (at - start > 1 && text.charCodeAt(start) === DIGIT_0)) return -1;
    address = address * 256 + octet;
    octets++;
    if (octets === OCTETS) return at === end ? address : -1;
    if (at >= end || text.charCodeAt(at) !== DOT) return -1;
    at++;
  }
}

/** Reads a prefix length that ends the text; 0..32, or -1. */
function scanLength(text: string, at: number): number {
  const digits = text.slice(at);
  if (!/^(?:0|[1-9][0-9]?)$/.test(digits)) return -1;
  const bits = Number(digits);
  return bits <= ADDRESS_BITS ? bits : -1;
}

function whyNotIpv4(text: string): string {
  const parts = text.split('.');
  if (parts.length !== OCTETS) return 'expected four numbers from 0 to 255 with dots between them';
  for (const part of parts) {
    if (!/^[0-9]+$/.test(part)) return `${quote(part)} is not a number from 0 to 255`;
    if (Number(part) > 255) return `${part.slice(0, QUOTED_CHARS)} is above 255`;
    if (part.length > 1 && part.startsWith('0')) return `${part.slice(0, QUOTED_CHARS)} has a leading zero`;
  }
  return 'expected four numbers from 0 to 255 with dots between them';
}

function prefixError(text: string, reason: string): SelvageError {
  return new SelvageError(
    'ERR_PREFIX_INVALID',
    `${quote(text)} is not an IPv4 prefix like 10.1.2.0/24: ${reason}`,
  );
}
