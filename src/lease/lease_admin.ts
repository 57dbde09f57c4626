/**
 * What operators ask about leases. Nothing here changes one; `lease_reservation.ts` does.
 */
import { SelvageError } from '../errors.js';
import { parsePrefix } from '../prefix.js';
import type { Lease, LeaseValue } from './lease.js';
import { parseLeaseKey, SUBNETS_KEY_PREFIX } from './lease_key.js';
import type { LeaseStore, StoreEntry } from './store/lease_store.js';
import { readLease } from './read_lease.js';

/** One entry below `subnets`. */
export interface LeaseRecord {
  /** Key below the prefix. */
  readonly key: string;
  /** Undefined when the entry is malformed. */
  readonly lease: Lease | undefined;
  /** Why it is malformed, and so not routed to; undefined when it is not. */
  readonly problem: string | undefined;
  /** Seconds until it ends; Infinity for a reservation, 0 when it has just ended, undefined when it was not asked. */
  readonly remainingSeconds: number | undefined;
}

/** Above so many leases the time left of each, a request of its own, is asked only when the caller insists. */
export const MOST_TIMED_LEASES = 1000;
/** Requests for the time left that are under way at once. */
const CONCURRENT_REQUESTS = 16;

export interface ListLeasesOptions {
  /** Whether to ask the time left. Default `auto`: unless there are more than {@link MOST_TIMED_LEASES} leases. */
  readonly times?: boolean | 'auto';
}

/**
 * Lists every lease of the network, malformed entries included, in the order of the subnets: by IPv4, then those that
 * have IPv6 alone, malformed ones at the end.
 *
 * @throws SelvageError of the store
 */
export async function listLeases(
  store: LeaseStore,
  { times = 'auto' }: ListLeasesOptions,
  signal: AbortSignal,
): Promise<LeaseRecord[]> {
  const entries = await listEntries(store, signal);
  const timed = times === 'auto' ? entries.length <= MOST_TIMED_LEASES : times;
  const records = timed
    ? await timedRecords(store, entries, signal)
    : entries.map((entry) => toRecord(entry));
  const placed = records.map((record) => ({ record, place: placeOf(record) }));
  return placed.sort(byPlace).map(({ record }) => record);
}

/**
 * Finds leases by subnet (`10.1.2.0/24`, `fd00:1:2::/64`), by key, or by a public IP of their host.
 *
 * @returns at least one; more when a host holds several
 * @throws SelvageError ERR_LEASE_NOT_FOUND when there is none; those of the store
 */
export async function showLease(
  store: LeaseStore,
  which: string,
  signal: AbortSignal,
): Promise<LeaseRecord[]> {
  const entries = await listEntries(store, signal);
  const found = entries.filter(
    (entry) => isNamed(entry, which) || hasAddress(toRecord(entry).lease?.value, which),
  );
  if (found.length === 0) throw notFound(store, which, entries.length);
  return await timedRecords(store, found, signal);
}

function hasAddress(value: LeaseValue | undefined, address: string): boolean {
  return value !== undefined && (value.publicIp === address || value.publicIpv6 === address);
}

/** Everything that hosts see as leases. */
export async function listEntries(store: LeaseStore, signal: AbortSignal): Promise<StoreEntry[]> {
  return (await store.list(SUBNETS_KEY_PREFIX, signal)).entries;
}

/** Whether an entry has this subnet or key, with or without `subnets/` before it. */
export function isNamed({ key }: StoreEntry, which: string): boolean {
  if (key === which || key === `${SUBNETS_KEY_PREFIX}/${which}`) return true;
  const subnets = parseLeaseKey(key);
  return subnets !== undefined && (subnets.ipv4 === which || subnets.ipv6 === which);
}

/** @param remainingSeconds undefined when it was not asked */
export function toRecord(entry: StoreEntry, remainingSeconds?: number): LeaseRecord {
  const read = readLease(entry);
  return 'reason' in read
    ? { key: entry.key, lease: undefined, problem: read.reason, remainingSeconds }
    : { key: entry.key, lease: read, problem: undefined, remainingSeconds };
}

export function notFound(store: LeaseStore, which: string, leases: number): SelvageError {
  return new SelvageError(
    'ERR_LEASE_NOT_FOUND',
    `no lease has the subnet, key or public IP ${JSON.stringify(which.slice(0, 80))} (${store.name} has ${leases}; ` +
      "'selvage lease list' shows them)",
  );
}

async function timedRecords(
  store: LeaseStore,
  entries: readonly StoreEntry[],
  signal: AbortSignal,
): Promise<LeaseRecord[]> {
  const records: LeaseRecord[] = [];
  const queue = entries.entries();
  const work = async (): Promise<void> => {
    // The workers share the iterator, so each entry is taken once.
    for (const [index, entry] of queue) {
      const reserved = entry.grant === '';
      records[index] = toRecord(entry, reserved ? Infinity : await store.remainingSeconds(entry, signal));
    }
  };
  await Promise.all(Array.from({ length: CONCURRENT_REQUESTS }, work));
  return records;
}

/** Where a record stands in a list: its first address as an unsigned number, IPv6 behind all of IPv4. */
function placeOf({ lease }: LeaseRecord): number | bigint {
  if (lease === undefined) return Infinity;
  const { ipv4, ipv6 } = lease.subnets;
  const prefix = parsePrefix(ipv4 ?? ipv6!);
  return prefix.family === 4 ? prefix.address >>> 0 : BEHIND_IPV4 + prefix.address;
}

const BEHIND_IPV4 = 1n << 32n;

interface Placed {
  readonly record: LeaseRecord;
  readonly place: number | bigint;
}

function byPlace(a: Placed, b: Placed): number {
  if (a.place !== b.place) return a.place < b.place ? -1 : 1;
  return a.record.key < b.record.key ? -1 : 1;
}
