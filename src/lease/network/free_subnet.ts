import { parseIpv6Prefix } from '../../ipv6_prefix.js';
import { parseIpv4Prefix } from '../../ipv4_prefix.js';
import { addressesIn, type SubnetPool } from './subnet_pool.js';

/** The addresses of a prefix of either family. */
export interface AddressRange {
  readonly bits: number;
  readonly first: bigint;
  /** Inclusive. */
  readonly last: bigint;
}

/** Reads a canonical prefix of the family. */
export function rangeOf(family: 4 | 6, prefix: string): AddressRange {
  const { address, bits } = family === 4 ? parseIpv4Prefix(prefix) : parseIpv6Prefix(prefix);
  const first = typeof address === 'bigint' ? address : BigInt(address >>> 0);
  return { bits, first, last: first + addressesIn(family, bits) - 1n };
}

/** Whether two ranges share an address. */
export function rangesOverlap(a: AddressRange, b: AddressRange): boolean {
  return a.first <= b.last && b.first <= a.last;
}

/**
 * The first subnets of a pool that overlap none of `taken`, whatever its length.
 *
 * After sorting, one pass over the pool and the ranges together: a range jumps the walk to the first subnet behind it, so the
 * time depends on the ranges and not on the size of the pool.
 *
 * @returns at most `most` first addresses, ascending
 */
export function findFreeSubnets(pool: SubnetPool, taken: readonly AddressRange[], most: number): bigint[] {
  const step = addressesIn(pool.family, pool.bits);
  const ranges = [...taken].sort((a, b) =>
    a.first < b.first ? -1 : a.first > b.first ? 1 : a.bits - b.bits,
  );
  const free: bigint[] = [];
  let at = 0;
  let candidate = pool.first;
  while (candidate <= pool.last && free.length < most) {
    // Prefixes nest or are disjoint: what ends before the candidate is behind all candidates to come, and what was inside it too.
    while (at < ranges.length && ranges[at]!.last < candidate) at++;
    const range = ranges[at];
    if (range === undefined || range.first >= candidate + step) {
      free.push(candidate);
      candidate += step;
    } else {
      // Subnets begin at multiples of their size; a shorter range ends within this one.
      candidate = (range.last / step + 1n) * step;
    }
  }
  return free;
}
