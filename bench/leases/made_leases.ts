/** The network of all leases here. The lab's pods lie in 10.1.0.0/16 of it. */
export const NETWORK_CONFIG = '{"Network":"10.0.0.0/8","SubnetLen":24}';
export const LEASE_SECONDS = 86_400;
/** Subnets with a lease at the start are counted from 0; those from here on are for leases made later. */
export const FIRST_FREE = 16_384;

/** Lease of the host that joins. */
export const JOINING_KEY = 'subnets/10.127.0.0-24';

/** Key of the lease with number `n`, 0..32,767. */
export function keyOf(n: number): string {
  return `subnets/10.${128 + (n >> 8)}.${n & 255}.0-24`;
}

/** What flanneld would write for host `n`; another public IP for each `moves`, 0 or 1. */
export function valueOf(n: number, moves = 0): string {
  return JSON.stringify({ PublicIP: `198.${18 + moves}.${(n >> 8) & 255}.${n & 255}`, PublicIPv6: null });
}
