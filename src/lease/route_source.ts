/**
 * Where routes come from: the contract that the sources (file, etcd, kubernetes) fulfil. Types only.
 *
 * Life of a source: made -> `open` (once) -> changes and errors, in order -> `close` (any number of times).
 *
 * | from    | to     | by                                   | never |
 * |---------|--------|--------------------------------------|-------|
 * | made    | open   | `open` resolving with the first snapshot | a listener call before `open` resolved, other than `onError` |
 * | open    | open   | changes; errors, after which the last state still holds | an error that empties the routes |
 * | any     | closed | `close`, or `open` rejecting         | a listener call after `close` resolved |
 */
import type { SelvageError } from '../errors.js';
import type { IpFamily } from '../ip_address.js';

/** One other host's claim on a subnet. A host with a subnet of each family makes two, with one public IP. */
export interface Peer {
  /** Prefix of either family in canonical spelling; the key of the claim: a subnet has one peer. */
  readonly subnet: string;
  /** Address at which the peer's host receives datagrams, of the underlay's family. */
  readonly publicIp: string;
  /** UDP port there, 1..65535; absent when the source does not know it and the configured one applies. */
  readonly port?: number;
}

/**
 * Everything a source knows at one moment. Sound: subnets are inside the network, and no two are equal. Those of a store may
 * nest (hosts with different SubnetLen); the longest wins.
 *
 * Of each family both or neither, and at least one family.
 */
export interface RouteSnapshot {
  /** The whole overlay network, IPv4. */
  readonly network?: string;
  /** This host's own subnet of it. */
  readonly subnet?: string;
  /** The same for IPv6. */
  readonly ipv6Network?: string;
  readonly ipv6Subnet?: string;
  /** Family of the datagrams between hosts, and so of every peer's address. */
  readonly underlay: IpFamily;
  /** UDP port of every host, where the source knows it (Backend.Port of the network config). */
  readonly port?: number;
  /** All other hosts. */
  readonly peers: readonly Peer[];
}

/**
 * A step from one state to the next. Sources that see single events (an etcd watch) send `set` and `delete`; a source that
 * reads everything anew, or had to after a gap, sends a `snapshot`, which also says what is gone.
 */
export type RouteChange =
  | { readonly kind: 'snapshot'; readonly snapshot: RouteSnapshot }
  /** The peer is new, or its address or port changed. */
  | { readonly kind: 'set'; readonly peer: Peer }
  /** No peer has this subnet any more; nothing to do when none had it. */
  | { readonly kind: 'delete'; readonly subnet: string };

/** Receives what a source learns. Called on the main thread, never re-entrantly. Must not throw. */
export interface RouteListener {
  /** Changes that belong together, in order: apply all, then publish one table. Never empty. */
  onChanges(changes: readonly RouteChange[]): void;
  /** Something is wrong and the last state still holds; the source goes on trying. A lasting fault is told once. */
  onError(error: SelvageError): void;
}

/** A source of routes. */
export interface RouteSource {
  /**
   * Starts the source.
   *
   * @returns the first snapshot, once there is one; a source that waits for a server tells its troubles to `onError` meanwhile
   * @throws SelvageError (as rejection) when trying again by itself would not help, e.g. a file with mistakes
   */
  open(listener: RouteListener): Promise<RouteSnapshot>;
  /** Stops it and gives back what it holds. Also ends an `open` that is waiting, which then rejects. */
  close(): Promise<void>;
}
