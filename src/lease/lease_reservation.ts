/**
 * Making and ending reservations: leases without a time limit, which keep a subnet for one host.
 *
 * | from     | to       | by                                    | never |
 * |----------|----------|---------------------------------------|-------|
 * | free     | reserved | `reserveLease` with a public IP       | where another lease overlaps |
 * | leased   | reserved | `reserveLease`; the value stays       | for another host than the one that has it |
 * | reserved | leased   | `releaseLease`: 24 h, which its host renews | |
 * | reserved, leased, malformed | free | `releaseLease` with `force` | without `force`: the host may be alive |
 *
 * Every write is refused by the store when the entry changed since it was read; it is then read and judged again.
 */
import { messageOf, SelvageError } from '../errors.js';
import { parseIpv6Prefix } from '../ipv6_prefix.js';
import { parseIpv4, parseIpv4Prefix } from '../ipv4_prefix.js';
import { parseStoredConfig } from './acquire_lease.js';
import { LEASE_TTL_SECONDS, type Lease, type LeaseSubnets } from './lease.js';
import { isNamed, listEntries, notFound, toRecord } from './lease_admin.js';
import { CONFIG_KEY, formatLeaseKey, parseLeaseKey, SUBNETS_KEY_PREFIX, wholeKey } from './lease_key.js';
import type { LeaseStore, StoreEntry } from './store/lease_store.js';
import { formatLeaseValue } from './lease_value.js';
import type { NetworkConfig } from './network/network_config.js';
import { formatSubnet, isInPool, type SubnetPool } from './network/subnet_pool.js';
import { isHostAddress } from './read_lease.js';
import { subnetsOverlap } from './subnets_overlap.js';

/** Reads and writes of one entry before giving up: a host writes its lease once a day. */
const ATTEMPTS = 5;

export interface Reservation {
  /** `already`: nothing was written. `kept`: a host's lease lost its time limit. `created`: a free subnet was taken. */
  readonly how: 'already' | 'kept' | 'created';
  readonly lease: Lease;
  /** Other leases of the same public IP: its host changes to the reserved one when it takes a lease next. */
  readonly others: readonly Lease[];
}

export interface Release {
  /** `timed`: it ends in 24 h unless its host renews it. `removed`: it is gone. */
  readonly how: 'timed' | 'removed';
  readonly key: string;
  /** As it was; undefined when the entry was malformed. */
  readonly lease: Lease | undefined;
}

export interface ReserveOptions {
  /** `10.1.2.0/24`, with `,fd00:1:2::/64` behind it in a network with IPv6. Of an existing lease the first will do. */
  readonly subnet: string;
  /** For whom; may be left out when a host has the subnet. */
  readonly publicIp?: string;
}

/**
 * Reserves a subnet for one host.
 *
 * @throws SelvageError ERR_OPTION: no such subnet in this network, or nobody to reserve it for; ERR_LEASE_CONFLICT: another
 *   host has it or part of it; ERR_NETWORK_CONFIG; those of the store
 */
export async function reserveLease(
  store: LeaseStore,
  options: ReserveOptions,
  signal: AbortSignal,
): Promise<Reservation> {
  const subnets = readSubnets(options.subnet);
  const publicIp = options.publicIp === undefined ? undefined : readPublicIp(options.publicIp);
  return await untilUnchanged(options.subnet, async () => {
    const entries = await listEntries(store, signal);
    const entry = onlyEntry(entries, subnets.ipv4);
    const others = (lease: Lease): Lease[] =>
      leasesOf(entries).filter(
        ({ key, value }) => key !== lease.key && value.publicIp === lease.value.publicIp,
      );
    if (entry === undefined) {
      const lease = await createReservation(store, entries, subnets, publicIp, signal);
      return lease && { how: 'created', lease, others: others(lease) };
    }
    const lease = requireSame(entry, subnets, publicIp);
    if (lease.reserved) return { how: 'already', lease, others: others(lease) };
    const written = await store.replace(entry, entry.value, 0, signal);
    if (written === undefined) return refused(store, entry);
    return { how: 'kept', lease: { ...lease, reserved: true }, others: others(lease) };
  });
}

export interface ReleaseOptions {
  /** Subnet or key. */
  readonly subnet: string;
  /** Remove the entry at once. Default false: a reservation becomes an ordinary lease, others are left alone. */
  readonly force?: boolean;
}

/**
 * Ends a reservation, or removes a lease.
 *
 * @throws SelvageError ERR_LEASE_NOT_FOUND; ERR_LEASE_IN_USE without `force` for what is no reservation; ERR_LEASE_CONFLICT
 *   when the name fits several entries; those of the store
 */
export async function releaseLease(
  store: LeaseStore,
  { subnet, force = false }: ReleaseOptions,
  signal: AbortSignal,
): Promise<Release> {
  return await untilUnchanged(subnet, async () => {
    const entries = await listEntries(store, signal);
    const entry = onlyEntry(entries, subnet);
    if (entry === undefined) throw notFound(store, subnet, entries.length);
    const { key, lease } = toRecord(entry);
    if (force)
      return (await store.remove(entry, signal)) ? { how: 'removed', key, lease } : refused(store, entry);
    if (lease === undefined || !lease.reserved) throw inUse(subnet, lease);
    const written = await store.replace(entry, entry.value, LEASE_TTL_SECONDS, signal);
    return written === undefined ? refused(store, entry) : { how: 'timed', key, lease };
  });
}

/** Calls again while the answer is undefined: somebody wrote in between. */
async function untilUnchanged<T>(subnet: string, attempt: () => Promise<T | undefined>): Promise<T> {
  for (let left = ATTEMPTS; left > 0; left--) {
    const done = await attempt();
    if (done !== undefined) return done;
  }
  throw new SelvageError(
    'ERR_LEASE_CONFLICT',
    `${subnet} is being changed by others all the time: try again`,
  );
}

/**
 * The store did not write an entry: somebody else did meanwhile, and it is to be read again, unless what was read is not
 * how the key is spelled.
 */
function refused(store: LeaseStore, { key }: StoreEntry): undefined {
  // What stands for bytes that are no UTF-8 (U+FFFD) is written as itself, and so names another key.
  if (!key.includes('\uFFFD')) return undefined;
  const listing = `etcdctl get --prefix --keys-only -w json ${wholeKey(store, SUBNETS_KEY_PREFIX)}`;
  throw conflict(
    `${JSON.stringify(key)} stands for a key with bytes that are no UTF-8, which cannot be written here: ` +
      `use etcdctl del with its bytes ('${listing}' shows them in base64)`,
  );
}

/** @returns undefined when somebody else made the key meanwhile */
async function createReservation(
  store: LeaseStore,
  entries: readonly StoreEntry[],
  subnets: LeaseSubnets,
  publicIp: string | undefined,
  signal: AbortSignal,
): Promise<Lease | undefined> {
  if (publicIp === undefined) {
    throw optionError('publicIp', `nobody has ${subnets.ipv4}; name the host to keep it for (--public-ip)`);
  }
  requireInNetwork(await readConfig(store, signal), subnets);
  refuseOverlap(entries, subnets);
  const value = { publicIp, backendType: '' };
  const created = await store.create(formatLeaseKey(subnets), formatLeaseValue(value), 0, signal);
  if (created === undefined) return undefined;
  // A host with another SubnetLen may have taken part of it since the list; the older one stays.
  const older = (await listEntries(store, signal)).filter(({ createdAt }) => createdAt < created.createdAt);
  try {
    refuseOverlap(older, subnets);
  } catch (error) {
    await store.remove(created, signal);
    throw error;
  }
  return { subnets, value, key: created.key, reserved: true };
}

function requireSame(entry: StoreEntry, subnets: LeaseSubnets, publicIp: string | undefined): Lease {
  const { lease, problem } = toRecord(entry);
  if (lease === undefined) {
    throw conflict(`${entry.key} is malformed (${problem}): release it with --force first`);
  }
  if (subnets.ipv6 !== undefined && subnets.ipv6 !== lease.subnets.ipv6) {
    throw conflict(`${subnets.ipv4} is leased together with ${lease.subnets.ipv6 ?? 'no IPv6 subnet'}`);
  }
  if (publicIp === undefined || publicIp === lease.value.publicIp) return lease;
  throw conflict(
    `${subnets.ipv4} is ${lease.reserved ? 'reserved for' : 'leased to'} ${lease.value.publicIp}: release it first`,
  );
}

async function readConfig(store: LeaseStore, signal: AbortSignal): Promise<NetworkConfig> {
  const entry = await store.get(CONFIG_KEY, signal);
  if (entry !== undefined) return parseStoredConfig(entry, store);
  throw new SelvageError(
    'ERR_NETWORK_CONFIG',
    `${store.name} has no network config: write key "${wholeKey(store, CONFIG_KEY)}", or correct --etcd-prefix`,
  );
}

function requireInNetwork({ ipv4, ipv6 }: NetworkConfig, subnets: LeaseSubnets): void {
  const { address, bits } = parseIpv4Prefix(subnets.ipv4);
  if (!isInPool(ipv4, { first: BigInt(address >>> 0), bits })) {
    throw optionError('subnet', `${subnets.ipv4} is none of the network's subnets ${poolText(ipv4)}`);
  }
  if (ipv6 === undefined) {
    if (subnets.ipv6 === undefined) return;
    throw optionError('subnet', `the network has no IPv6: leave ${subnets.ipv6} out`);
  }
  if (subnets.ipv6 === undefined) {
    throw optionError(
      'subnet',
      `the network has IPv6: add one of ${poolText(ipv6.pool)}, as in ${subnets.ipv4},fd00:1::/64`,
    );
  }
  const prefix = parseIpv6Prefix(subnets.ipv6);
  if (!isInPool(ipv6.pool, { first: prefix.address, bits: prefix.bits })) {
    throw optionError('subnet', `${subnets.ipv6} is none of the network's subnets ${poolText(ipv6.pool)}`);
  }
}

/** A key claims its subnets whatever its value is: no host takes them while it exists. */
function refuseOverlap(entries: readonly StoreEntry[], subnets: LeaseSubnets): void {
  for (const entry of entries) {
    const claimed = parseLeaseKey(entry.key);
    if (claimed === undefined || !subnetsOverlap(claimed, subnets)) continue;
    const holder = toRecord(entry).lease?.value.publicIp ?? 'a malformed entry';
    throw conflict(`${subnets.ipv4} overlaps ${entry.key}, which ${holder} has`);
  }
}

function leasesOf(entries: readonly StoreEntry[]): Lease[] {
  return entries.flatMap((entry) => toRecord(entry).lease ?? []);
}

function onlyEntry(entries: readonly StoreEntry[], name: string): StoreEntry | undefined {
  const found = entries.filter((entry) => isNamed(entry, name));
  if (found.length < 2) return found[0];
  throw conflict(
    `${name} names ${found.length} leases; name one by its key: ${found.map(({ key }) => key).join(', ')}`,
  );
}

function readSubnets(text: string): LeaseSubnets {
  const [ipv4 = '', ipv6, ...rest] = text.split(',');
  try {
    parseIpv4Prefix(ipv4);
    if (ipv6 === undefined) return { ipv4 };
    parseIpv6Prefix(ipv6);
  } catch (cause) {
    throw optionError('subnet', messageOf(cause), cause);
  }
  if (rest.length > 0) throw optionError('subnet', 'it has at most one IPv4 and one IPv6 prefix');
  return { ipv4, ipv6 };
}

function readPublicIp(text: string): string {
  try {
    if (isHostAddress(parseIpv4(text))) return text;
  } catch (cause) {
    throw optionError('publicIp', messageOf(cause), cause);
  }
  throw optionError('publicIp', `${text} is not the address of one host that others can reach`);
}

function poolText(pool: SubnetPool): string {
  return `(${formatSubnet(pool, pool.first)} to ${formatSubnet(pool, pool.last)})`;
}

function inUse(subnet: string, lease: Lease | undefined): SelvageError {
  return new SelvageError(
    'ERR_LEASE_IN_USE',
    lease === undefined
      ? `${subnet} is malformed and so no reservation: --force removes it`
      : `${subnet} is no reservation: it is leased to ${lease.value.publicIp}, which may be alive; stop that host and wait ` +
          'until the lease ends, or --force to remove it now',
  );
}

function conflict(message: string): SelvageError {
  return new SelvageError('ERR_LEASE_CONFLICT', message);
}

function optionError(name: string, what: string, cause?: unknown): SelvageError {
  return new SelvageError('ERR_OPTION', `${name}: ${what}`, { cause });
}
