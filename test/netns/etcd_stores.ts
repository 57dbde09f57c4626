import type { Test } from 'tap';

import { SelvageError } from '../../src/errors.js';
import type { EtcdStore } from '../../src/lease/etcd/etcd_store.js';
import { openEtcdStore } from '../../src/lease/etcd/open_etcd_store.js';
import type { EtcdStoreOptions } from '../../src/lease/etcd/etcd_options.js';
import type { LeaseStore, StoreEvent, WatchListener } from '../../src/lease/store/lease_store.js';
import { EtcdServer, type EtcdServerOptions } from './etcd_server.js';
import { until } from './until.js';

/** Never aborts. */
export const FOREVER: AbortSignal = new AbortController().signal;
/** What keys of the stores here begin with. */
export const BASE = '/coreos.com/network/';

/** A server that ends with the test. */
export async function startEtcd(t: Test, options: EtcdServerOptions = {}): Promise<EtcdServer> {
  const server = await EtcdServer.start(options);
  t.teardown(() => server.close());
  return server;
}

/** A store that is closed with the test. */
export async function openStore(t: Test, options: EtcdStoreOptions): Promise<EtcdStore> {
  const store = await openEtcdStore(options);
  t.teardown(() => store.close());
  return store;
}

/** The SelvageError that `promise` rejects with. @throws Error when it does otherwise */
export async function errorOf(promise: Promise<unknown>): Promise<SelvageError> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: unknown) => error,
  );
  if (outcome instanceof SelvageError) return outcome;
  throw new Error('expected a SelvageError', { cause: outcome });
}

/** A watch of everything, and what it has brought. */
export class WatchRecord implements WatchListener {
  opened = false;
  readonly events: StoreEvent[] = [];
  /** Up to where everything was delivered. */
  revision: bigint;
  /** Why it ended; undefined while it goes on. */
  end: unknown;
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;

  constructor(t: Test, store: LeaseStore, after: bigint, prefix = '') {
    this.revision = after;
    this.#ended = store.watch(prefix, after, this, this.#stop.signal).catch((error: unknown) => {
      this.end = error;
    });
    t.teardown(() => this.stop());
  }

  onOpen(): void {
    this.opened = true;
  }

  onBatch(events: readonly StoreEvent[], revision: bigint): void {
    this.events.push(...events);
    this.revision = revision;
  }

  /** Keys put, and keys deleted with a `-` before them, in order. */
  get keys(): string[] {
    return this.events.map((event) => (event.kind === 'put' ? event.entry.key : `-${event.key}`));
  }

  async untilOpen(): Promise<this> {
    await until('the watch to be open', () => this.opened || this.end !== undefined);
    if (this.end !== undefined) throw new Error('the watch has ended', { cause: this.end });
    return this;
  }

  /** @returns the error that it ended with */
  async untilEnd(seconds = 30): Promise<SelvageError> {
    await until('the watch to end', () => this.end !== undefined, seconds);
    if (this.end instanceof SelvageError) return this.end;
    throw new Error('expected a SelvageError', { cause: this.end });
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }
}
