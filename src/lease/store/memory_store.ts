import { setImmediate as nextTurn } from 'node:timers/promises';

import { SelvageError } from '../../errors.js';
import type { LeaseStore, StoreEntry, StoreEvent, StoreListing, WatchListener } from './lease_store.js';
import { type ChangeListener, MemorySpace } from './memory_space.js';

/**
 * A store in the memory of this process, for tests and for embedding several forwarders in one. Stores that share a
 * {@link MemorySpace} see the same entries, as clients of one server do.
 *
 * Each call takes one turn of the event loop, so that nothing happens earlier than with a server. `disconnect` cuts this store
 * off from its space, whose time limits go on.
 */
export class MemoryStore implements LeaseStore {
  readonly name = 'memory';
  readonly #space: MemorySpace;
  /** Aborted with the reason when the store is cut off or closed; calls that wait listen to it. */
  #line = new AbortController();
  #closed = false;

  /** @param space not owned; a new one when left out */
  constructor(space: MemorySpace = new MemorySpace()) {
    this.#space = space;
  }

  async get(key: string, signal: AbortSignal): Promise<StoreEntry | undefined> {
    await this.#reach(signal);
    return this.#space.get(key);
  }

  async list(prefix: string, signal: AbortSignal): Promise<StoreListing> {
    await this.#reach(signal);
    return this.#space.list(prefix);
  }

  async watch(prefix: string, after: bigint, listener: WatchListener, signal: AbortSignal): Promise<never> {
    await this.#reach(signal);
    const past = this.#space.changesAfter(after);
    listener.onOpen();
    const ended = AbortSignal.any([signal, this.#line.signal]);
    const deliver: ChangeListener = (event, revision) => {
      if (revision > after && !ended.aborted)
        listener.onBatch(concerns(event, prefix) ? [event] : [], revision);
    };
    for (const event of past) deliver(event, event.kind === 'put' ? event.entry.revision : event.revision);
    this.#space.subscribe(deliver);
    try {
      return await endOf(ended);
    } finally {
      this.#space.unsubscribe(deliver);
    }
  }

  async create(
    key: string,
    value: string,
    ttlSeconds: number,
    signal: AbortSignal,
  ): Promise<StoreEntry | undefined> {
    await this.#reach(signal);
    return this.#space.get(key) === undefined ? this.#space.put(key, value, ttlSeconds) : undefined;
  }

  async replace(
    entry: StoreEntry,
    value: string,
    ttlSeconds: number,
    signal: AbortSignal,
  ): Promise<StoreEntry | undefined> {
    await this.#reach(signal);
    return this.#isCurrent(entry) ? this.#space.put(entry.key, value, ttlSeconds) : undefined;
  }

  async remove(entry: StoreEntry, signal: AbortSignal): Promise<boolean> {
    await this.#reach(signal);
    if (!this.#isCurrent(entry)) return false;
    this.#space.remove(entry.key);
    return true;
  }

  async prolong(entry: StoreEntry, signal: AbortSignal): Promise<boolean> {
    await this.#reach(signal);
    return this.#space.prolong(entry);
  }

  async remainingSeconds(entry: StoreEntry, signal: AbortSignal): Promise<number> {
    await this.#reach(signal);
    return this.#space.remainingSeconds(entry);
  }

  /** Cuts the store off: calls and watches reject with ERR_STORE_UNAVAILABLE until {@link reconnect}. */
  disconnect(): void {
    this.#line.abort(new SelvageError('ERR_STORE_UNAVAILABLE', 'memory: disconnected; call reconnect()'));
  }

  /** Ends {@link disconnect}. Watches that ended stay ended. */
  reconnect(): void {
    if (!this.#closed && this.#line.signal.aborted) this.#line = new AbortController();
  }

  close(): Promise<void> {
    this.#closed = true;
    if (this.#line.signal.aborted) this.#line = new AbortController();
    this.#line.abort(new SelvageError('ERR_CLOSED', 'memory: the store is closed; make a new one'));
    return Promise.resolve();
  }

  /** The way to the space and back. Rejects when the call was given up or the store cut off meanwhile. */
  async #reach(signal: AbortSignal): Promise<void> {
    const line = this.#line.signal;
    line.throwIfAborted();
    signal.throwIfAborted();
    await nextTurn();
    line.throwIfAborted();
    signal.throwIfAborted();
  }

  #isCurrent({ key, revision }: StoreEntry): boolean {
    return this.#space.get(key)?.revision === revision;
  }
}

/** Waits for the signal and throws its reason. */
async function endOf(signal: AbortSignal): Promise<never> {
  if (!signal.aborted) {
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }
  throw signal.reason;
}

function concerns(event: StoreEvent, prefix: string): boolean {
  return (event.kind === 'put' ? event.entry.key : event.key).startsWith(prefix);
}
