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
import { familyOf, type IpFamily } from '../ip_address.js';
import { formatIpv6, parseIpv6 } from '../ipv6_prefix.js';
import { parsePrefix } from '../prefix.js';
import { parseStoredConfig } from './acquire_lease.js';
import { isHostAddress } from './host_address.js';
import { LEASE_TTL_SECONDS, type Lease, type LeaseSubnets, type LeaseValue, subnetsText } from './lease.js';
import { isNamed, listEntries, notFound, toRecord } from './lease_admin.js';
import { CONFIG_KEY, formatLeaseKey, parseLeaseKey, SUBNETS_KEY_PREFIX, wholeKey } from './lease_key.js';
import { addressesText, addressOf, sameHost } from './lease_host.js';
import type { LeaseStore, StoreEntry } from './store/lease_store.js';
import { formatLeaseValue } from './lease_value.js';
import type { NetworkConfig } from './network/network_config.js';
import { rangeOf } from './network/free_subnet.js';
import { formatSubnet, isInPool, type SubnetPool } from './network/subnet_pool.js';
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
  /** `10.1.2.0/24`, `10.1.2.0/24,fd00:1:2::/64` or `fd00:1:2::/64`, as the network has it. Of an existing lease one will do. */
  readonly subnet: string;
  /**
   * For whom: the address that its lease will name, or both as `192.0.2.9,2001:db8::9`; may be left out when a host has the
   * subnet.
   */
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
  const publicIp = options.publicIp === undefined ? undefined : readPublicIps(options.publicIp);
  return await untilUnchanged(options.subnet, async () => {
    const entries = await listEntries(store, signal);
    const entry = onlyEntry(entries, subnets.ipv4 ?? subnets.ipv6!);
    const others = (lease: Lease): Lease[] =>
      leasesOf(entries).filter(({ key, value }) => key !== lease.key && sameHost(value, lease.value));
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
  publicIp: PublicIps | undefined,
  signal: AbortSignal,
): Promise<Lease | undefined> {
  if (publicIp === undefined) {
    throw optionError(
      'publicIp',
      `nobody has ${subnetsText(subnets)}; name the host to keep it for (--public-ip)`,
    );
  }
  requireInNetwork(await readConfig(store, signal), subnets);
  refuseOverlap(entries, subnets);
  const value = { ...publicIp, backendType: '' };
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

function requireSame(entry: StoreEntry, subnets: LeaseSubnets, publicIp: PublicIps | undefined): Lease {
  const { lease, problem } = toRecord(entry);
  if (lease === undefined) {
    throw conflict(`${entry.key} is malformed (${problem}): release it with --force first`);
  }
  if (subnets.ipv4 !== undefined && subnets.ipv6 !== undefined && subnets.ipv6 !== lease.subnets.ipv6) {
    throw conflict(`${subnets.ipv4} is leased together with ${lease.subnets.ipv6 ?? 'no IPv6 subnet'}`);
  }
  const isSame = ([4, 6] as const).every((family) => {
    const asked = publicIp?.[FIELD[family]];
    return asked === undefined || asked === addressOf(lease.value, family);
  });
  if (isSame) return lease;
  throw conflict(
    `${subnetsText(subnets)} is ${lease.reserved ? 'reserved for' : 'leased to'} ${addressesText(lease.value)}: ` +
      'release it first',
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
  requireInPool(4, ipv4?.pool, subnets);
  requireInPool(6, ipv6?.pool, subnets);
}

function requireInPool(family: IpFamily, pool: SubnetPool | undefined, subnets: LeaseSubnets): void {
  const [subnet, other] = family === 4 ? [subnets.ipv4, subnets.ipv6] : [subnets.ipv6, subnets.ipv4];
  if (pool === undefined) {
    if (subnet === undefined) return;
    throw optionError('subnet', `the network has no IPv${family}: leave ${subnet} out`);
  }
  if (subnet === undefined) {
    const example = family === 4 ? `10.1.2.0/24,${other}` : `${other},fd00:1::/64`;
    throw optionError(
      'subnet',
      `the network has IPv${family}: add one of ${poolText(pool)}, as in ${example}`,
    );
  }
  if (isInPool(pool, rangeOf(family, subnet))) return;
  throw optionError('subnet', `${subnet} is none of the network's subnets ${poolText(pool)}`);
}

/** A key claims its subnets whatever its value is: no host takes them while it exists. */
function refuseOverlap(entries: readonly StoreEntry[], subnets: LeaseSubnets): void {
  for (const entry of entries) {
    const claimed = parseLeaseKey(entry.key);
    if (claimed === undefined || !subnetsOverlap(claimed, subnets)) continue;
    const { lease } = toRecord(entry);
    const holder = lease === undefined ? 'a malformed entry' : addressesText(lease.value);
    throw conflict(`${subnetsText(subnets)} overlaps ${entry.key}, which ${holder} has`);
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
  return readPair('subnet', text, 'prefix', (subnet) => {
    const { family } = parsePrefix(subnet);
    return family === 4 ? { ipv4: subnet } : { ipv6: subnet };
  });
}

/** Where a host is reached. */
type PublicIps = Pick<LeaseValue, 'publicIp' | 'publicIpv6'>;

const FIELD = { 4: 'publicIp', 6: 'publicIpv6' } as const;

function readPublicIps(text: string): PublicIps {
  return readPair('publicIp', text, 'address', (address) => {
    if (!isHostAddress(address))
      throw new Error(`${address} is not the address of one host that others can reach`);
    return familyOf(address) === 4 ? { publicIp: address } : { publicIpv6: formatIpv6(parseIpv6(address)) };
  });
}

/** One or two values of different families with a comma between them. */
function readPair<T extends object>(
  option: string,
  text: string,
  noun: string,
  read: (part: string) => T,
): T {
  const parts = text.split(',');
  try {
    const values = parts.map(read);
    const both = Object.assign({}, ...values) as T;
    if (Object.keys(both).length === parts.length) return both;
  } catch (cause) {
    throw optionError(option, messageOf(cause), cause);
  }
  throw optionError(option, `it has at most one IPv4 and one IPv6 ${noun}`);
}

function poolText(pool: SubnetPool): string {
  return `(${formatSubnet(pool, pool.first)} to ${formatSubnet(pool, pool.last)})`;
}

function inUse(subnet: string, lease: Lease | undefined): SelvageError {
  return new SelvageError(
    'ERR_LEASE_IN_USE',
    lease === undefined
      ? `${subnet} is malformed and so no reservation: --force removes it`
      : `${subnet} is no reservation: it is leased to ${addressesText(lease.value)}, which may be alive; stop that host and wait ` +
          'until the lease ends, or --force to remove it now',
  );
}

function conflict(message: string): SelvageError {
  return new SelvageError('ERR_LEASE_CONFLICT', message);
}

function optionError(name: string, what: string, cause?: unknown): SelvageError {
  return new SelvageError('ERR_OPTION', `${name}: ${what}`, { cause });
}
