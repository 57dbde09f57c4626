import { messageOf, SelvageError } from '../errors.js';
import type { IpFamily } from '../ip_address.js';
import { parseIpv6 } from '../ipv6_prefix.js';
import { parseIpv4 } from '../ipv4_prefix.js';
import { isHostAddress } from './host_address.js';
import type { HostIdentity } from './host_presence.js';
import { LEASE_TTL_SECONDS, type LeaseSubnets } from './lease.js';
import type { LeaseEvent } from './lease_event.js';
import type { LeaseStore } from './store/lease_store.js';
import type { RouteListener } from './route_source.js';

/** What a LeaseSource tells. Must not throw. */
export interface LeaseSourceListener extends RouteListener {
  /** May be called before `open` has resolved. `LeaseSource.state` already is as the event says. */
  onLeaseEvent(event: LeaseEvent): void;
  /** The source has ended by itself (ERR_LEASE_LOST, ERR_BACKEND_TYPE); it still wants to be closed. */
  onEnd(error: SelvageError): void;
}

/** How to make a LeaseSource. */
export interface LeaseSourceOptions {
  /** Not owned: closed by the caller, after the source. */
  readonly store: LeaseStore;
  /** IPv4 address at which this host receives datagrams. One of the two must be there. */
  readonly publicIp?: string;
  /** IPv6 address at which it does. */
  readonly publicIpv6?: string;
  /**
   * Family of the datagrams between hosts, the same on all of them. Default `auto`: IPv4, unless the network has none. The
   * snapshots say which it is.
   */
  readonly underlay?: IpFamily | 'auto';
  /** What this host had before, as far as the caller knows (subnet.env). */
  readonly previous?: LeaseSubnets;
  /** How long before its end the lease is renewed, 1..86,340. Default 3,600, as flanneld. */
  readonly renewMarginSeconds?: number;
  /** End with ERR_LEASE_LOST when the lease is lost, as flanneld does, instead of getting it again. Default false. */
  readonly exitOnLeaseLoss?: boolean;
  readonly host: HostIdentity;
  /** Where the routes are kept for the next start; nothing is kept without it. */
  readonly snapshotFile?: string;
  /** Names the network in that file, e.g. etcd's prefix. Default: the store's name. */
  readonly networkKey?: string;
  /** Between full lists for certainty, at least 1; give or take a quarter. Default 1,800. */
  readonly resyncSeconds?: number;
  /** 0 inclusive to 1 exclusive. Default Math.random. */
  readonly random?: () => number;
}

export const RENEW_MARGIN_SECONDS = 3_600;
/** As flanneld's 1439 minutes: renewals are at least a minute apart. */
const MOST_RENEW_MARGIN_SECONDS = LEASE_TTL_SECONDS - 60;
export const RESYNC_SECONDS = 1_800;

/** @throws SelvageError ERR_OPTION naming the option and its range */
export function checkLeaseSourceOptions({
  publicIp,
  publicIpv6,
  renewMarginSeconds,
  resyncSeconds,
}: LeaseSourceOptions): void {
  if (publicIp === undefined && publicIpv6 === undefined) fail('publicIp', 'and publicIpv6 are both missing');
  if (publicIp !== undefined) checkAddress('publicIp', publicIp, parseIpv4);
  if (publicIpv6 !== undefined) checkAddress('publicIpv6', publicIpv6, parseIpv6);
  const margin = renewMarginSeconds ?? RENEW_MARGIN_SECONDS;
  if (!(margin >= 1 && margin <= MOST_RENEW_MARGIN_SECONDS)) {
    fail('renewMarginSeconds', `${margin} is not from 1 to ${MOST_RENEW_MARGIN_SECONDS}`);
  }
  if (!((resyncSeconds ?? RESYNC_SECONDS) >= 1)) fail('resyncSeconds', `${resyncSeconds} is not at least 1`);
}

function checkAddress(option: string, address: string, parse: (text: string) => unknown): void {
  try {
    parse(address);
  } catch (error) {
    throw new SelvageError('ERR_OPTION', `${option}: ${messageOf(error)}`, { cause: error });
  }
  if (!isHostAddress(address))
    fail(option, `${address} is not the address of one host that others can reach`);
}

function fail(option: string, what: string): never {
  throw new SelvageError('ERR_OPTION', `${option}: ${what}`);
}
