import { messageOf, SelvageError } from '../errors.js';
import { BackOff, pause, spread } from './back_off.js';
import type { LeaseEvent } from './lease_event.js';
import { SUBNETS_KEY_PREFIX } from './lease_key.js';
import type { LeaseStore, StoreEntry, StoreEvent, StoreListing } from './store/lease_store.js';
import { PeerTable, type PeerView } from './peer_table.js';
import type { Peer, RouteChange } from './route_source.js';
import { type ConnectionRecord, isDenied, isStoreFault } from './store/store_connection.js';

/** What a sync tells. Called in order; must not throw. */
export interface LeaseSyncListener {
  /** Steps of the peers that belong together. */
  onChanges(changes: readonly RouteChange[]): void;
  /** All peers anew: {@link LeaseSync.peers}. */
  onPeers(): void;
  /** Our own key was written or removed at this revision. */
  onOwnChange(revision: bigint): void;
  /** A full list has this at our own key. */
  onOwnListed(entry: StoreEntry | undefined): void;
  onEvent(event: LeaseEvent): void;
}

export interface LeaseSyncOptions {
  readonly store: LeaseStore;
  readonly view: PeerView;
  readonly connection: ConnectionRecord;
  readonly resyncSeconds: number;
  readonly random: () => number;
  readonly listener: LeaseSyncListener;
}

/** Ends a watch because a full list is due. */
const LIST_IS_DUE = Symbol('list is due');
const CERTAINTY = 'a full list, taken for certainty, differed from what the watch had told';
const LONGEST_TIMER_MILLIS = 0x7fff_ffff;

/** Telling failed, which is no fault of the store: who listens may have missed what it was told. */
class TellFault extends Error {
  constructor(thrown: unknown) {
    super(`a listener of the routes failed: ${messageOf(thrown)}`, { cause: thrown });
  }
}

/**
 * Keeps the peers equal to the leases in the store: a list, a watch from its revision, and again from the last revision
 * delivered whenever the connection ends.
 *
 * | from      | to        | by                                                        | never |
 * |-----------|-----------|-----------------------------------------------------------|-------|
 * | made      | watching  | `start` with a listing                                    | a listener call from within `start` |
 * | watching  | waiting   | the watch rejects                                         | routes that go away because the store did |
 * | waiting   | watching  | back-off 100 ms..5 s, from the cursor; slower when denied | a revision skipped, or an event applied twice |
 * | watching  | listing   | the watch rejects with ERR_STORE_COMPACTED; every half hour or so for certainty | a change told when nothing differs |
 * | watching, listing | listing | a listener throws: all peers are told anew          | that told as the store being away |
 * | listing   | watching  | list, whole-value diff                                    | watching from a revision other than the list's |
 * | any       | closed    | `close`                                                   | a listener call after it |
 */
export class LeaseSync {
  readonly #options: LeaseSyncOptions;
  readonly #table: PeerTable;
  readonly #closing = new AbortController();
  readonly #backOff: BackOff;
  readonly #deniedBackOff: BackOff;
  readonly #listBackOff: BackOff;
  #view: PeerView;
  /** Everything up to here has been applied. */
  #revision = 0n;
  /** Why everything must be listed before the next watch; '' when it need not. */
  #listReason = '';
  /** Whether the peers are told after the next list even if it finds no other ones. */
  #untold = false;
  /** On the clock of performance.now(). */
  #listDueAtMs = Infinity;
  #relists = 0;
  #syncedAt: Date | undefined;
  /** Whether the store has confirmed the watch that runs. */
  #watching = false;
  #following: Promise<void> = Promise.resolve();

  constructor(options: LeaseSyncOptions) {
    this.#options = options;
    const { random, listener } = options;
    this.#view = options.view;
    this.#table = new PeerTable(options.view, (key, reason) =>
      listener.onEvent({ kind: 'skipped', key, reason }),
    );
    this.#backOff = new BackOff({ firstMillis: 100, mostMillis: 5_000, random });
    this.#deniedBackOff = new BackOff({ firstMillis: 5_000, mostMillis: 60_000, random });
    this.#listBackOff = new BackOff({ firstMillis: 100, mostMillis: 5_000, random });
  }

  get peers(): Peer[] {
    return this.#table.peers;
  }

  get leases(): number {
    return this.#table.leases;
  }

  get skipped(): number {
    return this.#table.skipped;
  }

  get revision(): bigint {
    return this.#revision;
  }

  /** Lists taken anew, after compaction or for certainty. */
  get relists(): number {
    return this.#relists;
  }

  /** When the peers last agreed with the store: now, while it is watched. */
  get syncedAt(): Date | undefined {
    return this.#watching ? new Date() : this.#syncedAt;
  }

  /** Takes the first listing and begins to watch behind it. The listener hears nothing before this has returned, but `skipped`. */
  start(listing: StoreListing): void {
    this.#take(listing);
    this.#following = new Promise<void>((resolve) => setImmediate(resolve))
      .then(() => this.#follow())
      .catch(() => undefined); // rejects by `close` alone
  }

  /** We are about to make this key. */
  expectOwn(key: string): void {
    this.#table.expectOwn(key);
  }

  /** We have another subnet: {@link peers} are those of the new one. */
  setView(view: PeerView): void {
    this.#view = view;
    this.#table.setView(view);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#following;
  }

  async #follow(): Promise<never> {
    const { signal } = this.#closing;
    for (;;) {
      signal.throwIfAborted();
      try {
        if (this.#listReason !== '') await this.#list();
        await this.#watch();
      } catch (error) {
        signal.throwIfAborted();
        await pause(this.#waitAfter(error), signal);
      }
    }
  }

  /** Watches from the cursor; returns when a full list is due, and rejects as the store's watch does. */
  async #watch(): Promise<void> {
    const { store } = this.#options;
    const { signal } = this.#closing;
    signal.throwIfAborted();
    const watch = new AbortController();
    const stop = (): void => watch.abort(signal.reason);
    signal.addEventListener('abort', stop);
    const hear = (tell: () => void): void => {
      if (watch.signal.aborted) return;
      try {
        tell();
      } catch (error) {
        // The store's watch expects no throw: one that hands it on would take it for its own.
        watch.abort(new TellFault(error));
      }
    };
    const untilListMs = Math.max(0, this.#listDueAtMs - performance.now());
    const timer = setTimeout(() => watch.abort(LIST_IS_DUE), Math.min(untilListMs, LONGEST_TIMER_MILLIS));
    try {
      await store.watch(
        SUBNETS_KEY_PREFIX,
        this.#revision,
        {
          onOpen: () => hear(() => this.#onOpen()),
          onBatch: (events, revision) => hear(() => this.#onBatch(events, revision)),
        },
        watch.signal,
      );
    } catch (error) {
      if (watch.signal.reason instanceof TellFault) throw watch.signal.reason;
      if (watch.signal.reason !== LIST_IS_DUE) throw error;
      this.#listReason = CERTAINTY;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
      if (this.#watching) this.#syncedAt = new Date();
      this.#watching = false;
      // A store that rejects early must not go on telling.
      watch.abort();
    }
  }

  #onOpen(): void {
    this.#watching = true;
    this.#backOff.reset();
    this.#deniedBackOff.reset();
    this.#options.connection.up();
  }

  #onBatch(events: readonly StoreEvent[], revision: bigint): void {
    const news = events.filter((event) => revisionOf(event) > this.#revision);
    if (revision > this.#revision) this.#revision = revision;
    if (news.length > 0) this.#tellNews(news);
    this.#listBackOff.reset();
  }

  #tellNews(news: readonly StoreEvent[]): void {
    const { listener } = this.#options;
    const changes = this.#table.apply(news);
    if (changes.length > 0) listener.onChanges(changes);
    const own = news.findLast((event) => keyOf(event) === this.#view.ownKey);
    if (own !== undefined) listener.onOwnChange(revisionOf(own));
  }

  async #list(): Promise<void> {
    const listing = await this.#options.store.list(SUBNETS_KEY_PREFIX, this.#closing.signal);
    try {
      this.#tellListing(listing);
    } catch (error) {
      throw new TellFault(error);
    }
  }

  #tellListing(listing: StoreListing): void {
    const { listener } = this.#options;
    const reason = this.#listReason;
    const changed = this.#take(listing);
    this.#relists++;
    if (changed || reason !== CERTAINTY) {
      listener.onEvent({ kind: 'relisted', leases: listing.entries.length, reason });
    }
    if (changed || this.#untold) listener.onPeers();
    this.#untold = false;
    listener.onOwnListed(this.#table.own);
  }

  #take({ entries, revision }: StoreListing): boolean {
    const { resyncSeconds, random } = this.#options;
    const changed = this.#table.replace(entries);
    this.#revision = revision;
    this.#listReason = '';
    this.#syncedAt = new Date();
    this.#listDueAtMs = performance.now() + spread(resyncSeconds * 1000, random);
    return changed;
  }

  /** @returns milliseconds to wait after a failure */
  #waitAfter(error: unknown): number {
    if (error instanceof SelvageError && error.code === 'ERR_STORE_COMPACTED') {
      this.#listReason = error.message;
      return this.#listBackOff.next();
    }
    if (error instanceof TellFault) {
      this.#untold = true;
      this.#listReason = error.message;
      return this.#listBackOff.next();
    }
    try {
      this.#options.connection.down(error);
    } catch (thrown) {
      return this.#waitAfter(new TellFault(thrown));
    }
    // Whatever it was may come again with the same events: a list goes past them.
    if (!isStoreFault(error)) this.#listReason = `the watch failed: ${String(error)}`;
    return (isDenied(error) ? this.#deniedBackOff : this.#backOff).next();
  }
}

function keyOf(event: StoreEvent): string {
  return event.kind === 'put' ? event.entry.key : event.key;
}

function revisionOf(event: StoreEvent): bigint {
  return event.kind === 'put' ? event.entry.revision : event.revision;
}
