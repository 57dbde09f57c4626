import { SelvageError } from '../errors.js';
import { formatIpv6Prefix, maskIpv6Prefix, parseIpv6 } from '../ipv6_prefix.js';
import { parseIpv4Prefix } from '../ipv4_prefix.js';
import type { LeaseSubnets } from './lease.js';
import type { LeaseStore } from './store/lease_store.js';

/** Key of the network config, below the prefix. */
export const CONFIG_KEY = 'config';

/** What the key of every lease begins with. Without a trailing slash, as flanneld lists and watches. */
export const SUBNETS_KEY_PREFIX = 'subnets';

/** Longer keys are no leases: the pattern must not walk a key of a megabyte. The longest lease has 79 characters. */
const LONGEST_KEY = 256;

/**
 * The end of a key, as flannel 0.28 (`ParseSubnetKey`) matches it: anything may stand before, except a digit, which would
 * belong to the address. IPv6 in lower case only.
 */
const LEASE_KEY = /(?<![0-9])((?:[0-9]{1,3}\.){3}[0-9]{1,3})-([0-9]+)(?:&([a-f0-9:.]+)-([0-9]+))?$/;
/** How flannel 0.28 prints an `ip.IP4Net` that was never set (`MakeSubnetKey`): the IPv4 part of a lease that has IPv6 alone. */
const NO_IPV4 = '0.0.0.0/0';
const LONGEST_IPV4_BITS = 31;
const LONGEST_IPV6_BITS = 127;

/** A key as an operator has to write it, with what stands before it in this store. */
export function wholeKey({ keyBase = '' }: Pick<LeaseStore, 'keyBase'>, key: string): string {
  return `${keyBase}${key}`;
}

/**
 * The key of a lease: `subnets/10.1.2.0-24`, `subnets/10.1.2.0-24&fd00:1::-64`, or without IPv4
 * `subnets/0.0.0.0-0&fd00:1::-64`.
 */
export function formatLeaseKey(subnets: LeaseSubnets): string {
  const ipv4 = (subnets.ipv4 ?? NO_IPV4).replace('/', '-');
  const ipv6 = subnets.ipv6 === undefined ? '' : `&${subnets.ipv6.replace('/', '-')}`;
  return `${SUBNETS_KEY_PREFIX}/${ipv4}${ipv6}`;
}

/**
 * Reads the key of a lease.
 *
 * Takes every spelling that flanneld takes, so that both know the same subnets as taken, with one exception: a subnet with
 * bits set behind its length. flanneld would not send to it either.
 *
 * @returns canonical prefixes; undefined when the key names no subnet
 */
export function parseLeaseKey(key: string): LeaseSubnets | undefined {
  const match = key.length <= LONGEST_KEY ? LEASE_KEY.exec(key) : null;
  if (match === null) return undefined;
  const [, quad = '', length = '', ipv6Address, ipv6Length = ''] = match;
  try {
    const ipv4 = readIpv4(quad, length);
    if (ipv6Address === undefined) return { ipv4 };
    const ipv6 = readIpv6(ipv6Address, ipv6Length);
    return ipv4 === NO_IPV4 ? { ipv6 } : { ipv4, ipv6 };
  } catch (error) {
    if (error instanceof SelvageError) return undefined;
    throw error;
  }
}

function readIpv4(quad: string, length: string): string {
  const text = `${quad}/${readLength(length, LONGEST_IPV4_BITS)}`;
  parseIpv4Prefix(text);
  return text;
}

function readIpv6(address: string, length: string): string {
  const prefix = maskIpv6Prefix(`${address}/${readLength(length, LONGEST_IPV6_BITS)}`);
  if (prefix.address !== parseIpv6(address)) throw malformed('bits are set behind the length');
  return formatIpv6Prefix(prefix);
}

function readLength(digits: string, longest: number): number {
  const bits = Number(digits);
  if (bits > longest) throw malformed(`the length is above ${longest}`);
  return bits;
}

function malformed(reason: string): SelvageError {
  return new SelvageError('ERR_PREFIX_INVALID', reason);
}
