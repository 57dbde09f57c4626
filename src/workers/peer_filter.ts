import { getSystemErrorName } from 'node:util';

import { messageOf } from '../errors.js';
import { ADDRESS_WORDS, formatAddress, type IpFamily } from '../ip_address.js';
import { native, type PeerFilterHandle } from '../native.js';

/** What the kernel refused since the filter was opened. */
export interface RefusedDatagrams {
  /** Datagrams of strangers; each of a train that the kernel put together is counted. */
  readonly datagrams: number;
  /**
   * Source of one of the last of them, undefined while there was none: of the CPU that refused most since the last call. When
   * sources change while it is read, an IPv6 address may have its halves from two.
   */
  readonly lastSource: string | undefined;
}

/**
 * Refuses the datagrams of strangers in the kernel, before they are queued at the lanes' sockets.
 *
 * | who | when | what |
 * |---|---|---|
 * | forwarder | before a route table is published | {@link admit}: its peers may come in, besides those of the table before |
 * | forwarder | once every lane has observed it | {@link retain}: only its peers may |
 *
 * So nobody whom a lane takes for a peer is refused. Until the first {@link admit} everybody passes. A filter that cannot let a peer
 * in takes itself off the sockets, and lanes judge every datagram as they do without it. Main thread only.
 *
 * @see docs/adr/0010-early-drop.md
 */
export class PeerFilter {
  readonly #family: IpFamily;
  readonly #handle: PeerFilterHandle;
  readonly #warn: (message: string) => void;
  readonly #counts = new Float64Array(2);
  readonly #source = new Int32Array(ADDRESS_WORDS);
  #overflow = 0;

  private constructor(family: IpFamily, handle: PeerFilterHandle, warn: (message: string) => void) {
    this.#family = family;
    this.#handle = handle;
    this.#warn = warn;
  }

  /**
   * Loads the filter for these sockets, which stay the caller's and are closed after it.
   *
   * @param family what the sockets' peers are of
   * @param warn told one line when there is no filter, or no longer: forwarding goes on without it
   * @returns undefined where the kernel refuses: it needs Linux 5.1 and CAP_BPF (or root) in the initial user namespace
   */
  static open(
    family: IpFamily,
    udpFds: readonly number[],
    warn: (message: string) => void,
  ): PeerFilter | undefined {
    try {
      return new PeerFilter(family, native.openPeerFilter(family, Int32Array.from(udpFds)), warn);
    } catch (error) {
      warn(`datagrams of strangers are not refused in the kernel, lanes do it: ${messageOf(error)}`);
      return undefined;
    }
  }

  /**
   * Lets these endpoints' addresses in, besides those that are in already. Takes effect before it returns.
   *
   * @param endpoints as `RouteTable.endpoints`: four address words and the port of each next hop; port 0 is no endpoint
   */
  admit(endpoints: Int32Array): void {
    const result = native.admitPeers(this.#handle, endpoints);
    if (result < 0) {
      this.#warn(
        `datagrams of strangers are no longer refused in the kernel, lanes do it: ${getSystemErrorName(result)}`,
      );
    }
  }

  /** Refuses every address that is not one of these endpoints'. */
  retain(endpoints: Int32Array): void {
    const result = native.retainPeers(this.#handle, endpoints);
    if (result < 0)
      this.#warn(
        `former peers are still let in by the kernel, lanes refuse them: ${getSystemErrorName(result)}`,
      );
  }

  /** What was refused so far. The numbers stay when the filter has taken itself off. */
  refused(): RefusedDatagrams {
    this.#read();
    const datagrams = this.#counts[0]!;
    return { datagrams, lastSource: datagrams > 0 ? formatAddress(this.#family, this.#source) : undefined };
  }

  /**
   * Of the drops that the sockets count, those that were not refusals: datagrams lost at full receive buffers.
   *
   * The two are counted one after the other and are not read together. Refusals of the time between the two readings would show as
   * losses if this read them first; reading them last, it is short by as many instead, and catches up. It never falls.
   *
   * @param socketDrops sum over the sockets, each modulo 2^32 (`SK_MEMINFO_DROPS`), read just before this call
   */
  overflow(socketDrops: number): number {
    this.#read();
    // The sockets' counts wrap, at a million refusals per second after 72 minutes; the difference is sound below 2^31 losses.
    this.#overflow = Math.max(this.#overflow, (socketDrops - this.#counts[1]!) | 0);
    return this.#overflow;
  }

  /** Takes the filter off the sockets and gives its descriptors back. Call once, before the sockets are closed. */
  close(): void {
    native.closePeerFilter(this.#handle);
  }

  #read(): void {
    native.peerFilterRefused(this.#handle, this.#counts, this.#source);
  }
}
