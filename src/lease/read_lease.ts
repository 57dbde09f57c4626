import { messageOf } from '../errors.js';
import { isUnicastIpv4, parseIpv4 } from '../ipv4_prefix.js';
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
    if (!isHostAddress(parseIpv4(value.publicIp))) {
      return {
        key,
        subnets,
        reason: `PublicIP ${value.publicIp} is no address at which others reach a host`,
      };
    }
    return { key, subnets, value, reserved: entry.grant === '' };
  } catch (error) {
    return { key, subnets, reason: messageOf(error) };
  }
}

/** Whether other hosts can send to it: unicast, and not loopback (127/8). Link-local will do on one link, as for flanneld. */
export function isHostAddress(address: number): boolean {
  return isUnicastIpv4(address) && address >>> 24 !== 127;
}
