import type { Endpoint } from '../routing/next_hop_ids.js';
import type { PeerFilter } from './peer_filter.js';

/** From the departure of a peer to its being refused in the kernel; lanes refuse it at once. */
const RETAIN_MILLIS = 500;

/**
 * Keeps the peer filter in step with the routes: a new peer is let in before lanes know it, so that its first datagram is not
 * refused; one that is gone is refused once no lane can take it for a peer.
 *
 * Main thread. Does nothing without a filter.
 */
export class PeerAdmission {
  readonly #filter: PeerFilter | undefined;
  /** Endpoint words as lanes have them, or undefined while a lane may still go by older ones. */
  readonly #endpointsInForce: () => Int32Array | undefined;
  #newcomers: number[] = [];
  #hasLeavers = false;
  #retaining: NodeJS.Timeout | undefined;

  constructor(filter: PeerFilter | undefined, endpointsInForce: () => Int32Array | undefined) {
    this.#filter = filter;
    this.#endpointsInForce = endpointsInForce;
  }

  /** A route leads to this endpoint, and none did before. */
  noteNewcomer({ address, port }: Endpoint): void {
    if (this.#filter !== undefined) this.#newcomers.push(...address.words, port);
  }

  /** No route leads to some endpoint any more. */
  noteLeaver(): void {
    this.#hasLeavers = true;
  }

  /** Call before a table is published. */
  admit(): void {
    if (this.#newcomers.length > 0) this.#filter?.admit(Int32Array.from(this.#newcomers));
    this.#newcomers = [];
  }

  /** Call after a table is published. What changes within half a second costs once. */
  retain(): void {
    if (!this.#hasLeavers || this.#filter === undefined) return;
    this.#retaining ??= setTimeout(() => this.#retainNow(), RETAIN_MILLIS).unref();
  }

  close(): void {
    clearTimeout(this.#retaining);
  }

  #retainNow(): void {
    this.#retaining = undefined;
    const endpoints = this.#endpointsInForce();
    if (endpoints === undefined) return this.retain();
    this.#hasLeavers = false;
    this.#filter?.retain(endpoints);
  }
}
