import { SelvageError } from './errors.js';
import { formatIpv4, type Ipv4Prefix, isUnicastIpv4, parseIpv4 } from './ipv4_prefix.js';
import { formatIpv6, type Ipv6Prefix, parseIpv6 } from './ipv6_prefix.js';
import { quote } from './quote.js';

/** Which Internet protocol an address is of. */
export type IpFamily = 4 | 6;

/** int32 words of an address, as columns, endpoints and the control blocks hold it. */
export const ADDRESS_WORDS = 4;

/**
 * An address as the data path compares it: four int32 words in network order of significance.
 *
 * IPv4 has its address in word 0 and zeros behind it. So the words alone do not tell the family; whoever keeps them knows it.
 */
export interface IpAddress {
  readonly family: IpFamily;
  /** {@link ADDRESS_WORDS} of them, each an int32. */
  readonly words: Int32Array;
}

/** First ten bits of fe80::/10. */
const LINK_LOCAL = 0xfe80 >>> 6;
/** The third word of an IPv4-mapped address. */
const MAPPED = 0xffff;

/** The family that a text could be of: a colon makes it IPv6. It need not be an address. */
export function familyOf(text: string): IpFamily {
  return text.includes(':') ? 6 : 4;
}

/**
 * Reads an address of either family.
 *
 * @throws SelvageError ERR_ADDRESS_INVALID naming what is wrong
 */
export function parseAddress(text: string): IpAddress {
  const words = new Int32Array(ADDRESS_WORDS);
  if (text.includes(':')) {
    putIpv6Words(words, 0, parseIpv6(text));
    return { family: 6, words };
  }
  if (!text.includes('.')) {
    throw new SelvageError(
      'ERR_ADDRESS_INVALID',
      `${quote(text)} is not an IPv4 or IPv6 address like 192.0.2.1 or 2001:db8::1`,
    );
  }
  words[0] = parseIpv4(text);
  return { family: 4, words };
}

/** The address in hand, in network byte order. */
const bytes = new DataView(new ArrayBuffer(4 * ADDRESS_WORDS));

/** The canonical text of the address whose words begin at `at`. */
export function formatAddress(family: IpFamily, words: Int32Array, at = 0): string {
  if (family === 4) return formatIpv4(words[at]!);
  for (let word = 0; word < ADDRESS_WORDS; word++) bytes.setInt32(4 * word, words[at + word]!);
  return formatIpv6((bytes.getBigUint64(0) << 64n) | bytes.getBigUint64(8));
}

/** Writes an IPv6 address, 0..2^128-1, as {@link ADDRESS_WORDS} words. */
export function putIpv6Words(words: Int32Array, at: number, address: bigint): void {
  bytes.setBigUint64(0, address >> 64n);
  bytes.setBigUint64(8, address); // its low 64 bits
  for (let word = 0; word < ADDRESS_WORDS; word++) words[at + word] = bytes.getInt32(4 * word);
}

/**
 * Whether another host could have this address on the underlay.
 *
 * Of IPv4 see {@link isUnicastIpv4}. Of IPv6 it is not the unspecified or the loopback address, multicast ff00::/8,
 * link-local fe80::/10, which needs an interface to mean a host, or IPv4-mapped ::ffff:0:0/96, which no IPv6 packet carries
 * (RFC 4291 sections 2.5.2 to 2.7, RFC 6890 section 2.2.3).
 */
export function isUnicastAddress({ family, words }: IpAddress): boolean {
  const first = words[0]!;
  if (family === 4) return isUnicastIpv4(first);
  if (first >>> 24 === 0xff || first >>> 22 === LINK_LOCAL) return false;
  if (first !== 0 || words[1] !== 0) return true;
  return words[2] !== MAPPED && !(words[2] === 0 && words[3]! >>> 1 === 0);
}

/** The first address of a prefix. */
export function firstAddressOf({ family, address }: Ipv4Prefix | Ipv6Prefix): IpAddress {
  const words = new Int32Array(ADDRESS_WORDS);
  if (typeof address === 'number') words[0] = address;
  else putIpv6Words(words, 0, address);
  return { family, words };
}

/** An address with a port, as in URLs: `192.0.2.1:8285`, `[2001:db8::1]:8285` (RFC 3986 section 3.2.2). */
export function formatEndpoint(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
