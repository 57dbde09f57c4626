import type { IpFamily } from '../../ip_address.js';

/** What a routes file calls a family's network and subnets, and what they look like. */
interface FamilyKeys {
  readonly network: 'network' | 'ipv6Network';
  readonly subnet: 'subnet' | 'ipv6Subnet';
  readonly networkLike: string;
  readonly subnetLike: string;
}

export const KEYS: Readonly<Record<IpFamily, FamilyKeys>> = {
  4: {
    network: 'network',
    subnet: 'subnet',
    networkLike: 'an IPv4 prefix like 10.1.0.0/16',
    subnetLike: 'an IPv4 prefix like 10.1.2.0/24',
  },
  6: {
    network: 'ipv6Network',
    subnet: 'ipv6Subnet',
    networkLike: 'an IPv6 prefix like fd00:1::/48',
    subnetLike: 'an IPv6 prefix like fd00:1:0:2::/64',
  },
};

export type JsonObject = Readonly<Record<string, unknown>>;

/** The peers of a raw file that are objects, each with its place. */
export function peersOf(file: JsonObject): { where: string; peer: JsonObject }[] {
  const { peers } = file;
  if (!Array.isArray(peers)) return [];
  return peers.flatMap((peer: unknown, index) =>
    isObject(peer) ? [{ where: `peers[${index}]`, peer }] : [],
  );
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
