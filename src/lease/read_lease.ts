import { messageOf } from '../errors.js';
import { isHostAddress } from './host_address.js';
import type { Lease, LeaseSubnets } from './lease.js';
import { parseLeaseKey } from './lease_key.js';
import type { StoreEntry } from './store/lease_store.js';
import { parseLeaseValue } from './lease_value.js';

/** Why an entry is no lease. */
export interface LeaseProblem {
  readonly key: string;
  /** One line, e.g. `PublicIP is missing`. */
  readonly reason: string;
  /** Subnets that the key names nevertheless: nobody else can be given them while the key exists. */
  readonly subnets?: LeaseSubnets;
}

/**
 * Reads an entry below {@link SUBNETS_KEY_PREFIX}.
 *
 * @returns the lease, or why it is none: told from a lease by `'reason' in result`
 */
export function readLease(entry: StoreEntry): Lease | LeaseProblem {
  const { key } = entry;
  const subnets = parseLeaseKey(key);
  if (subnets === undefined) {
    return { key, reason: 'the key names no subnet: expected the form subnets/10.1.2.0-24' };
  }
  try {
    const value = parseLeaseValue(entry.value);
    // A PublicIPv6 beside a PublicIP counts only for those who would send to it.
    const [name, address] =
      value.publicIp === undefined ? ['PublicIPv6', value.publicIpv6!] : ['PublicIP', value.publicIp];
    if (!isHostAddress(address)) {
      return { key, subnets, reason: `${name} ${address} is no address at which others reach a host` };
    }
    return { key, subnets, value, reserved: entry.grant === '' };
  } catch (error) {
    return { key, subnets, reason: messageOf(error) };
  }
}
