import type { LeaseStore, StoreEntry, StoreListing, WatchListener } from '../../src/index.js';
import { monotonicMillis } from './clock.js';

/** How long a list took. */
export interface ListTime {
  readonly millis: number;
  /** The part of it in which the main thread had nothing to do: waiting for etcd. */
  readonly idleMillis: number;
}

/** A store, and a record of what an agent asks it and is told. */
export class RecordingStore implements LeaseStore {
  /** Of all leases. */
  readonly lists: ListTime[] = [];
  readonly #store: LeaseStore;
  readonly #onDelivered: (revision: bigint, arrivedAtMillis: number) => void;

  /** @param onDelivered the agent has taken everything up to a revision, which arrived at that time */
  constructor(store: LeaseStore, onDelivered: (revision: bigint, arrivedAtMillis: number) => void) {
    this.#store = store;
    this.#onDelivered = onDelivered;
  }

  get name(): string {
    return this.#store.name;
  }

  async list(prefix: string, signal: AbortSignal): Promise<StoreListing> {
    const before = performance.eventLoopUtilization();
    const startedAt = performance.now();
    const listing = await this.#store.list(prefix, signal);
    const { idle } = performance.eventLoopUtilization(before);
    this.lists.push({ millis: performance.now() - startedAt, idleMillis: idle });
    return listing;
  }

  watch(prefix: string, after: bigint, listener: WatchListener, signal: AbortSignal): Promise<never> {
    const recording: WatchListener = {
      onOpen: () => listener.onOpen(),
      onBatch: (events, revision) => {
        const arrivedAtMillis = monotonicMillis();
        listener.onBatch(events, revision);
        this.#onDelivered(revision, arrivedAtMillis);
      },
    };
    return this.#store.watch(prefix, after, recording, signal);
  }

  get(key: string, signal: AbortSignal): Promise<StoreEntry | undefined> {
    return this.#store.get(key, signal);
  }

  create(key: string, value: string, ttl: number, signal: AbortSignal): Promise<StoreEntry | undefined> {
    return this.#store.create(key, value, ttl, signal);
  }

  replace(
    entry: StoreEntry,
    value: string,
    ttl: number,
    signal: AbortSignal,
  ): Promise<StoreEntry | undefined> {
    return this.#store.replace(entry, value, ttl, signal);
  }

  remove(entry: StoreEntry, signal: AbortSignal): Promise<boolean> {
    return this.#store.remove(entry, signal);
  }

  prolong(entry: StoreEntry, signal: AbortSignal): Promise<boolean> {
    return this.#store.prolong(entry, signal);
  }

  remainingSeconds(entry: StoreEntry, signal: AbortSignal): Promise<number> {
    return this.#store.remainingSeconds(entry, signal);
  }

  close(): Promise<void> {
    return this.#store.close();
  }
}
