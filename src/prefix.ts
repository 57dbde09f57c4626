import { SelvageError } from './errors.js';
import { familyOf } from './ip_address.js';
import {
  containsIpv4Prefix,
  formatIpv4Prefix,
  type Ipv4Prefix,
  overlapsIpv4Prefix,
  parseIpv4,
  parseIpv4Prefix,
} from './ipv4_prefix.js';
import {
  containsIpv6Prefix,
  formatIpv6Prefix,
  type Ipv6Prefix,
  overlapsIpv6Prefix,
  parseIpv6,
  parseIpv6Prefix,
} from './ipv6_prefix.js';
import { quote } from './quote.js';

/** Any prefix that selvage routes. */
export type Prefix = Ipv4Prefix | Ipv6Prefix;

/**
 * Reads a prefix of either family in its one canonical spelling, so that equal prefixes have equal texts.
 *
 * @throws SelvageError ERR_PREFIX_INVALID naming what is wrong
 */
export function parsePrefix(text: string): Prefix {
  if (text.includes(':')) return parseIpv6Prefix(text);
  if (text.includes('.')) return parseIpv4Prefix(text);
  throw new SelvageError(
    'ERR_PREFIX_INVALID',
    `${quote(text)} is not an IPv4 or IPv6 prefix like 10.1.2.0/24 or 2001:db8::/64`,
  );
}

/**
 * The prefix that holds one address and nothing else.
 *
 * @throws SelvageError ERR_ADDRESS_INVALID
 */
export function hostPrefix(address: string): Prefix {
  return familyOf(address) === 6
    ? { family: 6, address: parseIpv6(address), bits: 128 }
    : { family: 4, address: parseIpv4(address), bits: 32 };
}

/** The canonical text, as {@link parsePrefix} reads it. */
export function formatPrefix(prefix: Prefix): string {
  return prefix.family === 4 ? formatIpv4Prefix(prefix) : formatIpv6Prefix(prefix);
}

/** Whether every address of `inner` lies in `outer`; equal prefixes contain each other. */
export function contains(outer: Prefix, inner: Prefix): boolean {
  if (outer.family === 4) return inner.family === 4 && containsIpv4Prefix(outer, inner);
  return inner.family === 6 && containsIpv6Prefix(outer, inner);
}

/** Whether two prefixes share an address. */
export function overlaps(a: Prefix, b: Prefix): boolean {
  if (a.family === 4) return b.family === 4 && overlapsIpv4Prefix(a, b);
  return b.family === 6 && overlapsIpv6Prefix(a, b);
}
