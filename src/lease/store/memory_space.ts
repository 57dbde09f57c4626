import { SelvageError } from '../../errors.js';
import type { StoreEntry, StoreEvent, StoreListing } from './lease_store.js';

/** Changes that a watch can go back over; older ones are compacted, so that a space that lives for years does not grow. */
const HISTORY_REVISIONS = 10_000;
/** Node's timers take no more (they would fire at once). */
const LONGEST_TIMER_MILLIS = 2 ** 31 - 1;

/** As etcd counts: the first change has revision 2. */
const EMPTY_REVISION = 1n;

/** A subscriber to the changes of a space. */
export type ChangeListener = (event: StoreEvent, revision: bigint) => void;

/** An entry's time limit. */
interface Limit {
  readonly ttlSeconds: number;
  /** On the clock of performance.now(). */
  endsAtMillis: number;
  timer: NodeJS.Timeout | undefined;
}

/**
 * The entries that {@link MemoryStore}s of one process share: each store stands for one host. Main thread.
 *
 * Synchronous, and every change is one revision. Time limits are real; their timers do not keep the process alive.
 */
export class MemorySpace {
  readonly #entries = new Map<string, StoreEntry>();
  readonly #limits = new Map<string, Limit>();
  readonly #listeners = new Set<ChangeListener>();
  /** Changes after the compacted revision, oldest first; one for each revision. */
  #history: StoreEvent[] = [];
  #revision = EMPTY_REVISION;
  /** Changes up to and including this revision are forgotten. */
  #compacted = EMPTY_REVISION;
  #grants = 0;

  /** The revision of the last change; 1 for a space that saw none. */
  get revision(): bigint {
    return this.#revision;
  }

  get(key: string): StoreEntry | undefined {
    return this.#entries.get(key);
  }

  list(prefix: string): StoreListing {
    const entries = [...this.#entries.values()].filter(({ key }) => key.startsWith(prefix));
    entries.sort((a, b) => (a.key < b.key ? -1 : 1));
    return { entries, revision: this.#revision };
  }

  /** Writes a key. @param ttlSeconds 0 for no limit */
  put(key: string, value: string, ttlSeconds: number): StoreEntry {
    const revision = this.#revision + 1n;
    const before = this.#entries.get(key);
    const grant = ttlSeconds > 0 ? this.#grant(key, ttlSeconds) : '';
    const entry = { key, value, createdAt: before?.createdAt ?? revision, revision, grant };
    this.#entries.set(key, entry);
    this.#endLimit(before);
    this.#change({ kind: 'put', entry });
    return entry;
  }

  /** Removes a key; no change when there is none. */
  remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#endLimit(entry);
    this.#change({ kind: 'delete', key, revision: this.#revision + 1n });
  }

  /** Starts the entry's time limit anew. @returns false when it has ended */
  prolong(entry: StoreEntry): boolean {
    const limit = this.#limits.get(entry.grant);
    if (limit === undefined) return entry.grant === '' && this.#stands(entry);
    limit.endsAtMillis = performance.now() + limit.ttlSeconds * 1000;
    return true;
  }

  /** Seconds until the entry goes away; Infinity without a limit, 0 when it is gone. */
  remainingSeconds(entry: StoreEntry): number {
    if (entry.grant === '') return this.#stands(entry) ? Infinity : 0;
    const limit = this.#limits.get(entry.grant);
    return limit === undefined ? 0 : Math.max(0, (limit.endsAtMillis - performance.now()) / 1000);
  }

  /**
   * Changes after a revision, oldest first.
   *
   * @throws SelvageError ERR_STORE_COMPACTED when they are not all there any more
   */
  changesAfter(revision: bigint): StoreEvent[] {
    const ahead = revision - this.#compacted;
    if (ahead >= 0n || this.#compacted === EMPTY_REVISION) {
      return ahead < BigInt(this.#history.length) ? this.#history.slice(Math.max(0, Number(ahead))) : [];
    }
    throw new SelvageError(
      'ERR_STORE_COMPACTED',
      `memory: the changes after revision ${revision} are gone up to ${this.#compacted}; list, and watch from there`,
    );
  }

  /** Forgets the changes up to and including a revision; those to come cannot be forgotten. */
  compact(revision: bigint): void {
    const upTo = revision < this.#revision ? revision : this.#revision;
    if (upTo <= this.#compacted) return;
    this.#history = this.#history.slice(Number(upTo - this.#compacted));
    this.#compacted = upTo;
  }

  subscribe(listener: ChangeListener): void {
    this.#listeners.add(listener);
  }

  unsubscribe(listener: ChangeListener): void {
    this.#listeners.delete(listener);
  }

  #stands({ key, createdAt }: StoreEntry): boolean {
    return this.#entries.get(key)?.createdAt === createdAt;
  }

  #change(event: StoreEvent): void {
    this.#revision += 1n;
    this.#history.push(event);
    // Twice as many before half goes, so that the cost of forgetting is spread over as many changes.
    if (this.#history.length >= 2 * HISTORY_REVISIONS)
      this.compact(this.#revision - BigInt(HISTORY_REVISIONS));
    for (const listener of [...this.#listeners]) listener(event, this.#revision);
  }

  #grant(key: string, ttlSeconds: number): string {
    const grant = `memory-${++this.#grants}`;
    const limit: Limit = {
      ttlSeconds,
      endsAtMillis: performance.now() + ttlSeconds * 1000,
      timer: undefined,
    };
    this.#limits.set(grant, limit);
    this.#await(key, limit);
    return grant;
  }

  /** Waits for the end of a limit, which may have moved when the timer fires. */
  #await(key: string, limit: Limit): void {
    const leftMillis = limit.endsAtMillis - performance.now();
    if (leftMillis <= 0) return this.remove(key);
    const delayMillis = Math.min(Math.ceil(leftMillis), LONGEST_TIMER_MILLIS);
    limit.timer = setTimeout(() => this.#await(key, limit), delayMillis).unref();
  }

  #endLimit(entry: StoreEntry | undefined): void {
    if (entry === undefined) return;
    clearTimeout(this.#limits.get(entry.grant)?.timer);
    this.#limits.delete(entry.grant);
  }
}
