/**
 * What an agent hands to those who watch it: health, metrics, status. Types only.
 */
import type { LeaseSourceState } from '../lease/lease_event.js';
import type { RouteSnapshot } from '../lease/route_source.js';
import type { RouteInForce } from '../routing/route_set.js';
import type { ForwarderStats } from '../workers/forwarder_stats.js';

/** Where the routes come from, and how that goes. */
export type SourceView =
  | {
      readonly kind: 'file';
      readonly path: string;
      /** Why the last edit is not in force, one line. */
      readonly error?: string | undefined;
    }
  | {
      readonly kind: 'store';
      readonly state: LeaseSourceState;
      /** Why the routes that the leases make are not in force, one line. */
      readonly error?: string | undefined;
    };

/** The network as the source tells it, without the peers. */
export type NetworkView = Omit<RouteSnapshot, 'peers'>;

/** The interface under the overlay. */
export interface UnderlayView {
  readonly interface: string;
  /** IPv4 address that the sockets are bound to. */
  readonly address: string;
  readonly mtuBytes: number;
}

/** The file for CNI plugins (subnet.env). */
export interface SubnetFileView {
  readonly path: string;
  /** It holds the present subnet. */
  readonly written: boolean;
  readonly error?: string | undefined;
}

/** The rules in nftables. */
export interface FirewallView {
  readonly masquerade: boolean;
  readonly forward: boolean;
  /** Why the rules may not be in force, one line. */
  readonly error?: string | undefined;
}

/** The state of an agent at one moment. Main thread; the one who asks owns it. */
export interface AgentView {
  /** Of selvage, e.g. `0.2.0`. */
  readonly version: string;
  readonly startedAt: Date;
  /** The etcd prefix, or the path of the routes file. */
  readonly networkName: string;
  readonly source: SourceView;
  /** Undefined before the source told the first time. */
  readonly snapshot: NetworkView | undefined;
  /** Where peers send to; undefined until it is known. */
  readonly publicIp: string | undefined;
  readonly underlay: UnderlayView | undefined;
  /** Undefined before the first snapshot, and while the agent moves to another subnet. */
  readonly forwarder: ForwarderStats | undefined;
  /** After what the agent cannot go on, one line. */
  readonly fatal?: string | undefined;
  /** Undefined when none is asked for. */
  readonly subnetFile: SubnetFileView | undefined;
  /** Undefined when no rules are asked for. */
  readonly firewall: FirewallView | undefined;
  /** Why the blackhole route to the own subnet may not be there, one line; undefined when no route is asked for. */
  readonly blackholeRoute?: { readonly error?: string | undefined } | undefined;
  /** The routes in force. Made when it is called, as there may be 65,536. */
  readonly routes: () => RouteInForce[];
}
