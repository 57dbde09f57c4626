import { messageOf } from '../errors.js';
import { pause, spread } from './back_off.js';
import type { LeaseStore, StoreEntry } from './store/lease_store.js';
import { isDenied, isStoreFault, ToldOnce } from './store/store_connection.js';

/** Who we are, for other hosts that use our public IP. */
export interface HostIdentity {
  /** Stays the same over restarts of this host, and differs between hosts, e.g. /etc/machine-id. */
  readonly id: string;
  /** For people, e.g. the host name. */
  readonly name: string;
}

/** What {@link HostPresence} tells. Must not throw. */
export interface HostPresenceListener {
  /** Presence cannot be kept; everything else goes on. Once for each reason. */
  onWarning(reason: string): void;
  /** Another host is present under our public IP, or (undefined) no longer is. On change only. */
  onOther(name: string | undefined): void;
}

export interface HostPresenceOptions {
  readonly store: LeaseStore;
  /** Address of either family that tells this host from others, see LeaseHost.address. */
  readonly publicIp: string;
  readonly host: HostIdentity;
  /** A host that was killed counts as present for so long, at least 1; a server may round it up. Default 60. */
  readonly ttlSeconds?: number;
  readonly random: () => number;
  readonly listener: HostPresenceListener;
}

const TTL_SECONDS = 60;
/** Parts of the time to live: between prolongations, and after a failure, so that several attempts fit into it. */
const PROLONG_PART = 1 / 3;
const RETRY_PART = 1 / 12;
/** Close waits no longer for a store that is away. */
const REMOVE_MILLIS = 1_000;

/**
 * Tells other hosts that this one is alive under its public IP, and notices those that claim the same: a key
 * `selvage/hosts/PUBLIC-IP` that lives for a minute unless it is prolonged. flanneld writes none.
 *
 * | from   | to     | by                                                         | never |
 * |--------|--------|------------------------------------------------------------|-------|
 * | absent | ours   | `claim`: the key was free, or an earlier run of this host left it | taking the key of another host that still prolongs it |
 * | ours   | absent | the key ended while the store was away; the next round claims it again | |
 * | absent | absent | another host has it: told; the store refuses: told, and done without | a failure here that stops a lease |
 * | any    | closed | `close`, which removes the key if it is ours               | |
 */
export class HostPresence {
  readonly #options: HostPresenceOptions;
  readonly #key: string;
  readonly #value: string;
  readonly #ttlSeconds: number;
  readonly #told = new ToldOnce();
  readonly #closing = new AbortController();
  #entry: StoreEntry | undefined;
  #other: string | undefined;
  #taking: Promise<void> | undefined;
  #keeping: Promise<void> = Promise.resolve();
  #kept = false;

  constructor(options: HostPresenceOptions) {
    this.#options = options;
    this.#key = `selvage/hosts/${options.publicIp}`;
    this.#ttlSeconds = options.ttlSeconds ?? TTL_SECONDS;
    const { id, name } = options.host;
    this.#value = JSON.stringify({ host: id, name, since: new Date().toISOString() });
  }

  get publicIp(): string {
    return this.#options.publicIp;
  }

  /**
   * Claims the public IP, and from then on keeps the claim.
   *
   * @returns the name of the other host that has it; undefined when it is ours, or the store refuses the key and nobody can know
   * @throws SelvageError ERR_STORE_UNAVAILABLE
   */
  async claim(signal: AbortSignal): Promise<string | undefined> {
    try {
      if (this.#entry === undefined) await this.#takeOnce(signal);
    } catch (error) {
      if (!isDenied(error)) throw error;
      this.#warn(error);
    }
    if (this.#other === undefined) this.#startKeeping();
    return this.#other;
  }

  /** Ends it and removes the key, with at most a second's patience. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#keeping;
    const entry = this.#entry;
    this.#entry = undefined;
    if (entry === undefined) return;
    try {
      await this.#options.store.remove(entry, AbortSignal.timeout(REMOVE_MILLIS));
    } catch {
      // It ends by itself within a minute.
    }
  }

  /** Two that take it at once would leave the entry of the one that was first, whose time limit no longer counts. */
  #takeOnce(signal: AbortSignal): Promise<void> {
    this.#taking ??= this.#take(signal).finally(() => (this.#taking = undefined));
    return this.#taking;
  }

  /** Settles who has the key: makes it, takes it over from an earlier run of ours, or learns who else has it. */
  async #take(signal: AbortSignal): Promise<void> {
    const { store, host } = this.#options;
    for (;;) {
      this.#entry = await store.create(this.#key, this.#value, this.#ttlSeconds, signal);
      if (this.#entry !== undefined) break;
      const present = await store.get(this.#key, signal);
      if (present === undefined) continue;
      const holder = readPresence(present.value);
      if (holder !== undefined && holder.id !== host.id) return this.#setOther(holder.name);
      this.#entry = await store.replace(present, this.#value, this.#ttlSeconds, signal);
      if (this.#entry !== undefined) break;
    }
    this.#setOther(undefined);
  }

  #startKeeping(): void {
    if (this.#kept) return;
    this.#kept = true;
    this.#keeping = this.#keep().catch(() => undefined);
  }

  /** Runs until close, which is the only rejection. */
  async #keep(): Promise<never> {
    const { random } = this.#options;
    const { signal } = this.#closing;
    let part = PROLONG_PART;
    for (;;) {
      await pause(spread(this.#ttlSeconds * 1000 * part, random), signal);
      part = PROLONG_PART;
      try {
        if (this.#entry !== undefined && !(await this.#options.store.prolong(this.#entry, signal))) {
          this.#entry = undefined;
        }
        if (this.#entry === undefined) await this.#takeOnce(signal);
      } catch (error) {
        signal.throwIfAborted();
        if (!isStoreFault(error) || isDenied(error)) this.#warn(error);
        else part = RETRY_PART;
      }
    }
  }

  #setOther(name: string | undefined): void {
    if (name === this.#other) return;
    this.#other = name;
    this.#options.listener.onOther(name);
  }

  #warn(error: unknown): void {
    const reason = `cannot write ${this.#key}, so another host with this public IP goes unnoticed: ${messageOf(error)}`;
    if (this.#told.isNews(reason)) this.#options.listener.onWarning(reason);
  }
}

/** Undefined for a value that names no host: nobody stands behind it. */
function readPresence(value: string): HostIdentity | undefined {
  try {
    const { host, name } = JSON.parse(value) as { host?: unknown; name?: unknown };
    if (typeof host !== 'string' || host === '') return undefined;
    return { id: host, name: nameForPeople(typeof name === 'string' && name !== '' ? name : host) };
  } catch {
    return undefined;
  }
}

/** It comes from another host and goes into logs and terminals. A host name has 64 characters at most (Linux HOST_NAME_MAX). */
function nameForPeople(name: string): string {
  return name.replace(/[^\x20-\x7e]/g, '?').slice(0, 64);
}
