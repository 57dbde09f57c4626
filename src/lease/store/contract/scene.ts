import assert from 'node:assert/strict';

import type { LeaseStore, StoreEntry, StoreEvent } from '../lease_store.js';

/** What a run of one rule works on: a space with nothing in it, and two clients of it. */
export interface StoreFixture {
  readonly store: LeaseStore;
  /** Another client of the same space. */
  readonly other: LeaseStore;
  /** Has the space forget its changes up to and including `revision`. */
  compact(revision: bigint): Promise<void>;
  /** Gives back everything; stores may be closed already. */
  close(): Promise<void>;
}

/** One rule of the contract. */
export interface StoreRule {
  /** The rule as a sentence. */
  readonly name: string;
  /** Opens a fixture, tries the rule, closes the fixture. Rejects with an AssertionError when the rule does not hold. */
  run(): Promise<void>;
}

/** A rule before it has its fixture. */
export type RuleBody = (scene: Scene) => Promise<void>;

const LOOK_AGAIN_MILLIS = 25;

/** One run of a rule: the fixture, a signal for calls, and waits that end. */
export class Scene {
  readonly store: LeaseStore;
  readonly other: LeaseStore;
  readonly compact: (revision: bigint) => Promise<void>;
  readonly #deadlineMillis: number;
  readonly #cleanup = new AbortController();

  constructor(fixture: StoreFixture, deadlineSeconds: number) {
    this.store = fixture.store;
    this.other = fixture.other;
    this.compact = (revision) => fixture.compact(revision);
    this.#deadlineMillis = deadlineSeconds * 1000;
  }

  /** For calls that nobody gives up; aborts when the run is over. */
  get signal(): AbortSignal {
    return this.#cleanup.signal;
  }

  /** Ends what the rule left waiting. */
  end(): void {
    this.#cleanup.abort(new Error('the rule has been tried'));
  }

  /** Makes a key that is known to be free. */
  async make(key: string, value: string, ttlSeconds = 0, store = this.store): Promise<StoreEntry> {
    const entry = await store.create(key, value, ttlSeconds, this.signal);
    assert.ok(entry, `create of ${key}, which does not exist, gives its entry`);
    return entry;
  }

  /** Watches until the run is over, or `signal` aborts. */
  watch(prefix: string, after: bigint, store = this.store, signal?: AbortSignal): Watching {
    return new Watching(this, store, prefix, after, signal ?? this.signal);
  }

  /** Waits for a state. */
  async until(what: string, look: () => boolean | Promise<boolean>): Promise<void> {
    const deadlineMillis = performance.now() + this.#deadlineMillis;
    while (!(await this.within(what, look()))) {
      assert.ok(performance.now() < deadlineMillis, `waited ${this.#deadlineMillis / 1000} s for ${what}`);
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MILLIS));
    }
  }

  /** Awaits a promise, but not for ever. */
  async within<T>(what: string, promise: T | Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const message = `waited ${this.#deadlineMillis / 1000} s for ${what}`;
      timer = setTimeout(() => reject(new assert.AssertionError({ message })), this.#deadlineMillis);
    });
    try {
      return await Promise.race([promise, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** A watch and all that it was told; breaks of order are noticed as they come. */
export class Watching {
  readonly events: StoreEvent[] = [];
  opened = 0;
  /** Every event up to here has been delivered. */
  revision: bigint;
  /** What the call rejected with; undefined while it waits. */
  ended: { readonly reason: unknown } | undefined;
  readonly #scene: Scene;
  readonly #broken: string[] = [];

  constructor(scene: Scene, store: LeaseStore, prefix: string, after: bigint, signal: AbortSignal) {
    this.#scene = scene;
    this.revision = after;
    const listener = {
      onOpen: () => void this.opened++,
      onBatch: (events: readonly StoreEvent[], revision: bigint) => this.#take(events, revision),
    };
    store.watch(prefix, after, listener, signal).catch((reason: unknown) => {
      this.ended = { reason };
    });
  }

  /** Waits until every event up to and including `revision` has been delivered. */
  async reach(revision: bigint): Promise<void> {
    await this.#scene.until(`the watch to reach revision ${revision}`, () => {
      this.check();
      return this.revision >= revision;
    });
  }

  /** Waits until it is confirmed. */
  async open(): Promise<void> {
    await this.#scene.until('the watch to be confirmed by onOpen', () => {
      this.check();
      return this.opened > 0;
    });
  }

  /** Waits until it ends. @returns what it rejected with */
  async end(): Promise<unknown> {
    await this.#scene.until('the watch to reject', () => this.ended !== undefined);
    return this.ended?.reason;
  }

  /** Fails when it ended, or was told things in a wrong order. */
  check(): void {
    if (this.ended !== undefined) throw this.ended.reason;
    assert.deepEqual(this.#broken, [], 'a watch is told things in order');
    assert.ok(this.opened <= 1, 'onOpen is called once for each watch');
  }

  #take(events: readonly StoreEvent[], revision: bigint): void {
    if (this.opened === 0) this.#broken.push('onBatch before onOpen');
    let last = this.revision;
    for (const event of events) {
      const at = revisionOf(event);
      if (at <= this.revision) this.#broken.push(`revision ${at} after all up to ${this.revision} were told`);
      if (at < last) this.#broken.push(`revision ${at} after ${last}`);
      if (at > revision) this.#broken.push(`revision ${at} in a batch up to ${revision}`);
      last = at;
    }
    if (revision < this.revision) this.#broken.push(`a batch up to ${revision} after ${this.revision}`);
    this.events.push(...events);
    this.revision = revision;
  }
}

/** The revision that an event brought. */
export function revisionOf(event: StoreEvent): bigint {
  return event.kind === 'put' ? event.entry.revision : event.revision;
}

/** An event in few words: `+key=value` or `-key`. */
export function shortly(event: StoreEvent): string {
  return event.kind === 'put' ? `+${event.entry.key}=${event.entry.value}` : `-${event.key}`;
}
