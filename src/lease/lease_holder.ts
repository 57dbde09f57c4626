import { SelvageError } from '../errors.js';
import {
  type Acquired,
  type HeldConfig,
  type HeldLease,
  heldLease,
  type LeaseAcquirer,
} from './acquire_lease.js';
import { BackOff, Bell, pause } from './back_off.js';
import { LEASE_TTL_SECONDS, subnetsText } from './lease.js';
import type { LeaseEvent, OwnLease } from './lease_event.js';
import { addressesText, isOf, type LeaseHost } from './lease_host.js';
import { formatLeaseValue } from './lease_value.js';
import type { LeaseStore, StoreEntry } from './store/lease_store.js';
import { readLease } from './read_lease.js';
import { isStoreFault } from './store/store_connection.js';

/** What a holder tells. Must not throw. */
export interface LeaseHolderListener {
  onEvent(event: LeaseEvent): void;
  /** The lease is on another subnet now; the holder's `lease` is the new one. */
  onMoved(from: OwnLease): void;
  /** A host that writes no presence wrote our lease. */
  onDuplicate(): void;
  /** The holder has ended by itself and holds nothing: ERR_LEASE_LOST, or something impossible. */
  onEnd(error: unknown): void;
}

export interface LeaseHolderOptions {
  readonly store: LeaseStore;
  readonly acquirer: LeaseAcquirer;
  readonly renewMarginSeconds: number;
  /** End with ERR_LEASE_LOST, as flanneld does, instead of getting the lease again. */
  readonly exitOnLeaseLoss: boolean;
  readonly random: () => number;
  readonly listener: LeaseHolderListener;
}

/** A lease that stayed ours for so long makes the next loss the first of a new series. */
const CALM_MILLIS = 60_000;
/** The wall clock differs so much from the one of intervals only when somebody set it. */
const CLOCK_SET_MILLIS = 1_000;

/**
 * Holds a lease: renews it in time, and gets it again when it is lost.
 *
 * What others tell of our key (watch, list) is a hint to read it; only what is read then counts, so hints may come late,
 * twice or out of order.
 *
 * | from     | to       | by                                                      | never |
 * |----------|----------|---------------------------------------------------------|-------|
 * | made     | held     | `hold` with an acquired lease                           | |
 * | held     | held     | renewed at expiry less margin; another host with our public IP renewed it | a write over what somebody else wrote meanwhile |
 * | held     | reserved | an operator took its time limit away; acquired like that | a time limit put on a reservation |
 * | reserved | held     | an operator gave it a time limit again                  | |
 * | held, reserved | lost | its key is gone, or has another public IP            | lost because the store is away, or because a clock jumped |
 * | lost     | held     | acquired again, the same subnet (regained) or another (moved) | again and again without back-off |
 * | lost     | ended    | `exitOnLeaseLoss`                                       | |
 * | any      | ended    | `close`: the key stays, as flanneld's does              | a listener call after it |
 */
export class LeaseHolder {
  readonly #options: LeaseHolderOptions;
  readonly #closing = new AbortController();
  readonly #bell = new Bell();
  readonly #retry: BackOff;
  readonly #lossBackOff: BackOff;
  #config: HeldConfig | undefined;
  #host: LeaseHost | undefined;
  /** What we write: the host's value as text. */
  #value = '';
  #held: HeldLease | undefined;
  #lease: OwnLease | undefined;
  #renewals = 0;
  /** Newest revision at which our key is said to have changed. */
  #hint = 0n;
  /** Whether the key must be read, whatever its revision. */
  #doubt = false;
  /** On the clock of performance.now(), as all times here. */
  #renewAtMs = Infinity;
  #notBeforeMs = 0;
  #lastLossMs = 0;
  #failing = false;
  /** A write of ours was sent whose answer never came: it may be in force. */
  #unanswered = false;
  #duplicateTold = false;
  #running: Promise<void> = Promise.resolve();

  constructor(options: LeaseHolderOptions) {
    this.#options = options;
    this.#retry = new BackOff({ firstMillis: 2_000, mostMillis: 60_000, random: options.random });
    this.#lossBackOff = new BackOff({ firstMillis: 100, mostMillis: 30_000, random: options.random });
  }

  /** The lease as it stands; undefined before `hold`, and between its loss and the next. */
  get lease(): OwnLease | undefined {
    const lease = this.#lease;
    if (lease?.expiresAt === undefined) return lease;
    // The wall clock may have been set since; a restatement for the clocks' jitter would make the date flicker.
    const expiresAt = wallClockOf(this.#held!.expiresAtMs);
    if (Math.abs(expiresAt.getTime() - lease.expiresAt.getTime()) < CLOCK_SET_MILLIS) return lease;
    this.#lease = { ...lease, expiresAt };
    return this.#lease;
  }

  /** The lease as it was last confirmed, kept after a loss. */
  get held(): HeldLease | undefined {
    return this.#held;
  }

  /** Renewals that worked. */
  get renewals(): number {
    return this.#renewals;
  }

  /** Begins to hold. The listener hears nothing before this has returned. */
  hold(acquired: Acquired): void {
    const { held, host } = acquired;
    this.#config = held;
    this.#host = host;
    this.#value = formatLeaseValue(host.value);
    this.#confirm(acquired);
    this.#running = this.#run().catch((error: unknown) => this.#end(error));
  }

  /** Our key was written or removed at this revision; our own writes may be told as well. */
  noteChange(revision: bigint): void {
    if (revision > this.#hint) this.#hint = revision;
    this.retryNow();
  }

  /** A full list has this at our key. */
  noteListed(entry: StoreEntry | undefined): void {
    if (entry?.revision === this.#held?.entry.revision) return;
    this.#doubt = true;
    this.retryNow();
  }

  /** The store can be heard: what waits for another attempt need not wait longer. */
  retryNow(): void {
    this.#notBeforeMs = 0;
    this.#bell.ring();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
  }

  async #run(): Promise<never> {
    const { signal } = this.#closing;
    for (;;) {
      await this.#bell.wait(this.#dueAtMs() - performance.now(), signal);
      if (performance.now() < this.#dueAtMs()) continue;
      try {
        if (this.#mustRead()) await this.#read();
        else await this.#renew();
        this.#failing = false;
        this.#retry.reset();
      } catch (error) {
        signal.throwIfAborted();
        if (!isStoreFault(error)) throw error;
        this.#postpone(error);
      }
    }
  }

  #mustRead(): boolean {
    return this.#doubt || this.#hint > this.#held!.entry.revision;
  }

  #dueAtMs(): number {
    return this.#mustRead() ? this.#notBeforeMs : Math.max(this.#renewAtMs, this.#notBeforeMs);
  }

  async #read(): Promise<void> {
    const { signal } = this.#closing;
    // Cleared first: what is told while this reads is news.
    this.#doubt = false;
    this.#hint = 0n;
    try {
      await this.#judge(await this.#options.store.get(this.#held!.lease.key, signal));
    } catch (error) {
      this.#doubt = true;
      throw error;
    }
  }

  async #renew(): Promise<void> {
    const { store } = this.#options;
    const { entry } = this.#held!;
    const { signal } = this.#closing;
    const sentMs = performance.now();
    const unanswered = this.#unanswered;
    this.#unanswered = true;
    const written = await store.replace(entry, this.#value, LEASE_TTL_SECONDS, signal);
    if (written === undefined) {
      this.#unanswered = unanswered;
      this.#doubt = true;
      return;
    }
    this.#unanswered = false;
    this.#renewed(heldLease(written, sentMs));
  }

  /** Decides what the entry that is at our key now means. */
  async #judge(entry: StoreEntry | undefined): Promise<void> {
    if (entry === undefined) return this.#lose('it was deleted, or its time ran out');
    if (entry.revision === this.#held!.entry.revision) return;
    const { store } = this.#options;
    const read = readLease(entry);
    if (!('reason' in read) && !isOf(read.value, this.#host!)) {
      return this.#lose(`host ${addressesText(read.value)} has taken it`);
    }
    if (entry.value !== this.#value) return this.#putRight(entry, !('reason' in read));
    const sentMs = performance.now();
    const seconds = entry.grant === '' ? Infinity : await store.remainingSeconds(entry, this.#closing.signal);
    this.#adopt(heldLease(entry, sentMs, seconds));
  }

  /** Takes over what somebody wrote who is not against us, or what we wrote without hearing of it. */
  #adopt(next: HeldLease): void {
    const was = this.#held!.lease.reserved;
    const is = next.lease.reserved;
    if (this.#unanswered && !is) {
      this.#unanswered = false;
      this.#renewed(next);
      return;
    }
    this.#confirm(next);
    if (was !== is) this.#tellAdopted(is ? 'an operator reserved it' : 'an operator ended its reservation');
    else if (!is) this.#tellDuplicate();
  }

  /** The key is ours but says something else, which other hosts may not understand. */
  async #putRight(entry: StoreEntry, readable: boolean): Promise<void> {
    const { store } = this.#options;
    const { signal } = this.#closing;
    await pause(this.#nextLossWait(), signal);
    // What an operator wrote by hand without a time limit is meant as a reservation if it is a lease of ours at all.
    const reserved = entry.grant === '' && (readable || this.#held!.lease.reserved);
    const sentMs = performance.now();
    const written = await store.replace(entry, this.#value, reserved ? 0 : LEASE_TTL_SECONDS, signal);
    if (written === undefined) {
      this.#doubt = true;
      return;
    }
    this.#confirm(heldLease(written, sentMs));
    this.#tellAdopted('somebody had changed its value, which was put right');
    if (readable && !reserved) this.#tellDuplicate();
  }

  async #lose(reason: string): Promise<void> {
    const { listener, exitOnLeaseLoss, acquirer } = this.#options;
    const { signal } = this.#closing;
    const lost = this.#lease!;
    this.#lease = undefined;
    listener.onEvent({ kind: 'lost', lease: lost, reason });
    if (exitOnLeaseLoss) {
      throw new SelvageError(
        'ERR_LEASE_LOST',
        `this host's lease ${subnetsText(lost.subnets)} was lost: ${reason}; a new start acquires one again`,
      );
    }
    await pause(this.#nextLossWait(), signal);
    const wish = { previous: lost.subnets, held: this.#config, patient: true };
    const lease = this.#confirm(await acquirer.acquire(wish, signal));
    if (lease.key === lost.key) listener.onEvent({ kind: 'regained', lease });
    else listener.onMoved(lost);
  }

  #nextLossWait(): number {
    if (performance.now() - this.#lastLossMs > CALM_MILLIS) this.#lossBackOff.reset();
    this.#lastLossMs = performance.now();
    return this.#lossBackOff.next();
  }

  #renewed(next: HeldLease): void {
    this.#renewals++;
    this.#duplicateTold = false; // nobody wrote it since: whoever did has gone, and would be news
    this.#options.listener.onEvent({ kind: 'renewed', lease: this.#confirm(next) });
  }

  #confirm(next: HeldLease): OwnLease {
    const { lease, expiresAtMs } = next;
    this.#held = next;
    this.#renewAtMs = expiresAtMs - this.#options.renewMarginSeconds * 1000;
    this.#notBeforeMs = 0;
    this.#lease = {
      ...lease,
      expiresAt: lease.reserved ? undefined : wallClockOf(expiresAtMs),
      confirmedAt: new Date(),
    };
    return this.#lease;
  }

  #postpone(error: SelvageError): void {
    const waitMs = this.#retry.next();
    this.#notBeforeMs = performance.now() + waitMs;
    if (this.#failing || this.#mustRead()) return;
    this.#failing = true;
    this.#options.listener.onEvent({
      kind: 'renewalFailed',
      reason: error.message,
      retryInSeconds: Math.round(waitMs / 100) / 10,
    });
  }

  #tellAdopted(reason: string): void {
    this.#options.listener.onEvent({ kind: 'adopted', lease: this.#lease!, reason });
  }

  #tellDuplicate(): void {
    if (this.#duplicateTold) return;
    this.#duplicateTold = true;
    this.#options.listener.onDuplicate();
  }

  #end(error: unknown): void {
    if (this.#closing.signal.aborted) return;
    this.#lease = undefined;
    this.#options.listener.onEnd(error);
  }
}

/** What the wall clock will show at a time on the clock of performance.now(). */
function wallClockOf(timeMs: number): Date {
  return new Date(Date.now() + timeMs - performance.now());
}
