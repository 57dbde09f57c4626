import { messageOf, SelvageError } from '../errors.js';
import { BackOff, pause, spread } from './back_off.js';
import { chooseSubnet } from './network/choose_subnet.js';
import type { HostPresence } from './host_presence.js';
import { LEASE_TTL_SECONDS, type Lease, type LeaseSubnets } from './lease.js';
import type { LeaseEvent } from './lease_event.js';
import { type HostAddresses, hostIn, type LeaseHost } from './lease_host.js';
import { CONFIG_KEY, formatLeaseKey, SUBNETS_KEY_PREFIX, wholeKey } from './lease_key.js';
import { formatLeaseValue } from './lease_value.js';
import type { LeaseStore, StoreEntry, StoreListing } from './store/lease_store.js';
import { type NetworkConfig, parseNetworkConfig } from './network/network_config.js';
import { readLease } from './read_lease.js';
import { isDenied, isStoreFault, ToldOnce } from './store/store_connection.js';
import { subnetsOverlap } from './subnets_overlap.js';

/** The network config with the text it was read from. */
export interface HeldConfig {
  readonly config: NetworkConfig;
  readonly text: string;
}

/** A lease that is ours. */
export interface HeldLease {
  readonly lease: Lease;
  readonly entry: StoreEntry;
  /** When it ends, on the clock of performance.now(); Infinity for a reservation. */
  readonly expiresAtMs: number;
}

/** What an acquisition gives. */
export interface Acquired extends HeldLease {
  /** As whom it was acquired. */
  readonly host: LeaseHost;
  readonly how: 'reused' | 'previous' | 'new';
  /** All leases at the moment that showed ours to be sound. */
  readonly listing: StoreListing;
  readonly held: HeldConfig;
}

/** What is asked of an acquisition. */
export interface LeaseWish {
  /** Subnets to prefer when no lease of ours is found. */
  readonly previous?: LeaseSubnets | undefined;
  /** The network config; read from the store when it is not given. */
  readonly held?: HeldConfig | undefined;
  /** Whether to wait for a subnet when all are leased, rather than to give up. */
  readonly patient: boolean;
}

export interface LeaseAcquirerOptions {
  readonly store: LeaseStore;
  readonly addresses: HostAddresses;
  /** Where this host claims an address of its own, see LeaseHost.address. */
  readonly presenceAt: (address: string) => Pick<HostPresence, 'claim'>;
  readonly random: () => number;
  /** Which of these entries is a lease of ours although it carries another public IP. */
  readonly findOwn: (entries: readonly StoreEntry[]) => string | undefined;
  readonly tell: (event: LeaseEvent) => void;
  /** A key is about to be made. */
  readonly onCreate: (key: string) => void;
  /** The store answered, or (with a fault) did not. Must not throw. */
  readonly onStore: (fault: SelvageError | undefined) => void;
}

/** Where and as whom a lease is acquired. */
type Place = Pick<Acquired, 'held' | 'host'>;

const CONFIG_RETRY_MILLIS = 1_000;
const DUPLICATE_RETRY_MILLIS = 2_000;
/** Between attempts when another host was faster: it made progress, so this needs no more than not to meet again. */
const LOST_RACE_MILLIS = 50;

/**
 * Gets this host a lease: its own again, the subnet it had, or a free one.
 *
 * Every write is a compare-and-swap, so a lost race changes nothing and is begun anew, as often as it takes. After a new
 * key all leases are listed again: hosts with another SubnetLen make other keys for the same addresses, and of two that
 * overlap the one that was there first stays.
 */
export class LeaseAcquirer {
  readonly #options: LeaseAcquirerOptions;
  readonly #told = new ToldOnce();
  readonly #backOff: BackOff;
  readonly #slowBackOff: BackOff;

  constructor(options: LeaseAcquirerOptions) {
    this.#options = options;
    const { random } = options;
    this.#backOff = new BackOff({ firstMillis: 100, mostMillis: 5_000, random });
    this.#slowBackOff = new BackOff({ firstMillis: 2_000, mostMillis: 30_000, random });
  }

  /**
   * Waits for the store, for a network config, for another host with our public IP to go, as long as it takes; each
   * reason is told once as `waiting`.
   *
   * @throws SelvageError ERR_BACKEND_TYPE when the network has another backend; ERR_PUBLIC_IP when this host has no address
   *   of the underlay's family; ERR_OUT_OF_SUBNETS when all subnets are leased and the wish is not patient
   * @throws the reason of `signal`, as soon as it aborts
   */
  async acquire(wish: LeaseWish, signal: AbortSignal): Promise<Acquired> {
    this.#slowBackOff.reset();
    for (;;) {
      let waitMillis: number;
      try {
        const outcome = await this.#attempt(wish, signal);
        if (typeof outcome !== 'number') return outcome;
        waitMillis = outcome;
      } catch (error) {
        signal.throwIfAborted();
        waitMillis = this.#waitAfter(error, wish);
      }
      await pause(waitMillis, signal);
    }
  }

  /** @returns milliseconds to wait before the next attempt when this one led to nothing */
  async #attempt(wish: LeaseWish, signal: AbortSignal): Promise<Acquired | number> {
    const { store, addresses, presenceAt, random, findOwn, onStore } = this.#options;
    const held = wish.held ?? (await this.#readConfig(signal));
    const host = hostIn(held.config, addresses);
    const other = await presenceAt(host.address).claim(signal);
    if (other !== undefined) {
      this.#wait(
        `host ${other} is present under this host's public IP ${host.address}; give each host its own`,
      );
      return spread(DUPLICATE_RETRY_MILLIS, random);
    }
    const listing = await store.list(SUBNETS_KEY_PREFIX, signal);
    onStore(undefined);
    this.#backOff.reset();
    const own = findOwn(listing.entries);
    const { leases, blocked } = sort(listing.entries);
    const choice = chooseSubnet({
      config: held.config,
      leases,
      blocked,
      host,
      ...(wish.previous === undefined ? {} : { previous: wish.previous }),
      ...(own === undefined ? {} : { own }),
      random,
    });
    if (choice.kind !== 'full' && choice.warning !== undefined) this.#warn(choice.warning);
    switch (choice.kind) {
      case 'full':
        throw new SelvageError('ERR_OUT_OF_SUBNETS', choice.message);
      case 'reuse':
        return this.#reuse(choice.lease, listing, { held, host }, signal);
      case 'create':
        if (choice.discard !== undefined && !(await this.#discard(choice.discard, listing, signal)))
          return LOST_RACE_MILLIS * random();
        return this.#create(choice.subnets, choice.how, { held, host }, signal);
    }
  }

  async #reuse(
    lease: Lease,
    listing: StoreListing,
    place: Place,
    signal: AbortSignal,
  ): Promise<Acquired | number> {
    const { store, random } = this.#options;
    const value = formatLeaseValue(place.host.value);
    const entry = listing.entries.find(({ key }) => key === lease.key)!;
    if (!lease.reserved && (await this.#giveWay(lease, entry, listing, signal)))
      return LOST_RACE_MILLIS * random();
    const sentMs = performance.now();
    const ttlSeconds = lease.reserved ? 0 : LEASE_TTL_SECONDS;
    const keep = lease.reserved && entry.value === value;
    const written = keep ? entry : await store.replace(entry, value, ttlSeconds, signal);
    if (written === undefined) return LOST_RACE_MILLIS * random();
    return { ...heldLease(written, sentMs), how: 'reused', listing, ...place };
  }

  async #create(
    subnets: LeaseSubnets,
    how: 'previous' | 'new',
    place: Place,
    signal: AbortSignal,
  ): Promise<Acquired | number> {
    const { store, random, onCreate } = this.#options;
    const key = formatLeaseKey(subnets);
    onCreate(key);
    const sentMs = performance.now();
    const entry = await store.create(key, formatLeaseValue(place.host.value), LEASE_TTL_SECONDS, signal);
    if (entry === undefined) return LOST_RACE_MILLIS * random();
    const own = heldLease(entry, sentMs);
    const listing = await store.list(SUBNETS_KEY_PREFIX, signal);
    if (await this.#giveWay(own.lease, entry, listing, signal)) return LOST_RACE_MILLIS * random();
    return { ...own, how, listing, ...place };
  }

  /** Removes our lease if it overlaps one that was there first. @returns whether it did */
  async #giveWay(
    lease: Lease,
    entry: StoreEntry,
    listing: StoreListing,
    signal: AbortSignal,
  ): Promise<boolean> {
    const first = findEarlierOverlap(lease.subnets, entry, listing.entries);
    if (first === undefined) return false;
    await this.#options.store.remove(entry, signal);
    this.#warn(`gave up ${lease.key}: it overlaps ${first}, which was leased before it`);
    return true;
  }

  /** @returns false when somebody wrote it meanwhile: a lost race like any other */
  async #discard(lease: Lease, listing: StoreListing, signal: AbortSignal): Promise<boolean> {
    const entry = listing.entries.find(({ key }) => key === lease.key)!;
    if (!(await this.#options.store.remove(entry, signal))) return false;
    this.#warn(`removed ${lease.key}, a lease of this public IP that the network config no longer allows`);
    return true;
  }

  async #readConfig(signal: AbortSignal): Promise<HeldConfig> {
    const { store, onStore } = this.#options;
    const entry = await store.get(CONFIG_KEY, signal);
    onStore(undefined);
    if (entry === undefined) {
      throw new SelvageError(
        'ERR_NETWORK_CONFIG',
        `flannel config not found in ${store.name}: write key "${wholeKey(store, CONFIG_KEY)}", e.g. {"Network": "10.1.0.0/16"}, with the v3 API`,
      );
    }
    return { config: parseStoredConfig(entry, store), text: entry.value };
  }

  /** @returns milliseconds to wait; throws what waiting does not help */
  #waitAfter(error: unknown, wish: LeaseWish): number {
    const { random, onStore } = this.#options;
    if (isStoreFault(error)) {
      onStore(error);
      this.#wait(error.message);
      return (isDenied(error) ? this.#slowBackOff : this.#backOff).next();
    }
    const code = error instanceof SelvageError ? error.code : '';
    const full = code === 'ERR_OUT_OF_SUBNETS' && wish.patient;
    if (!full && code !== 'ERR_NETWORK_CONFIG') throw error;
    this.#wait(messageOf(error), full ? { full } : {});
    return full ? this.#slowBackOff.next() : spread(CONFIG_RETRY_MILLIS, random);
  }

  #wait(reason: string, more: { readonly full?: true } = {}): void {
    if (this.#told.isNews(`waiting ${reason}`)) this.#options.tell({ kind: 'waiting', reason, ...more });
  }

  #warn(reason: string): void {
    if (this.#told.isNews(`warning ${reason}`)) this.#options.tell({ kind: 'warning', reason });
  }
}

/**
 * Reads the network config of a store.
 *
 * @throws SelvageError as parseNetworkConfig, with the place of a config that is wrong behind flannel's own text
 */
export function parseStoredConfig({ key, value }: StoreEntry, store: LeaseStore): NetworkConfig {
  try {
    return parseNetworkConfig(value);
  } catch (error) {
    if (!(error instanceof SelvageError) || error.code !== 'ERR_NETWORK_CONFIG') throw error;
    const where = `correct key "${wholeKey(store, key)}" in ${store.name}`;
    throw new SelvageError('ERR_NETWORK_CONFIG', `${error.message}; ${where}`, { cause: error });
  }
}

/**
 * A lease of ours that was just written.
 *
 * @param sentMs when the write was begun, on the clock of performance.now(): the server counts from no earlier
 */
export function heldLease(entry: StoreEntry, sentMs: number, ttlSeconds = LEASE_TTL_SECONDS): HeldLease {
  const lease = readLease(entry);
  if ('reason' in lease) throw new SelvageError('ERR_INTERNAL', `internal error: our lease: ${lease.reason}`);
  return { lease, entry, expiresAtMs: lease.reserved ? Infinity : sentMs + ttlSeconds * 1000 };
}

/** The leases among the entries, and the subnets of keys that cannot be made though they hold none. */
function sort(entries: readonly StoreEntry[]): { leases: Lease[]; blocked: LeaseSubnets[] } {
  const leases: Lease[] = [];
  const blocked: LeaseSubnets[] = [];
  for (const entry of entries) {
    const read = readLease(entry);
    if (!('reason' in read)) leases.push(read);
    else if (read.subnets !== undefined) blocked.push(read.subnets);
  }
  return { leases, blocked };
}

/** Key of a lease that shares addresses with ours and is older. */
function findEarlierOverlap(
  subnets: LeaseSubnets,
  { key: ownKey, createdAt }: StoreEntry,
  entries: readonly StoreEntry[],
): string | undefined {
  const earlier = entries.filter((entry) => entry.createdAt < createdAt && entry.key !== ownKey);
  return sort(earlier).leases.find((lease) => subnetsOverlap(lease.subnets, subnets))?.key;
}
