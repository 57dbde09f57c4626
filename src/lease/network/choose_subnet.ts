import { type AddressRange, findFreeSubnets, rangeOf, rangesOverlap } from './free_subnet.js';
import type { Lease, LeaseSubnets } from '../lease.js';
import { formatLeaseKey } from '../lease_key.js';
import { isOf, type LeaseHost } from '../lease_host.js';
import type { NetworkConfig } from './network_config.js';
import { addressesIn, formatSubnet, isInPool, type SubnetPool, subnetsIn } from './subnet_pool.js';

/** What is known when a host wants its subnet. */
export interface SubnetQuestion {
  readonly config: NetworkConfig;
  /** All leases of the network, expired ones left out. */
  readonly leases: readonly Lease[];
  /** Subnets named by the keys of entries that are no leases (`LeaseProblem.subnets`): those keys cannot be made. */
  readonly blocked?: readonly LeaseSubnets[] | undefined;
  /** This host in this network. */
  readonly host: LeaseHost;
  /** What this host had before, as far as it remembers: canonical prefixes. */
  readonly previous?: LeaseSubnets | undefined;
  /** Key of a lease that is known to be ours, though it may name an address that the host no longer has. */
  readonly own?: string | undefined;
  /** From 0 up to but not 1, as `Math.random`. */
  readonly random: () => number;
}

/** What to do. `warning` is one line about a reservation of this host that cannot be used. */
export type Choice =
  /** Write this lease anew. */
  | { readonly kind: 'reuse'; readonly lease: Lease; readonly warning?: string }
  /** Remove `discard`, which is ours and does not fit the config, and make a lease for `subnets`. */
  | {
      readonly kind: 'create';
      readonly subnets: LeaseSubnets;
      readonly how: 'previous' | 'new';
      readonly discard?: Lease;
      readonly warning?: string;
    }
  /** Nothing is free; nothing should be removed. */
  | { readonly kind: 'full'; readonly message: string };

/** flannel 0.28 (`allocateSubnet`) picks one of so many, so that hosts that start together seldom want the same. */
const MOST_CANDIDATES = 100;

interface TakenRange extends AddressRange {
  readonly reserved: boolean;
  readonly subnets: LeaseSubnets;
}

/**
 * Chooses the subnet of a host as flannel 0.28 (`tryAcquireLease`) does: the one leased to its public IP, else the one it had
 * before, else a random one of the first hundred that overlap nothing; each with one of either family where the network has both.
 *
 * Differs where flannel falls short: a reservation comes before other leases of the host and is never removed; a lease that
 * fits is found behind one that does not; what the host had before must overlap no lease, not only differ from each.
 *
 * Pure. Takes time in proportion to the leases, not to the size of the network.
 */
export function chooseSubnet(question: SubnetQuestion): Choice {
  const { config, leases, blocked = [], previous, random } = question;
  const ours = leasesOfHost(question);
  const warning = warnOfReservation(ours, config);
  const lease = ours.find(({ subnets }) => fits(config, subnets));
  if (lease !== undefined) return { kind: 'reuse', lease, ...warning };

  const discard = ours.find(({ reserved }) => !reserved);
  const others = leases.filter((other) => other !== discard);
  const taken = [...others, ...blocked.map((subnets) => ({ subnets, reserved: false }))];
  const create = { kind: 'create', ...(discard && { discard }), ...warning } as const;

  const ranges = {
    4: config.ipv4 === undefined ? [] : takenRanges(taken, 4),
    6: config.ipv6 === undefined ? [] : takenRanges(taken, 6),
  };
  if (previous !== undefined && fits(config, previous)) {
    const free = !overlapsAny(4, previous.ipv4, ranges[4]) && !overlapsAny(6, previous.ipv6, ranges[6]);
    if (free) return { ...create, subnets: previous, how: 'previous' };
  }
  let subnets: LeaseSubnets = {};
  for (const pool of poolsOf(config)) {
    const subnet = pickFree(pool, ranges[pool.family], random);
    if (subnet === undefined) return full(pool, ranges[pool.family]);
    subnets = { ...subnets, [pool.family === 4 ? 'ipv4' : 'ipv6']: subnet };
  }
  return { ...create, subnets, how: 'new' };
}

function poolsOf({ ipv4, ipv6 }: NetworkConfig): SubnetPool[] {
  return [ipv4, ipv6].flatMap((family) => (family === undefined ? [] : [family.pool]));
}

/**
 * Leases of this host, the one to prefer first. One under a key of another spelling is left out: flanneld would look for the
 * usual key, so writing that one anew would protect nothing.
 */
function leasesOfHost({ leases, host, own }: SubnetQuestion): Lease[] {
  const rank = ({ key, reserved, value }: Lease): number => {
    if (reserved && isOf(value, host)) return 0;
    return key === own ? 1 : 2;
  };
  return leases
    .filter(({ key, value }) => key === own || isOf(value, host))
    .filter(({ key, subnets }) => key === formatLeaseKey(subnets))
    .sort((a, b) => rank(a) - rank(b));
}

/** Whether a host may have these subnets under this config (flannel 0.28 `isSubnetConfigCompat`, both families). */
function fits(config: NetworkConfig, { ipv4, ipv6 }: LeaseSubnets): boolean {
  return fitsFamily(config.ipv4?.pool, ipv4) && fitsFamily(config.ipv6?.pool, ipv6);
}

function fitsFamily(pool: SubnetPool | undefined, subnet: string | undefined): boolean {
  if (pool === undefined || subnet === undefined) return pool === subnet;
  return isInPool(pool, rangeOf(pool.family, subnet));
}

function warnOfReservation(ours: readonly Lease[], config: NetworkConfig): { readonly warning?: string } {
  const unfit = ours.find(({ reserved, subnets }) => reserved && !fits(config, subnets));
  if (unfit === undefined) return {};
  const allowed = poolsOf(config)
    .map((pool) => spanOf(pool))
    .join(' and ');
  return {
    warning:
      `the reservation ${unfit.key} of this host does not fit the network config, which has subnets ${allowed}: ` +
      'it is kept and not used; release it with: selvage lease release',
  };
}

function takenRanges(
  taken: readonly { readonly subnets: LeaseSubnets; readonly reserved: boolean }[],
  family: 4 | 6,
): TakenRange[] {
  return taken.flatMap(({ subnets, reserved }) => {
    const prefix = family === 4 ? subnets.ipv4 : subnets.ipv6;
    return prefix === undefined ? [] : [{ ...rangeOf(family, prefix), reserved, subnets }];
  });
}

function overlapsAny(family: 4 | 6, prefix: string | undefined, taken: readonly AddressRange[]): boolean {
  if (prefix === undefined) return false;
  const range = rangeOf(family, prefix);
  return taken.some((other) => rangesOverlap(range, other));
}

function pickFree(
  pool: SubnetPool,
  taken: readonly AddressRange[],
  random: () => number,
): string | undefined {
  const free = findFreeSubnets(pool, taken, MOST_CANDIDATES);
  const picked = free[Math.floor(random() * free.length)];
  return picked === undefined ? undefined : formatSubnet(pool, picked);
}

function full(pool: SubnetPool, taken: readonly TakenRange[]): Choice {
  const ends = { first: pool.first, last: rangeOf(pool.family, formatSubnet(pool, pool.last)).last, bits: 0 };
  const inPool = taken.filter((range) => rangesOverlap(range, ends));
  const reserved = inPool.filter((range) => range.reserved).length;
  const prefix = pool.family === 4 ? '' : 'IPv6';
  return {
    kind: 'full',
    message:
      `out of subnets: all ${subnetsIn(pool)} ${prefix === '' ? '' : `${prefix} `}subnets ${spanOf(pool)} are leased ` +
      `(${reserved} of them reserved)${widest(pool, inPool)}; widen ${prefix}SubnetMin..${prefix}SubnetMax or ${prefix}Network, ` +
      'or release one: selvage lease list',
  };
}

/** Names the lease that takes more than one subnet, as a key written by hand may: it is what an operator looks for. */
function widest(pool: SubnetPool, taken: readonly TakenRange[]): string {
  const size = ({ first, last }: AddressRange): bigint => last - first + 1n;
  const wide = taken.filter((range) => size(range) > addressesIn(pool.family, pool.bits));
  if (wide.length === 0) return '';
  const { subnets } = wide.reduce((a, b) => (size(b) > size(a) ? b : a));
  return `, many of them by the one key ${formatLeaseKey(subnets)}`;
}

function spanOf(pool: SubnetPool): string {
  return `from ${formatSubnet(pool, pool.first)} to ${formatSubnet(pool, pool.last)}`;
}
