import { formatIpv6 } from '../../ipv6_prefix.js';
import { formatIpv4 } from '../../ipv4_prefix.js';

/**
 * Subnets of one length that lie side by side, from which hosts are given theirs. Addresses of both families are bigints, so
 * that one walk serves both: this is control plane, run once for each lease.
 */
export interface SubnetPool {
  readonly family: 4 | 6;
  /** Length of each subnet. */
  readonly bits: number;
  /** First address of the first subnet. */
  readonly first: bigint;
  /** First address of the last subnet; not below `first`. */
  readonly last: bigint;
}

const ADDRESS_BITS = { 4: 32, 6: 128 } as const;

/** Addresses in one prefix of `bits`. */
export function addressesIn(family: 4 | 6, bits: number): bigint {
  return 1n << BigInt(ADDRESS_BITS[family] - bits);
}

/** How many subnets the pool has. */
export function subnetsIn(pool: SubnetPool): bigint {
  return (pool.last - pool.first) / addressesIn(pool.family, pool.bits) + 1n;
}

/** Whether a prefix is one of the pool's subnets. */
export function isInPool(
  pool: SubnetPool,
  subnet: { readonly first: bigint; readonly bits: number },
): boolean {
  return subnet.bits === pool.bits && subnet.first >= pool.first && subnet.first <= pool.last;
}

/** Canonical text of an address of the family. */
export function formatAddress(family: 4 | 6, address: bigint): string {
  return family === 4 ? formatIpv4(Number(BigInt.asIntN(32, address))) : formatIpv6(address);
}

/** Canonical text of the pool's subnet that begins at `address`. */
export function formatSubnet(pool: SubnetPool, address: bigint): string {
  return `${formatAddress(pool.family, address)}/${pool.bits}`;
}
