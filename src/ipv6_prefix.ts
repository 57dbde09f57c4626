import { SelvageError } from './errors.js';
import { formatIpv4, parseIpv4 } from './ipv4_prefix.js';
import { quote } from './quote.js';

/**
 * An IPv6 prefix. For the control plane: a bigint on the hot path would be garbage, so lanes read words and bytes.
 */
export interface Ipv6Prefix {
  readonly family: 6;
  /** First address, 0..2^128-1; bits after the first `bits` are zero. */
  readonly address: bigint;
  /** Prefix length, 0..128. */
  readonly bits: number;
}

const ADDRESS_BITS = 128;
const GROUPS = 8;
const GROUP_BYTES = 2;
/** Digits of a group. */
const GROUP_DIGITS = 4;
const COLON = 0x3a;
const DOT = 0x2e;
/** First 96 bits of an IPv4-mapped address (RFC 4291 section 2.5.5.2). */
const MAPPED = 0xffffn;
/** Masks by prefix length. */
const MASKS: readonly bigint[] = Array.from(
  { length: ADDRESS_BITS + 1 },
  (_, bits) => ((1n << BigInt(bits)) - 1n) << BigInt(ADDRESS_BITS - bits),
);

/** The address in hand, in network byte order: as numbers a group costs a tenth of what it costs as a bigint. */
const bytes = new Uint8Array(GROUPS * GROUP_BYTES);
const view = new DataView(bytes.buffer);

/**
 * Reads an address in any spelling of RFC 4291 section 2.2: leading zeros, upper case, `::` and a dotted quad at the end.
 * Zones (`%eth0`) are refused: they mean nothing on another host.
 *
 * @returns 0..2^128-1
 * @throws SelvageError ERR_ADDRESS_INVALID
 */
export function parseIpv6(text: string): bigint {
  if (!scanIpv6(text)) {
    throw new SelvageError('ERR_ADDRESS_INVALID', `${quote(text)} is not an IPv6 address like 2001:db8::1`);
  }
  return (view.getBigUint64(0) << 64n) | view.getBigUint64(8);
}

/** The canonical text (RFC 5952 section 4; IPv4-mapped addresses as section 5 and Go's `netip.Addr` have them). */
export function formatIpv6(address: bigint): string {
  if (address >> 32n === MAPPED) return `::ffff:${formatIpv4(Number(BigInt.asIntN(32, address)))}`;
  view.setBigUint64(0, address >> 64n);
  view.setBigUint64(8, address); // its low 64 bits
  const { start, end } = longestZeros();
  let text = '';
  for (let group = 0; group < GROUPS; group++) {
    if (group >= start && group < end) continue;
    if (group === end) text += '::';
    else if (group > 0) text += ':';
    text += groupAt(group).toString(16);
  }
  return end === GROUPS ? `${text}::` : text;
}

/**
 * Reads a prefix in its one canonical spelling, so that equal prefixes have equal texts.
 *
 * @throws SelvageError ERR_PREFIX_INVALID, with the spelling it should have when there is one
 */
export function parseIpv6Prefix(text: string): Ipv6Prefix {
  const prefix = maskIpv6Prefix(text);
  const canonical = formatIpv6Prefix(prefix);
  if (canonical !== text) throw prefixError(text, `the canonical spelling is ${canonical}`);
  return prefix;
}

/**
 * Reads a prefix as Go's `net.ParseCIDR` does: any spelling of the address, and bits behind the length are cleared.
 *
 * @throws SelvageError ERR_PREFIX_INVALID
 */
export function maskIpv6Prefix(text: string): Ipv6Prefix {
  const slash = text.indexOf('/');
  if (slash < 0) throw prefixError(text, 'the length, as in "/64", is missing');
  const length = text.slice(slash + 1);
  const bits = /^[0-9]+$/.test(length) ? Number(length) : ADDRESS_BITS + 1;
  if (bits > ADDRESS_BITS) throw prefixError(text, `${quote(`/${length}`)} is not a length from /0 to /128`);
  let address: bigint;
  try {
    address = parseIpv6(text.slice(0, slash));
  } catch (error) {
    throw prefixError(text, 'the address is malformed', error);
  }
  return { family: 6, address: address & maskOf(bits), bits };
}

/** The canonical text, as {@link parseIpv6Prefix} reads it. */
export function formatIpv6Prefix(prefix: Ipv6Prefix): string {
  return `${formatIpv6(prefix.address)}/${prefix.bits}`;
}

/** Whether every address of `inner` lies in `outer`; equal prefixes contain each other. */
export function containsIpv6Prefix(outer: Ipv6Prefix, inner: Ipv6Prefix): boolean {
  return inner.bits >= outer.bits && (inner.address & maskOf(outer.bits)) === outer.address;
}

/** Whether two prefixes share an address. Prefixes nest or are disjoint, so the shorter length decides. */
export function overlapsIpv6Prefix(a: Ipv6Prefix, b: Ipv6Prefix): boolean {
  const wider = maskOf(Math.min(a.bits, b.bits));
  return (a.address & wider) === (b.address & wider);
}

function maskOf(bits: number): bigint {
  return MASKS[bits]!;
}

function groupAt(group: number): number {
  return view.getUint16(group * GROUP_BYTES);
}

/** Reads an address into {@link bytes}; whether the text is one. By hand: a file may hold 65,536 of them. */
function scanIpv6(text: string): boolean {
  let groups = 0;
  /** Groups before "::"; -1 while there is none. */
  let gap = -1;
  let at = 0;
  if (text.startsWith('::')) {
    gap = 0;
    at = 2;
  }
  while (at < text.length) {
    const start = at;
    let value = 0;
    for (; at < text.length && at - start < GROUP_DIGITS; at++) {
      const digit = hexDigit(text.charCodeAt(at));
      if (digit < 0) break;
      value = value * 16 + digit;
    }
    if (at === start || groups === GROUPS) return false;
    if (text.charCodeAt(at) === DOT) {
      // A dotted quad ends the address and is two groups.
      const quad = groups <= GROUPS - 2 ? readQuad(text.slice(start)) : undefined;
      if (quad === undefined) return false;
      view.setInt32(groups * GROUP_BYTES, quad);
      groups += 2;
      break;
    }
    view.setUint16(groups * GROUP_BYTES, value);
    groups++;
    if (at === text.length) break;
    if (text.charCodeAt(at) !== COLON) return false;
    at++;
    if (at === text.length) return false;
    if (text.charCodeAt(at) === COLON) {
      if (gap >= 0) return false;
      gap = groups;
      at++;
    }
  }
  if (gap < 0) return groups === GROUPS;
  // "::" stands for at least one group, as in Go and inet_pton.
  if (groups === GROUPS) return false;
  const tailAt = (GROUPS - (groups - gap)) * GROUP_BYTES;
  bytes.copyWithin(tailAt, gap * GROUP_BYTES, groups * GROUP_BYTES);
  bytes.fill(0, gap * GROUP_BYTES, tailAt);
  return true;
}

/** The digit that a character code means, or -1. */
function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x61 + 10 : -1;
}

function readQuad(text: string): number | undefined {
  try {
    return parseIpv4(text);
  } catch {
    return undefined; // the whole address is named in the error
  }
}

/** The first of the longest runs of two zero groups or more, as groups [start, end); [-1, -1) when there is none (RFC 5952 section 4.2). */
function longestZeros(): { start: number; end: number } {
  let best = { start: -1, end: -1 };
  let length = 0;
  for (let group = 0; group < GROUPS; group++) {
    length = groupAt(group) === 0 ? length + 1 : 0;
    if (length >= 2 && length > best.end - best.start) best = { start: group - length + 1, end: group + 1 };
  }
  return best;
}

function prefixError(text: string, reason: string, cause?: unknown): SelvageError {
  return new SelvageError(
    'ERR_PREFIX_INVALID',
    `${quote(text)} is not an IPv6 prefix like 2001:db8::/64: ${reason}`,
    { cause },
  );
}
