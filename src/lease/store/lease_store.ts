/**
 * Where leases are kept: the contract that every store fulfils (etcd's is `etcd/etcd_store.ts`). Types only.
 *
 * A store is a small key-value space with revisions. Keys are paths below the network's prefix: `config`,
 * `subnets/10.1.2.0-24`, `selvage/hosts/192.0.2.1`. Each change gives the space the next revision, so that "what happened
 * after R" has one answer. What keys and values mean is not the store's business.
 *
 * Every method that waits takes a signal and rejects with its reason once that aborts. Otherwise they reject with a
 * {@link SelvageError} of one of these codes:
 *
 * | code | means |
 * |------|-------|
 * | ERR_STORE_UNAVAILABLE | no server answered in time, or the connection ended; the same call may work later |
 * | ERR_STORE_DENIED | user, password, certificate or permission was refused; trying again helps only once that is put right |
 * | ERR_STORE_COMPACTED | `watch` only: the revisions asked for are gone; list, and watch from there |
 *
 * `storeContract()` (selvage/store-contract) is the test suite of this page.
 */

/** One key and what it holds. Immutable. */
export interface StoreEntry {
  /** Path below the prefix. */
  readonly key: string;
  /** UTF-8 text; bytes that are none come as U+FFFD. */
  readonly value: string;
  /** Revision at which the key came to be; a key that was removed and made again is another one. */
  readonly createdAt: bigint;
  /** Revision of its last write. */
  readonly revision: bigint;
  /** Names the time limit that bounds the entry's life; '' for an entry without end. Opaque, unique for each grant. */
  readonly grant: string;
}

/** Entries of one moment. */
export interface StoreListing {
  /** In ascending order of key. The caller owns the array. */
  readonly entries: StoreEntry[];
  /** The revision of that moment: watching from here misses nothing and repeats nothing. */
  readonly revision: bigint;
}

/** One change. */
export type StoreEvent =
  | { readonly kind: 'put'; readonly entry: StoreEntry }
  /** Removed, or its time limit passed. */
  | { readonly kind: 'delete'; readonly key: string; readonly revision: bigint };

/** Receives what a watch sees. Called in order, never re-entrantly; must not throw. */
export interface WatchListener {
  /** The server confirmed the watch; from now on silence means that nothing happens. Called once for each `watch`. */
  onOpen(): void;
  /**
   * Events in order of revision, all those of one revision together. Empty when only the revision is news.
   *
   * @param revision every event up to and including it has been delivered
   */
  onBatch(events: readonly StoreEvent[], revision: bigint): void;
}

/** A store of leases. Main thread. */
export interface LeaseStore {
  /** For messages, e.g. `etcd http://127.0.0.1:2379`; without secrets. */
  readonly name: string;
  /** What people find before every key, for messages, e.g. `/coreos.com/network/`; absent when nothing stands there. */
  readonly keyBase?: string;
  /** Reads one key; undefined when there is none. Never older than the last write that was confirmed to anybody. */
  get(key: string, signal: AbortSignal): Promise<StoreEntry | undefined>;
  /** Reads all keys that begin with `prefix`, at one revision, in one request. */
  list(prefix: string, signal: AbortSignal): Promise<StoreListing>;
  /**
   * Delivers every change of keys that begin with `prefix`, after revision `after`, until `signal` aborts.
   *
   * One connection: when it ends or goes silent for seconds (half-open) this rejects with ERR_STORE_UNAVAILABLE, and the
   * caller calls again with the last revision it was given.
   */
  watch(prefix: string, after: bigint, listener: WatchListener, signal: AbortSignal): Promise<never>;
  /**
   * Makes a key that must not exist.
   *
   * @param ttlSeconds the entry goes away after so long, at least 1; 0 for never. A server may round it up.
   * @returns undefined when the key exists. When an answer was lost and the entry turns out to be ours, it is returned.
   */
  create(
    key: string,
    value: string,
    ttlSeconds: number,
    signal: AbortSignal,
  ): Promise<StoreEntry | undefined>;
  /**
   * Writes a key again, with a new time limit, if nobody wrote it since `entry` was read.
   *
   * @returns undefined when it was changed or removed meanwhile
   */
  replace(
    entry: StoreEntry,
    value: string,
    ttlSeconds: number,
    signal: AbortSignal,
  ): Promise<StoreEntry | undefined>;
  /** Removes a key if nobody wrote it since `entry` was read. @returns whether it did */
  remove(entry: StoreEntry, signal: AbortSignal): Promise<boolean>;
  /** Starts the entry's time limit anew, without a write that watchers would see. @returns false when it has ended */
  prolong(entry: StoreEntry, signal: AbortSignal): Promise<boolean>;
  /** Seconds until the entry goes away; Infinity without a limit, 0 when it has gone. */
  remainingSeconds(entry: StoreEntry, signal: AbortSignal): Promise<number>;
  /** Ends calls that wait and gives back connections. Later calls reject with ERR_CLOSED. */
  close(): Promise<void>;
}
