import type { LeaseSourceState, OwnLease } from '../lease/lease_event.js';
import { formatEndpoint } from '../ip_address.js';
import type { RouteInForce } from '../routing/route_set.js';
import type { PeerCounters } from '../workers/counters.js';
import type { ForwarderStats } from '../workers/forwarder_stats.js';
import type { AgentView, NetworkView, SourceView } from './agent_view.js';
import { type Health, healthOf, type Readiness, readinessOf } from './health.js';

/**
 * The state of an agent as `selvage status --json` prints it and {@link readStatus} returns it.
 *
 * Plain JSON: dates are ISO 8601 in UTC, revisions decimal strings, and what is not known is null, so every key is always
 * there. Later versions may add keys; none changes its meaning.
 */
export interface AgentStatus {
  /** Of the selvage that runs, e.g. `0.2.0`. */
  readonly version: string;
  /** Its process id, in its own PID namespace. */
  readonly pid: number;
  readonly startedAt: string;
  /** The etcd prefix, or the path of the routes file. */
  readonly networkName: string;
  readonly health: Health;
  readonly readiness: Readiness;
  readonly source: SourceStatus;
  /** Null before the source told the first time. */
  readonly network: NetworkStatus | null;
  /** Address at which peers reach this host, of the underlay's family. */
  readonly publicIp: string | null;
  /** The interface under the overlay, the address the sockets are bound to, and the MTU there. */
  readonly underlay: {
    readonly interface: string;
    readonly address: string;
    readonly mtuBytes: number;
  } | null;
  /** After what it cannot go on, one line. */
  readonly fatal: string | null;
  /** The file for CNI plugins; null when none is asked for. */
  readonly subnetFile: {
    readonly path: string;
    /** It holds the present subnet. */
    readonly written: boolean;
    readonly error: string | null;
  } | null;
  /** The rules in nftables; null when none are asked for. */
  readonly firewall: {
    readonly masquerade: boolean;
    readonly forward: boolean;
    readonly error: string | null;
  } | null;
  /** The blackhole route to the own subnet; null when none is asked for. */
  readonly blackholeRoute: { readonly error: string | null } | null;
  /** Counters and state of the data path; null while there is none. */
  readonly forwarder: ForwarderStats | null;
}

/** The overlay network and this host's part of it. */
export interface NetworkStatus {
  readonly network: string | null;
  readonly subnet: string | null;
  readonly ipv6Network: string | null;
  readonly ipv6Subnet: string | null;
  /** UDP port of every host, where the source says so. */
  readonly port: number | null;
}

/** Where the routes come from. */
export type SourceStatus =
  | {
      readonly kind: 'file';
      readonly path: string;
      /** Why the last edit is not in force. */
      readonly error: string | null;
    }
  | StoreStatus;

/** A store of leases and this host's lease in it; see LeaseSourceState for what the numbers count. */
export interface StoreStatus {
  readonly kind: 'store';
  /** E.g. `etcd http://127.0.0.1:2379`. */
  readonly store: string;
  readonly connection: {
    readonly connected: boolean;
    readonly since: string;
    /** Why it is not connected. */
    readonly reason: string | null;
  };
  /** Null before it is acquired, and between its loss and the next. */
  readonly lease: LeaseStatus | null;
  /** The routes are those saved by an earlier run and not yet confirmed by the store. */
  readonly stale: boolean;
  /** When the routes last agreed with the store. */
  readonly syncedAt: string | null;
  /** Leases of other hosts, those not routed to included. */
  readonly leases: number;
  /** Entries that are not routed to. */
  readonly skipped: number;
  /** Last revision seen, decimal. */
  readonly revision: string;
  readonly renewals: number;
  readonly disconnects: number;
  readonly relists: number;
  /** Another host that uses our public IP. */
  readonly duplicate: string | null;
  /** Why the routes that the leases make are not in force. */
  readonly error: string | null;
}

/** This host's own lease. */
export interface LeaseStatus {
  readonly subnet: string | null;
  readonly ipv6Subnet: string | null;
  readonly publicIp: string | null;
  readonly publicIpv6: string | null;
  /** Key below the prefix. */
  readonly key: string;
  /** Without a time limit, for this public IP. */
  readonly reserved: boolean;
  /** Null for a reservation. */
  readonly expiresAt: string | null;
  /** When it was last acquired or renewed. */
  readonly confirmedAt: string;
}

/** One route in force, and what its next hop counted; prefixes of one next hop show the same numbers. */
export interface AgentRoute extends RouteInForce, PeerCounters {
  /** See {@link PeerStats}. */
  readonly pathMtuBytes: number | null;
}

/** The status for a view. Pure but for the process id. */
export function statusOf(view: AgentView): AgentStatus {
  const { underlay, subnetFile, firewall, blackholeRoute } = view;
  return {
    version: view.version,
    pid: process.pid,
    startedAt: view.startedAt.toISOString(),
    networkName: view.networkName,
    health: healthOf(view),
    readiness: readinessOf(view),
    source: sourceStatus(view.source),
    network: view.snapshot === undefined ? null : networkStatus(view.snapshot),
    publicIp: view.publicIp ?? null,
    underlay: underlay === undefined ? null : { ...underlay },
    fatal: view.fatal ?? null,
    subnetFile: subnetFile === undefined ? null : { ...subnetFile, error: subnetFile.error ?? null },
    firewall: firewall === undefined ? null : { ...firewall, error: firewall.error ?? null },
    blackholeRoute: blackholeRoute === undefined ? null : { error: blackholeRoute.error ?? null },
    forwarder: view.forwarder ?? null,
  };
}

/** The routes of a view with the counters of their next hops; zeros while there is no forwarder. */
export function agentRoutesOf({ routes, forwarder }: AgentView): AgentRoute[] {
  const known = new Map<string, PeerCounters & Pick<AgentRoute, 'pathMtuBytes'>>();
  for (const { address, port, ...counted } of forwarder?.peers ?? []) {
    known.set(formatEndpoint(address, port), counted);
  }
  return routes().map((route) => ({
    ...route,
    ...(known.get(formatEndpoint(route.nextHop, route.port)) ?? NOTHING_KNOWN),
  }));
}

const NOTHING_KNOWN = { pathMtuBytes: null, framesOut: 0, bytesOut: 0, framesIn: 0, bytesIn: 0 };

function networkStatus({ network, subnet, ipv6Network, ipv6Subnet, port }: NetworkView): NetworkStatus {
  return {
    network: network ?? null,
    subnet: subnet ?? null,
    ipv6Network: ipv6Network ?? null,
    ipv6Subnet: ipv6Subnet ?? null,
    port: port ?? null,
  };
}

function sourceStatus(source: SourceView): SourceStatus {
  if (source.kind === 'file') return { kind: 'file', path: source.path, error: source.error ?? null };
  return storeStatus(source.state, source.error);
}

function storeStatus(state: LeaseSourceState, error: string | undefined): StoreStatus {
  const { connection } = state;
  return {
    kind: 'store',
    store: state.store,
    connection: {
      connected: connection.connected,
      since: connection.since.toISOString(),
      reason: connection.reason ?? null,
    },
    lease: state.lease === undefined ? null : leaseStatus(state.lease),
    stale: state.stale,
    syncedAt: state.syncedAt?.toISOString() ?? null,
    leases: state.leases,
    skipped: state.skipped,
    revision: state.revision.toString(),
    renewals: state.renewals,
    disconnects: state.disconnects,
    relists: state.relists,
    duplicate: state.duplicate ?? null,
    error: error ?? null,
  };
}

function leaseStatus({ subnets, value, key, reserved, expiresAt, confirmedAt }: OwnLease): LeaseStatus {
  return {
    subnet: subnets.ipv4 ?? null,
    ipv6Subnet: subnets.ipv6 ?? null,
    publicIp: value.publicIp ?? null,
    publicIpv6: value.publicIpv6 ?? null,
    key,
    reserved,
    expiresAt: expiresAt?.toISOString() ?? null,
    confirmedAt: confirmedAt.toISOString(),
  };
}
