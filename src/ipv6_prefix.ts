import { SelvageError } from './errors.js';
import { formatIpv4, parseIpv4 } from './ipv4_prefix.js';

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
/** The longest spelling: six full groups and a full dotted quad. */
const LONGEST_ADDRESS = 45;
/** `::ffff:0:0/96`, IPv4-mapped addresses (RFC 4291 section 2.5.5.2), without its last 32 bits. */
const MAPPED = 0xffffn;
/** Characters of a wrong value that an error repeats. */
const QUOTED_CHARS = 60;

/**
 * Reads an address in any spelling of RFC 4291 section 2.2: leading zeros, upper case, `::` and a dotted quad at the end.
 * Zones (`%eth0`) are refused: they mean nothing on another host.
 *
 * @returns 0..2^128-1
 * @throws SelvageError ERR_ADDRESS_INVALID
 */
export function parseIpv6(text: string): bigint {
  const groups = text.length <= LONGEST_ADDRESS ? readGroups(text) : undefined;
  if (groups === undefined) {
    throw new SelvageError('ERR_ADDRESS_INVALID', `${quote(text)} is not an IPv6 address like 2001:db8::1`);
  }
  return groups.reduce((address, group) => (address << 16n) | BigInt(group), 0n);
}

/** The canonical text (RFC 5952 section 4; IPv4-mapped addresses as section 5 and Go's `netip.Addr` have them). */
export function formatIpv6(address: bigint): string {
  if (address >> 32n === MAPPED) return `::ffff:${formatIpv4(Number(BigInt.asIntN(32, address)))}`;
  const groups = Array.from({ length: GROUPS }, (_, index) =>
    Number((address >> BigInt(16 * (GROUPS - 1 - index))) & 0xffffn),
  );
  const { start, length } = longestZeros(groups);
  const hex = groups.map((group) => group.toString(16));
  if (length < 2) return hex.join(':');
  return `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}`;
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
  return ((1n << BigInt(bits)) - 1n) << BigInt(ADDRESS_BITS - bits);
}

/** @returns eight numbers of 16 bits; undefined when the text is no address */
function readGroups(text: string): number[] | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = readHalf(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? readHalf(halves[1]!, true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = GROUPS - head.length - tail.length;
  // "::" stands for at least one group, as in Go and inet_pton.
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  return [...head, ...Array.from({ length: missing }, () => 0), ...tail];
}

/** Groups between colons; a dotted quad counts as two and may stand only at the end of the address. */
function readHalf(text: string, atEnd: boolean): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    if (/^[0-9a-fA-F]{1,4}$/.test(part)) groups.push(Number.parseInt(part, 16));
    else if (atEnd && index === parts.length - 1 && part.includes('.')) {
      const quad = readQuad(part);
      if (quad === undefined) return undefined;
      groups.push(quad >>> 16, quad & 0xffff);
    } else return undefined;
  }
  return groups;
}

function readQuad(text: string): number | undefined {
  try {
    return parseIpv4(text);
  } catch {
    return undefined; // the whole address is named in the error
  }
}

/** The first of the longest runs of zero groups (RFC 5952 section 4.2.3). */
function longestZeros(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let length = 0;
  for (const [index, group] of groups.entries()) {
    length = group === 0 ? length + 1 : 0;
    if (length > best.length) best = { start: index - length + 1, length };
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

function quote(text: string): string {
  return JSON.stringify(text.length <= QUOTED_CHARS ? text : `${text.slice(0, QUOTED_CHARS)}...`);
}
