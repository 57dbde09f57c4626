/**
 * What a lease source tells beside routes. Types only.
 */
import type { Lease } from './lease.js';

/** This host's own lease as it stands. Dates are for people: intervals are kept on a monotonic clock. */
export interface OwnLease extends Lease {
  /** When it ends unless it is renewed; undefined for a reservation. */
  readonly expiresAt: Date | undefined;
  /** When it was last confirmed: acquired or renewed. */
  readonly confirmedAt: Date;
}

/** Whether the store can be heard. */
export interface StoreConnection {
  readonly connected: boolean;
  /** Since when it is so. */
  readonly since: Date;
  /** Why it is not connected, one line; undefined while it is, and before it was first tried. */
  readonly reason: string | undefined;
}

/** Something that happened; each kind has its line in the log. */
export type LeaseEvent =
  /** At the start: cannot go on yet, and tries again. Told once for each reason. */
  | {
      readonly kind: 'waiting';
      readonly reason: string;
      /** Every subnet is other hosts', also one that this host had before. */
      readonly full?: true;
    }
  | { readonly kind: 'acquired'; readonly lease: OwnLease; readonly how: 'reused' | 'previous' | 'new' }
  | { readonly kind: 'renewed'; readonly lease: OwnLease }
  /** The first of a series of failures. */
  | { readonly kind: 'renewalFailed'; readonly reason: string; readonly retryInSeconds: number }
  /** Deleted, expired, or taken; what is done about it follows as another event. */
  | { readonly kind: 'lost'; readonly lease: OwnLease; readonly reason: string }
  /** The same subnet was free and is ours again. */
  | { readonly kind: 'regained'; readonly lease: OwnLease }
  /** Another host has our subnet: we have a new one. */
  | { readonly kind: 'moved'; readonly from: Lease; readonly to: OwnLease }
  /** Another host uses our public IP. */
  | { readonly kind: 'duplicatePublicIp'; readonly publicIp: string; readonly other: string }
  | { readonly kind: 'connection'; readonly connection: StoreConnection }
  /** The watch had fallen behind what the store keeps: everything was listed anew. */
  | { readonly kind: 'relisted'; readonly leases: number; readonly reason: string }
  /** An entry is not routed to. Told once for each key and value. */
  | { readonly kind: 'skipped'; readonly key: string; readonly reason: string }
  /** Somebody else wrote our lease and it is still ours: an operator made it a reservation, or gave it a time limit again. */
  | { readonly kind: 'adopted'; readonly lease: OwnLease; readonly reason: string }
  /** Something beside leases and routes does not work, and the source does without it. Told once for each reason. */
  | { readonly kind: 'warning'; readonly reason: string };

/** State of a lease source for status, health and metrics. */
export interface LeaseSourceState {
  readonly store: string;
  readonly connection: StoreConnection;
  /** Undefined before it is acquired, and between its loss and the next. */
  readonly lease: OwnLease | undefined;
  /** The routes are those saved by an earlier run and not yet confirmed by the store. */
  readonly stale: boolean;
  /** Stale, and the store has no subnet for this host: the one that it forwards for is another host's. */
  readonly refuted: boolean;
  /** When the routes last agreed with the store. */
  readonly syncedAt: Date | undefined;
  /** Leases of other hosts, those not routed to included. */
  readonly leases: number;
  /** Entries that are not routed to. */
  readonly skipped: number;
  /** Last revision seen. */
  readonly revision: bigint;
  /** Renewals that worked; connections that were lost; lists taken anew after compaction or for certainty. */
  readonly renewals: number;
  readonly disconnects: number;
  readonly relists: number;
  /** Another host uses our public IP, as far as is known; its name. */
  readonly duplicate: string | undefined;
}
