import type { MessageInitShape } from '@bufbuild/protobuf';

import { SelvageError } from '../../errors.js';
import type { LeaseStore, StoreEntry, StoreListing, WatchListener } from '../store/lease_store.js';
import { EtcdClient } from './etcd_client.js';
import type { CheckedEtcdOptions } from './etcd_options.js';
import { RequestFault } from './fault.js';
import {
  type CompareSchema,
  Compare_CompareTarget,
  type RequestOpSchema,
  type TxnResponse,
} from './gen/rpc_pb.js';
import { grantText, KeySpace, leaseIdOf } from './key_space.js';
import { LeaseGrants } from './lease_grants.js';
import { followWatch, watchRequests } from './watch_stream.js';

/** How long close() lets revocations finish that are under way. */
const TIDY_MILLIS = 1_000;

type CompareInit = MessageInitShape<typeof CompareSchema>;
type OperationInit = MessageInitShape<typeof RequestOpSchema>;

/** What a transaction did. */
interface Committed {
  readonly succeeded: boolean;
  readonly revision: bigint;
  /** The key as it is, where the transaction did not succeed. */
  readonly found: StoreEntry | undefined;
  /** An earlier try may have succeeded, and `succeeded` be false for that reason. */
  readonly maybeDoneBefore: boolean;
}

/** A write of a key that is carried out if `condition` holds. */
interface Write {
  readonly key: string;
  readonly value: string;
  readonly ttlSeconds: number;
  readonly condition: CompareInit;
  /** Whether an earlier try of this call can have written an entry that has our value and no grant. */
  readonly isOurs: (found: StoreEntry) => boolean;
  /** It is not known whether the write was carried out, or will be: what becomes of its grant. */
  readonly giveUp: (grant: string) => void;
}

/**
 * Leases in etcd v3 (3.4 or newer). See {@link LeaseStore} for the contract; here is what it means in etcd's terms:
 * an entry's grant is an etcd lease with that entry alone, and a revision is etcd's.
 *
 * Each request has a deadline, and is tried at another server when one fails. Writes are transactions that find out by
 * themselves whether an earlier try, whose answer was lost, has been carried out: our entry has our grant, whose id we chose.
 * An entry without end has none; it counts as ours when it came to be during the call with just our value.
 */
export class EtcdStore implements LeaseStore {
  readonly name: string;
  readonly keyBase: string;
  /** What is allowed in the options but hardly meant, one sentence each. */
  readonly warnings: readonly string[];
  readonly #client: EtcdClient;
  readonly #grants: LeaseGrants;
  readonly #keys: KeySpace;
  /** Revocations of grants that nobody uses any more; they fail without harm, as a grant ends by itself. */
  readonly #tidying = new Set<Promise<void>>();
  readonly #closing = new AbortController();

  /** Use {@link openEtcdStore}. */
  constructor(options: CheckedEtcdOptions) {
    this.#client = new EtcdClient(options);
    this.#grants = new LeaseGrants(this.#client);
    this.#keys = new KeySpace(options.keyBase);
    this.name = this.#client.name;
    this.keyBase = options.keyBase;
    this.warnings = options.warnings;
  }

  async get(key: string, signal: AbortSignal): Promise<StoreEntry | undefined> {
    const { value } = await this.#client.call(
      ({ calls: { kv } }, options) => kv.range({ key: this.#keys.encode(key) }, options),
      signal,
    );
    return value.kvs.map((kv) => this.#keys.entryOf(kv))[0];
  }

  async list(prefix: string, signal: AbortSignal): Promise<StoreListing> {
    const range = this.#keys.range(prefix);
    const { value } = await this.#client.call(
      ({ calls: { kv } }, options) => kv.range(range, options),
      signal,
    );
    return { entries: value.kvs.map((kv) => this.#keys.entryOf(kv)), revision: value.header?.revision ?? 0n };
  }

  async watch(prefix: string, after: bigint, listener: WatchListener, signal: AbortSignal): Promise<never> {
    const range = this.#keys.range(prefix);
    const { value } = await this.#client.call<never>(async (endpoint, options, opened) => {
      const connection = endpoint.connect();
      try {
        const responses = connection.watch.watch(watchRequests(range, after, options.signal), options);
        return await followWatch(responses, this.#keys, listener, async (revision) => {
          opened();
          if (revision < after) await this.#checkHistory(after, options.signal);
          listener.onOpen();
        });
      } finally {
        connection.close();
      }
    }, signal);
    return value;
  }

  async create(
    key: string,
    value: string,
    ttlSeconds: number,
    signal: AbortSignal,
  ): Promise<StoreEntry | undefined> {
    // For telling an entry without grant that came to be during this call from one that was there.
    const before = ttlSeconds > 0 ? undefined : await this.list(key, signal);
    const absent: CompareInit = {
      target: Compare_CompareTarget.VERSION,
      targetUnion: { case: 'version', value: 0n },
    };
    const write = {
      key,
      value,
      ttlSeconds,
      condition: absent,
      isOurs: ({ createdAt, revision }: StoreEntry) =>
        createdAt === revision && before !== undefined && createdAt > before.revision,
      // The entry goes then, or never comes: to the caller it was not made.
      giveUp: (grant: string) => this.#revoke(grant),
    };
    return this.#put(write, signal);
  }

  async replace(
    entry: StoreEntry,
    value: string,
    ttlSeconds: number,
    signal: AbortSignal,
  ): Promise<StoreEntry | undefined> {
    const { key, createdAt } = entry;
    const write = {
      key,
      value,
      ttlSeconds,
      condition: unchanged(entry),
      isOurs: (found: StoreEntry) => found.createdAt === createdAt && found.revision > entry.revision,
      // The entry may have the new grant by now, or in a moment, and must not go with it; unused, the grant ends by itself.
      giveUp: () => {},
    };
    const put = await this.#put(write, signal);
    if (put === undefined) return undefined;
    this.#tidy(entry.grant);
    return { ...put, createdAt };
  }

  async remove(entry: StoreEntry, signal: AbortSignal): Promise<boolean> {
    const key = this.#keys.encode(entry.key);
    const operation: OperationInit = { request: { case: 'requestDeleteRange', value: { key } } };
    const { succeeded, found, maybeDoneBefore } = await this.#commit(
      entry.key,
      unchanged(entry),
      operation,
      signal,
    );
    const removed = succeeded || (maybeDoneBefore && found?.createdAt !== entry.createdAt);
    if (removed) this.#tidy(entry.grant);
    return removed;
  }

  async prolong(entry: StoreEntry, signal: AbortSignal): Promise<boolean> {
    if ((await this.remainingSeconds(entry, signal)) === 0) return false;
    return entry.grant === '' || this.#grants.prolong(leaseIdOf(entry.grant), signal);
  }

  async remainingSeconds(entry: StoreEntry, signal: AbortSignal): Promise<number> {
    if (entry.grant === '') {
      const now = await this.get(entry.key, signal);
      return now?.createdAt === entry.createdAt ? Infinity : 0;
    }
    const { seconds, keys } = await this.#grants.state(leaseIdOf(entry.grant), signal);
    const bound = keys.some((key) => this.#keys.isEqual(key, entry.key));
    // Less than a second is left of a grant with 0: the entry has not gone.
    return bound ? Math.max(seconds, 1) : 0;
  }

  async close(): Promise<void> {
    if (this.#tidying.size > 0) await withinMillis(Promise.all(this.#tidying), TIDY_MILLIS);
    this.#closing.abort();
    this.#client.close();
    await Promise.all(this.#tidying);
  }

  /** @returns the entry; its `createdAt` is right for a new key */
  async #put(write: Write, signal: AbortSignal): Promise<StoreEntry | undefined> {
    const { key, value, ttlSeconds, condition } = write;
    const lease = ttlSeconds > 0 ? await this.#grants.grant(ttlSeconds, signal) : 0n;
    const grant = grantText(lease);
    const put = { key: this.#keys.encode(key), value: Buffer.from(value), lease };
    const operation: OperationInit = { request: { case: 'requestPut', value: put } };
    const { succeeded, revision, found, maybeDoneBefore } = await this.#commit(
      key,
      condition,
      operation,
      signal,
    ).catch((error: unknown) => {
      if (error instanceof SelvageError && error.code === 'ERR_STORE_DENIED') this.#tidy(grant);
      else write.giveUp(grant);
      throw error;
    });
    if (succeeded) return { key, value, createdAt: revision, revision, grant };
    const ours = grant !== '' || (maybeDoneBefore && found?.value === value && write.isOurs(found));
    if (found?.grant === grant && ours) return found;
    this.#tidy(grant);
    return undefined;
  }

  async #commit(
    key: string,
    condition: CompareInit,
    operation: OperationInit,
    signal: AbortSignal,
  ): Promise<Committed> {
    const bytes = this.#keys.encode(key);
    const transaction = {
      compare: [{ ...condition, key: bytes }],
      success: [operation],
      failure: [{ request: { case: 'requestRange' as const, value: { key: bytes } } }],
    };
    const { value, maybeDoneBefore } = await this.#client.call(
      ({ calls: { kv } }, options) => kv.txn(transaction, options),
      signal,
    );
    const { succeeded, header } = value;
    return { succeeded, revision: header?.revision ?? 0n, found: this.#foundIn(value), maybeDoneBefore };
  }

  #foundIn({ responses }: TxnResponse): StoreEntry | undefined {
    const response = responses[0]?.response;
    const kv = response?.case === 'responseRange' ? response.value.kvs[0] : undefined;
    return kv === undefined ? undefined : this.#keys.entryOf(kv);
  }

  /**
   * A server whose revision is below one that was seen is behind the others, which passes, or the store was restored from a
   * backup: then revisions up to `after` come again with other content, and watching would miss them. A read that all servers
   * agree on tells.
   */
  async #checkHistory(after: bigint, signal: AbortSignal): Promise<void> {
    const { revision } = await this.list('config', signal);
    if (revision >= after) return;
    const reason = `the store went back in time, from revision ${after} to ${revision}: was it restored from a backup?`;
    throw new RequestFault({ kind: 'compacted', reason, maybeDone: false });
  }

  /** Ends a grant in the background, unless keys use it. */
  #tidy(grant: string): void {
    if (grant !== '') this.#inBackground((signal) => this.#grants.revokeUnused(leaseIdOf(grant), signal));
  }

  /** Ends a grant of ours in the background, and what it bounds. */
  #revoke(grant: string): void {
    if (grant !== '') this.#inBackground((signal) => this.#grants.revoke(leaseIdOf(grant), signal));
  }

  #inBackground(work: (signal: AbortSignal) => Promise<void>): void {
    const done = work(this.#closing.signal)
      .catch(() => {}) // see #tidying
      .finally(() => this.#tidying.delete(done));
    this.#tidying.add(done);
  }
}

function unchanged({ revision }: StoreEntry): CompareInit {
  return {
    target: Compare_CompareTarget.MOD,
    targetUnion: { case: 'modRevision', value: revision },
  };
}

async function withinMillis(promise: Promise<unknown>, millis: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, millis)));
  await Promise.race([promise, late]);
  clearTimeout(timer);
}
