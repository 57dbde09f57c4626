import t from 'tap';

import type {
  LeaseStore,
  StoreEntry,
  StoreListing,
  WatchListener,
} from '../../src/lease/store/lease_store.js';
import { MemorySpace } from '../../src/lease/store/memory_space.js';
import { MemoryStore } from '../../src/lease/store/memory_store.js';
import { storeContract, type StoreFixture } from '../../src/lease/store/store_contract.js';

/** Two stores of one kind over a new space. */
function openWith<S extends LeaseStore>(make: (space: MemorySpace) => S): () => Promise<StoreFixture> {
  return () => {
    const space = new MemorySpace();
    const [store, other] = [make(space), make(space)];
    return Promise.resolve({
      store,
      other,
      compact: (revision: bigint) => Promise.resolve(space.compact(revision)),
      close: async () => {
        await store.close();
        await other.close();
      },
    });
  };
}

t.test('the store in memory fulfils the contract', (t) => {
  t.jobs = 8; // most of the time is waiting for time limits to pass
  for (const rule of storeContract(openWith((space) => new MemoryStore(space)))) {
    t.test(rule.name, { buffered: true }, () => rule.run());
  }
  t.end();
});

class Overwriting extends MemoryStore {
  override async create(key: string, value: string, ttlSeconds: number, signal: AbortSignal) {
    const entry = await super.get(key, signal);
    return entry === undefined
      ? super.create(key, value, ttlSeconds, signal)
      : super.replace(entry, value, ttlSeconds, signal);
  }
}

/** Its calls are not checked by the space: what a store does that looks first and writes in another request. */
class LooksFirst extends MemoryStore {
  readonly #space: MemorySpace;

  constructor(space: MemorySpace) {
    super(space);
    this.#space = space;
  }

  override async create(key: string, value: string, ttlSeconds: number, signal: AbortSignal) {
    if ((await super.get(key, signal)) !== undefined) return undefined;
    await super.get(key, signal);
    return this.#space.put(key, value, ttlSeconds);
  }

  override async replace(
    { key, revision }: StoreEntry,
    value: string,
    ttlSeconds: number,
    signal: AbortSignal,
  ) {
    if ((await super.get(key, signal))?.revision !== revision) return undefined;
    await super.get(key, signal);
    return this.#space.put(key, value, ttlSeconds);
  }
}

class LastWriterWins extends MemoryStore {
  override async replace(entry: StoreEntry, value: string, ttlSeconds: number, signal: AbortSignal) {
    const current = await super.get(entry.key, signal);
    return current === undefined ? undefined : super.replace(current, value, ttlSeconds, signal);
  }
}

class Resurrecting extends MemoryStore {
  override async replace(entry: StoreEntry, value: string, ttlSeconds: number, signal: AbortSignal) {
    const current = await super.get(entry.key, signal);
    if (current !== undefined) return super.replace(entry, value, ttlSeconds, signal);
    return super.create(entry.key, value, ttlSeconds, signal);
  }
}

class RemovesAnything extends MemoryStore {
  override async remove(entry: StoreEntry, signal: AbortSignal) {
    return super.remove((await super.get(entry.key, signal)) ?? entry, signal);
  }
}

class ListsFolders extends MemoryStore {
  override async list(prefix: string, signal: AbortSignal): Promise<StoreListing> {
    const { entries, revision } = await super.list(prefix, signal);
    return { entries: entries.filter(({ key }) => key.startsWith(`${prefix}/`)), revision };
  }
}

class ListsBackwards extends MemoryStore {
  override async list(prefix: string, signal: AbortSignal): Promise<StoreListing> {
    const { entries, revision } = await super.list(prefix, signal);
    return { entries: entries.reverse(), revision };
  }
}

/** A store whose watch goes wrong in the way that is given. */
function watching(
  change: (
    watch: MemoryStore['watch'],
    ...[prefix, after, listener, signal]: Parameters<MemoryStore['watch']>
  ) => Promise<never>,
) {
  return class extends MemoryStore {
    override watch(prefix: string, after: bigint, listener: WatchListener, signal: AbortSignal) {
      return change(super.watch.bind(this), prefix, after, listener, signal);
    }
  };
}

const Inclusive = watching((watch, prefix, after, listener, signal) => {
  const late = { onOpen: () => listener.onOpen(), onBatch: listener.onBatch.bind(listener) };
  return watch(prefix, after - 1n, late, signal);
});
const FromNow = watching((watch, prefix, _after, listener, signal) =>
  watch(prefix, 1_000n, listener, signal),
);
const Unconfirmed = watching((watch, prefix, after, listener, signal) => {
  return watch(prefix, after, { onOpen: () => {}, onBatch: listener.onBatch.bind(listener) }, signal);
});
const ConfirmedTwice = watching((watch, prefix, after, listener, signal) => {
  const twice = () => [1, 2].forEach(() => listener.onOpen());
  return watch(prefix, after, { onOpen: twice, onBatch: listener.onBatch.bind(listener) }, signal);
});
const ConfirmedLate = watching((watch, prefix, after, listener, signal) => {
  let first = true;
  const onBatch: WatchListener['onBatch'] = (events, revision) => {
    listener.onBatch(events, revision);
    if (first) listener.onOpen();
    first = false;
  };
  return watch(prefix, after, { onOpen: () => {}, onBatch }, signal);
});
const Unfiltered = watching((watch, _prefix, after, listener, signal) => watch('', after, listener, signal));
const SkipsDeletes = watching((watch, prefix, after, listener, signal) => {
  const onBatch: WatchListener['onBatch'] = (events, revision) =>
    listener.onBatch(
      events.filter(({ kind }) => kind === 'put'),
      revision,
    );
  return watch(prefix, after, { onOpen: () => listener.onOpen(), onBatch }, signal);
});
const Unstoppable = watching((watch, prefix, after, listener) => {
  return watch(prefix, after, listener, new AbortController().signal);
});
const OwnReason = watching((watch, prefix, after, listener, signal) =>
  watch(prefix, after, listener, signal).catch((error: unknown) => {
    throw new Error('aborted', { cause: error });
  }),
);
const HidesCompaction = watching(async (watch, prefix, after, listener, signal) => {
  try {
    return await watch(prefix, after, listener, signal);
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ERR_STORE_COMPACTED') throw error;
    return watch(prefix, 1_000n, listener, signal);
  }
});

class NeverProlongs extends MemoryStore {
  override async prolong(entry: StoreEntry, signal: AbortSignal) {
    return (await super.remainingSeconds(entry, signal)) > 0;
  }
}

class ProlongsByWriting extends MemoryStore {
  override async prolong(entry: StoreEntry, signal: AbortSignal) {
    const current = await super.get(entry.key, signal);
    return (
      current?.createdAt === entry.createdAt &&
      (await super.replace(current, entry.value, 2, signal)) !== undefined
    );
  }
}

class NeverExpires extends MemoryStore {
  override create(key: string, value: string, _ttlSeconds: number, signal: AbortSignal) {
    return super.create(key, value, 0, signal);
  }
}

class KeepsLimit extends MemoryStore {
  override async replace(entry: StoreEntry, value: string, ttlSeconds: number, signal: AbortSignal) {
    return super.replace(entry, value, entry.grant === '' ? ttlSeconds : 2, signal);
  }
}

class MilliSeconds extends MemoryStore {
  override async remainingSeconds(entry: StoreEntry, signal: AbortSignal) {
    return 1000 * (await super.remainingSeconds(entry, signal));
  }
}

class IgnoresSignals extends MemoryStore {
  override list(prefix: string) {
    return super.list(prefix, new AbortController().signal);
  }
}

class OpenForEver extends MemoryStore {
  override close() {
    return Promise.resolve();
  }
}

t.test('a store that breaks a rule is reported by that rule', async (t) => {
  const rows: [make: (space: MemorySpace) => LeaseStore, name: string, rule: string][] = [
    [(space) => new Overwriting(space), 'create overwrites', 'create of a key that exists'],
    [(space) => new LooksFirst(space), 'create looks first', 'of 20 that create'],
    [
      (space) => new LastWriterWins(space),
      'replace compares nothing',
      'replace of an entry that was written',
    ],
    [(space) => new LooksFirst(space), 'replace looks first', 'of 20 that replace'],
    [(space) => new Resurrecting(space), 'replace makes keys', 'replace of an entry that was removed'],
    [(space) => new RemovesAnything(space), 'remove compares nothing', 'remove leaves an entry'],
    [(space) => new ListsFolders(space), 'list takes a prefix for a folder', 'list gives all keys'],
    [(space) => new ListsBackwards(space), 'list is not sorted', 'list gives all keys'],
    [(space) => new Inclusive(space), 'watch repeats its revision', 'a watch delivers every change after'],
    [(space) => new FromNow(space), 'watch skips the past', 'a watch delivers every change after'],
    [(space) => new FromNow(space), 'watch skips the past', 'watching from the revision of a list'],
    [(space) => new Unconfirmed(space), 'watch is not confirmed', 'a watch is confirmed'],
    [(space) => new ConfirmedTwice(space), 'watch is confirmed twice', 'a watch is confirmed'],
    [(space) => new ConfirmedLate(space), 'watch is confirmed late', 'a watch delivers every change after'],
    [(space) => new Unfiltered(space), 'watch has no prefix', 'a watch delivers keys that begin'],
    [(space) => new SkipsDeletes(space), 'watch hides deletes', 'a delete event has'],
    [(space) => new Unstoppable(space), 'watch cannot be aborted', 'a watch that is aborted'],
    [(space) => new OwnReason(space), 'watch has a reason of its own', 'a watch that is aborted'],
    [(space) => new HidesCompaction(space), 'watch hides compaction', 'a watch from before a compaction'],
    [(space) => new NeverProlongs(space), 'prolong does nothing', 'prolong keeps'],
    [(space) => new ProlongsByWriting(space), 'prolong writes', 'prolong keeps'],
    [(space) => new NeverExpires(space), 'limits are ignored', 'an entry goes away'],
    [(space) => new KeepsLimit(space), 'replace keeps the limit', 'replace starts a new'],
    [(space) => new KeepsLimit(space), 'replace keeps the limit', 'replace with no time limit'],
    [(space) => new MilliSeconds(space), 'remaining in milliseconds', 'remainingSeconds tells'],
    [(space) => new IgnoresSignals(space), 'a signal is ignored', 'a call whose signal'],
    [(space) => new OpenForEver(space), 'close does nothing', 'after close'],
  ];
  await Promise.all(
    rows.map(async ([make, name, start]) => {
      const rule = storeContract(openWith(make), { deadlineSeconds: 6 }).find((rule) =>
        rule.name.startsWith(start),
      );
      if (rule === undefined) throw new Error(`no rule begins with "${start}"`);
      await t.rejects(rule.run(), { name: 'AssertionError' }, `${name}: ${rule.name}`);
    }),
  );
});

t.test('a store that is cut off rejects until it is connected again, and its entries stand', async (t) => {
  const space = new MemorySpace();
  const [store, other] = [new MemoryStore(space), new MemoryStore(space)];
  const { signal } = new AbortController();
  const entry = await store.create('config', '{}', 0, signal);
  const watch = store.watch('', 1n, { onOpen: () => {}, onBatch: () => {} }, signal);
  const waiting = t.rejects(watch, { code: 'ERR_STORE_UNAVAILABLE' });
  const call = t.rejects(store.get('config', signal), { code: 'ERR_STORE_UNAVAILABLE' }, 'on its way');
  store.disconnect();
  await Promise.all([waiting, call]);
  await t.rejects(store.list('', signal), { code: 'ERR_STORE_UNAVAILABLE' });
  t.strictSame(await other.get('config', signal), entry, 'the other store is not cut off');
  store.reconnect();
  t.strictSame(await store.get('config', signal), entry);
});

t.test('a closed store stays closed', async (t) => {
  const store = new MemoryStore();
  const { signal } = new AbortController();
  store.disconnect();
  await store.close();
  await store.close();
  store.reconnect();
  await t.rejects(store.get('config', signal), { code: 'ERR_CLOSED' });
});

t.test('a space forgets old changes by itself, and none of the last 10,000', (t) => {
  const space = new MemorySpace();
  for (let turn = 0; turn < 25_000; turn++) space.put('key', String(turn), 0);
  t.equal(space.revision, 25_001n);
  const recent = space.changesAfter(space.revision - 10_000n);
  t.equal(recent.length, 10_000);
  t.match(recent[0], { kind: 'put', entry: { value: '15000' } });
  t.match(recent.at(-1), { kind: 'put', entry: { value: '24999' } });
  t.strictSame(space.changesAfter(space.revision), []);
  t.strictSame(space.changesAfter(space.revision + 5n), []);
  t.throws(() => space.changesAfter(2n), { code: 'ERR_STORE_COMPACTED' });
  t.end();
});

t.test('a time limit that is longer than a timer can wait does not end at once', async (t) => {
  const space = new MemorySpace();
  const { signal } = new AbortController();
  const store = new MemoryStore(space);
  const entry = await store.create('config', '{}', 60 * 60 * 24 * 365, signal);
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.strictSame(await store.get('config', signal), entry);
  await store.remove(entry!, signal);
});
