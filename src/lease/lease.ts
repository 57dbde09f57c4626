/**
 * What a lease is: its types and its life. flanneld's spelling of it is in `lease_key.ts` and `lease_value.ts`.
 */

/** Life of a lease from its last write, as flanneld's (pkg/subnet/etcd/local_manager.go subnetTTL). */
export const LEASE_TTL_SECONDS = 86_400;

/** The subnets of one host: at least one. */
export interface LeaseSubnets {
  /** Canonical IPv4 prefix, e.g. `10.1.2.0/24`; absent in a network without IPv4. */
  readonly ipv4?: string;
  /** Canonical IPv6 prefix (RFC 5952), e.g. `fd00:1:2::/64`; absent in a network without IPv6. */
  readonly ipv6?: string;
}

/** The subnets as they are listed for people: `10.1.2.0/24`, `10.1.2.0/24 fd00:1:2::/64`. */
export function subnetsText({ ipv4, ipv6 }: LeaseSubnets): string {
  return [ipv4, ipv6].filter((subnet) => subnet !== undefined).join(' ');
}

/** What a host says of itself in its lease: where it receives datagrams, by one address at least. */
export interface LeaseValue {
  /** Where hosts with an IPv4 underlay send to; absent in a network that knows no IPv4. */
  readonly publicIp?: string;
  /** Where hosts with an IPv6 underlay send to, canonical. */
  readonly publicIpv6?: string;
  /** Lower case as stored; '' when the value names none, as with flanneld's udp backend. */
  readonly backendType: string;
}

/** A lease as it stands in a store. */
export interface Lease {
  readonly subnets: LeaseSubnets;
  readonly value: LeaseValue;
  /** Key below the prefix, e.g. `subnets/10.1.2.0-24`. */
  readonly key: string;
  /** No time limit: the subnet is reserved for the host with this public IP until an operator releases it. */
  readonly reserved: boolean;
}
