import { SelvageError } from '../errors.js';
import type { IpFamily } from '../ip_address.js';
import type { LeaseValue } from './lease.js';
import type { NetworkConfig } from './network/network_config.js';

/** Where this host can be reached, and how it would like to be. At least one address. */
export interface HostAddresses {
  readonly publicIp?: string | undefined;
  /** Canonical. */
  readonly publicIpv6?: string | undefined;
  /** Family of the datagrams; `auto`: IPv4, unless the network has none. */
  readonly underlay: IpFamily | 'auto';
}

/** This host as it shows itself in one network. */
export interface LeaseHost {
  /** Family of the datagrams between hosts. */
  readonly underlay: IpFamily;
  /** Its address of that family: what others send to, and what tells one host from another. */
  readonly address: string;
  /** What it writes into its lease. */
  readonly value: LeaseValue;
}

/** Names of the lease's fields, which messages use too. */
const FIELD = { 4: 'PublicIP', 6: 'PublicIPv6' } as const;
const OPTION = { 4: '--public-ip', 6: '--public-ipv6' } as const;

/**
 * How a host shows itself in a network: with the address of the underlay's family, and with that of the other family where
 * the network knows it. In a network of IPv4 alone the value is the one that flanneld writes, whatever IPv6 the host has.
 *
 * @throws SelvageError ERR_PUBLIC_IP when it has no address of the family that is needed
 */
export function hostIn({ ipv4, ipv6 }: NetworkConfig, addresses: HostAddresses): LeaseHost {
  const { publicIp, publicIpv6 } = addresses;
  const usual = ipv4 === undefined ? 6 : 4;
  const underlay = addresses.underlay === 'auto' ? usual : addresses.underlay;
  const address = underlay === 4 ? publicIp : publicIpv6;
  if (address === undefined) throw noAddress(underlay, addresses.underlay === 'auto');
  const value = {
    ...(publicIp !== undefined && (underlay === 4 || ipv4 !== undefined) ? { publicIp } : {}),
    ...(publicIpv6 !== undefined && (underlay === 6 || ipv6 !== undefined) ? { publicIpv6 } : {}),
    backendType: '',
  };
  return { underlay, address, value };
}

/** The address at which a lease's host is reached over an underlay of this family; undefined when it names none. */
export function addressOf({ publicIp, publicIpv6 }: LeaseValue, underlay: IpFamily): string | undefined {
  return underlay === 4 ? publicIp : publicIpv6;
}

/**
 * Whether a lease is of this host: the address of the underlay's family tells; where the lease names none, as flanneld's
 * over IPv6, the other one does.
 */
export function isOf(value: LeaseValue, { underlay, value: own }: LeaseHost): boolean {
  const theirs = addressOf(value, underlay);
  if (theirs !== undefined) return theirs === addressOf(own, underlay);
  const other = underlay === 4 ? 6 : 4;
  const address = addressOf(value, other);
  return address !== undefined && address === addressOf(own, other);
}

/** Whether two leases name the same host: they share an address. */
export function sameHost(a: LeaseValue, b: LeaseValue): boolean {
  if (a.publicIp !== undefined && a.publicIp === b.publicIp) return true;
  return a.publicIpv6 !== undefined && a.publicIpv6 === b.publicIpv6;
}

/** A lease's host in a message: its addresses, as in `192.0.2.1` or `192.0.2.1 2001:db8::1`. */
export function addressesText({ publicIp, publicIpv6 }: LeaseValue): string {
  return [publicIp, publicIpv6].filter((address) => address !== undefined).join(' ');
}

/** Why a lease cannot be reached over an underlay that it names no address of. */
export function unreachable(underlay: IpFamily): string {
  return `it names no ${FIELD[underlay]}, and this network's underlay is IPv${underlay}`;
}

function noAddress(underlay: IpFamily, auto: boolean): SelvageError {
  const other = underlay === 4 ? 6 : 4;
  const why = auto ? ` (the network has ${underlay === 4 ? 'IPv4' : 'IPv6 alone'})` : '';
  return new SelvageError(
    'ERR_PUBLIC_IP',
    `the underlay is IPv${underlay}${why} and this host's interface has no IPv${underlay} address that others reach: ` +
      `give it one, name another interface with --iface, or the address with ${OPTION[underlay]}; ` +
      `--underlay-family ipv${other} on every host carries the network over IPv${other}`,
  );
}
