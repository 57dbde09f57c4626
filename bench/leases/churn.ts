import { setTimeout as sleep } from 'node:timers/promises';

import type { EtcdStore, StoreEntry, StoreEvent } from '../../src/index.js';
import { until } from '../../test/netns/until.js';
import { monotonicMillis } from './clock.js';
import { keyOf, LEASE_SECONDS, valueOf } from './made_leases.js';
import { type Change, type ChangeKind, CHANGES } from './messages.js';

export interface ChurnOptions {
  readonly changes: number;
  readonly perSecond: number;
  readonly firstFree: number;
}

/** A change under way. */
interface Pending {
  readonly kind: ChangeKind;
  readonly key: string;
  confirmedAtMillis: number;
  seenAtMillis: number;
  revision: number;
}

const DRAIN_SECONDS = 30;

/**
 * Changes leases at an even pace, each kind of change in turn, and notes when etcd first told of each: by the answer to the
 * write, or by a bare watch here, in another process than the host that is measured.
 */
export class Churn {
  readonly #store: EtcdStore;
  readonly #options: ChurnOptions;
  /** The one that rested longest comes first. */
  readonly #resting: StoreEntry[];
  readonly #changes: Pending[] = [];
  readonly #abort = new AbortController();
  #writesUnderWay = 0;

  /** @param entries at least as many as change within a second */
  constructor(store: EtcdStore, entries: readonly StoreEntry[], options: ChurnOptions) {
    this.#store = store;
    this.#options = options;
    this.#resting = [...entries];
  }

  /** @param revision at which the entries were listed */
  async run(revision: bigint): Promise<Change[]> {
    const watching = new Promise<void>((resolve, reject) => {
      const listener = {
        onOpen: resolve,
        onBatch: (events: readonly StoreEvent[]) => events.forEach((event) => this.#see(event)),
      };
      this.#store.watch('subnets', revision, listener, this.#abort.signal).catch(reject);
    });
    await watching;
    await this.#changeAtPace();
    await until(
      'the watch to tell all changes',
      () => this.#writesUnderWay === 0 && this.#changes.every(({ revision }) => revision > 0),
      DRAIN_SECONDS,
    );
    this.#abort.abort();
    return this.#changes.map(({ kind, revision, confirmedAtMillis, seenAtMillis }) => ({
      kind,
      revision,
      atMillis: Math.min(confirmedAtMillis, seenAtMillis),
    }));
  }

  /** A slow answer does not slow the pace down. */
  async #changeAtPace(): Promise<void> {
    const { changes, perSecond } = this.#options;
    const startedAt = performance.now();
    for (let i = 0; i < changes; i++) {
      await sleep(Math.max(0, startedAt + (i * 1000) / perSecond - performance.now()));
      void this.#change(i, CHANGES[i % CHANGES.length]!);
    }
  }

  async #change(i: number, kind: ChangeKind): Promise<void> {
    const n = this.#options.firstFree + Math.floor(i / CHANGES.length);
    const before = kind === 'made' ? undefined : this.#resting.shift();
    const key = before?.key ?? keyOf(n);
    const pending = { kind, key, confirmedAtMillis: Infinity, seenAtMillis: Infinity, revision: 0 };
    this.#changes.push(pending);
    this.#writesUnderWay++;
    const after = await this.#write(kind, key, before, n);
    pending.confirmedAtMillis = monotonicMillis();
    this.#writesUnderWay--;
    if (after !== undefined) this.#resting.push(after);
  }

  async #write(
    kind: ChangeKind,
    key: string,
    before: StoreEntry | undefined,
    n: number,
  ): Promise<StoreEntry | undefined> {
    const { signal } = this.#abort;
    if (before === undefined) return await this.#store.create(key, valueOf(n), LEASE_SECONDS, signal);
    if (kind === 'removed') {
      await this.#store.remove(before, signal);
      return undefined;
    }
    const value = kind === 'moved' ? valueOf(n, 1) : before.value;
    return await this.#store.replace(before, value, LEASE_SECONDS, signal);
  }

  #see(event: StoreEvent): void {
    const key = event.kind === 'put' ? event.entry.key : event.key;
    const pending = this.#changes.find((each) => each.key === key && each.revision === 0);
    if (pending === undefined) return; // a host of the lab
    pending.seenAtMillis = monotonicMillis();
    pending.revision = Number(event.kind === 'put' ? event.entry.revision : event.revision);
  }
}
