import { createHash } from 'node:crypto';

import { contains, formatPrefix, hostPrefix, overlaps, parsePrefix, type Prefix } from '../prefix.js';
import { isHostAddress } from './host_address.js';
import type { Lease, LeaseSubnets } from './lease.js';
import { addressOf, type LeaseHost, unreachable } from './lease_host.js';
import type { StoreEntry, StoreEvent } from './store/lease_store.js';
import { type LeaseProblem, readLease } from './read_lease.js';
import type { Peer, RouteChange } from './route_source.js';

/** Which of the leases are other hosts' to this one. */
export interface PeerView {
  /** The overlay network, of each family that it has. */
  readonly networks: readonly Prefix[];
  readonly host: LeaseHost;
  /** Key of our own lease. */
  readonly ownKey: string;
  readonly ownSubnets: LeaseSubnets;
}

/** An entry and what became of it. */
interface Claim {
  readonly entry: StoreEntry;
  readonly read: Lease | LeaseProblem;
  /** Undefined when key or value cannot be read. */
  readonly lease: Lease | undefined;
  /** Those of its subnets that may be routed to; none of ours. */
  readonly subnets: readonly string[];
  /** Where its host is reached; '' without subnets. */
  readonly address: string;
  /** Why it, or one of its subnets, is not routed to; '' when all may be. */
  readonly fault: string;
}

/** What of a sound lease may be routed to. */
type Verdict = Pick<Claim, 'subnets' | 'address' | 'fault'>;

/** Entries that were removed and whose fault is remembered as told. */
const MOST_FORGOTTEN = 1_000;
/** Its own, and one for each subnet that another has. */
const FAULTS_PER_CLAIM = 3;

/**
 * The entries below `subnets` and the peers that follow from them. No I/O.
 *
 * Each subnet of a lease is a claim of its own. One can be claimed by several keys (with and without an IPv6 part); the one
 * that was made first has it. One event costs the same however many leases there are.
 */
export class PeerTable {
  readonly #onSkipped: (key: string, reason: string) => void;
  #view: PeerView;
  #claims = new Map<string, Claim>();
  /** Keys that may be routed to, by subnet; seldom more than one. */
  readonly #claimants = new Map<string, string[]>();
  #peers = new Map<string, Peer>();
  #expectedKey = '';
  #leases = 0;
  #skipped = 0;
  /** Fault and value of each entry that was told, by key, or by key and subnet where others have that; oldest first. */
  readonly #told = new Map<string, string>();

  /** @param onSkipped called once for each key and value that is not routed to; must not throw */
  constructor(view: PeerView, onSkipped: (key: string, reason: string) => void) {
    this.#view = view;
    this.#onSkipped = onSkipped;
  }

  /** The peers as they are; the caller owns the array. */
  get peers(): Peer[] {
    return [...this.#peers.values()];
  }

  /** Leases of other hosts, those not routed to included. */
  get leases(): number {
    return this.#leases;
  }

  /** Entries that are not routed to, ours aside. */
  get skipped(): number {
    return this.#skipped;
  }

  /** The entry of our own key. */
  get own(): StoreEntry | undefined {
    return this.#claims.get(this.#view.ownKey)?.entry;
  }

  /** We are about to make this key; until the next {@link setView} it looks like another lease with our public IP. */
  expectOwn(key: string): void {
    this.#expectedKey = key;
  }

  /** Looks at all entries with other eyes: we have another subnet. */
  setView(view: PeerView): void {
    this.#view = view;
    this.#expectedKey = '';
    this.replace([...this.#claims.values()].map(({ entry }) => entry));
  }

  /** Takes a full list. @returns whether the peers differ from before */
  replace(entries: readonly StoreEntry[]): boolean {
    const before = this.#peers;
    const known = this.#claims;
    this.#claims = new Map();
    this.#claimants.clear();
    this.#peers = new Map();
    this.#leases = 0;
    this.#skipped = 0;
    for (const entry of entries) this.#add(entry, known.get(entry.key));
    for (const subnet of this.#claimants.keys()) this.#settle(subnet);
    return !samePeers(before, this.#peers);
  }

  /** Takes changes in order. @returns what they come to: at most one change for each subnet */
  apply(events: readonly StoreEvent[]): RouteChange[] {
    const touched = new Set<string>();
    for (const event of events) {
      const key = event.kind === 'put' ? event.entry.key : event.key;
      for (const subnet of this.#drop(key)) touched.add(subnet);
      if (event.kind !== 'put') continue;
      for (const subnet of this.#add(event.entry)) touched.add(subnet);
    }
    const changes: RouteChange[] = [];
    for (const subnet of touched) {
      const before = this.#peers.get(subnet);
      const now = this.#settle(subnet);
      if (now === undefined) {
        if (before !== undefined) changes.push({ kind: 'delete', subnet });
      } else if (before?.publicIp !== now.publicIp) {
        changes.push({ kind: 'set', peer: now });
      }
    }
    return changes;
  }

  /** @returns the subnets that it may be routed for */
  #add(entry: StoreEntry, known?: Claim): readonly string[] {
    const claim = this.#judge(entry, known);
    const { key } = entry;
    this.#claims.set(key, claim);
    if (key === this.#view.ownKey) return [];
    if (claim.lease !== undefined) this.#leases++;
    if (claim.subnets.length === 0) this.#skipped++;
    if (claim.fault !== '' && key !== this.#expectedKey) this.#tell(key, entry, claim.fault);
    for (const subnet of claim.subnets) {
      const claimants = this.#claimants.get(subnet);
      if (claimants === undefined) this.#claimants.set(subnet, [key]);
      else claimants.push(key);
    }
    return claim.subnets;
  }

  /** @returns the subnets that it was claimed for */
  #drop(key: string): readonly string[] {
    const claim = this.#claims.get(key);
    if (claim === undefined) return [];
    this.#claims.delete(key);
    if (key === this.#view.ownKey) return [];
    if (claim.lease !== undefined) this.#leases--;
    if (claim.subnets.length === 0) this.#skipped--;
    for (const subnet of claim.subnets) {
      const claimants = this.#claimants.get(subnet)!.filter((claimant) => claimant !== key);
      if (claimants.length > 0) this.#claimants.set(subnet, claimants);
      else this.#claimants.delete(subnet);
    }
    return claim.subnets;
  }

  /** Gives the subnet to the oldest of its claimants. */
  #settle(subnet: string): Peer | undefined {
    const keys = this.#claimants.get(subnet);
    if (keys === undefined) {
      this.#peers.delete(subnet);
      return undefined;
    }
    const claims = keys.map((key) => this.#claims.get(key)!);
    const first = claims.reduce((a, b) => (b.entry.createdAt < a.entry.createdAt ? b : a));
    for (const { entry } of claims) {
      if (entry !== first.entry) {
        const place = `${entry.key} ${subnet}`;
        this.#tell(place, entry, `${first.entry.key} has the same subnet and was there first`);
      }
    }
    const peer: Peer = { subnet, publicIp: first.address };
    this.#peers.set(subnet, peer);
    return peer;
  }

  /** @param known what was at the key before; the same entry is not read again, which takes most of the time of a full list */
  #judge(entry: StoreEntry, known: Claim | undefined): Claim {
    const same = known?.entry.revision === entry.revision && known.entry.value === entry.value;
    const read = same ? known.read : readLease(entry);
    if ('reason' in read) return { entry, read, lease: undefined, ...refused(read.reason) };
    const verdict = entry.key === this.#view.ownKey ? refused('') : verdictOn(read, this.#view);
    return { entry, read, lease: read, ...verdict };
  }

  /** @param place what is at fault: the key, or one subnet of it */
  #tell(place: string, { key, value }: StoreEntry, fault: string): void {
    const known = this.#told.get(place);
    // A digest, because a value may be a megabyte.
    const text = `${fault} ${createHash('sha256').update(value).digest('base64')}`;
    if (known === text) return;
    // At the end again, as the newest.
    this.#told.delete(place);
    this.#told.set(place, text);
    if (this.#told.size > MOST_FORGOTTEN + FAULTS_PER_CLAIM * this.#claims.size) {
      const [oldest] = this.#told.keys();
      this.#told.delete(oldest!);
    }
    this.#onSkipped(key, fault);
  }
}

function refused(fault: string): Verdict {
  return { subnets: [], address: '', fault };
}

function verdictOn({ subnets, value }: Lease, view: PeerView): Verdict {
  const { underlay, address: own } = view.host;
  const backend = value.backendType.toLowerCase();
  if (backend !== '' && backend !== 'udp') {
    return refused(`its backend is ${JSON.stringify(value.backendType)}, not udp`);
  }
  const address = addressOf(value, underlay);
  if (address === undefined) return refused(unreachable(underlay));
  if (!isHostAddress(address)) return refused(`${address} is no address at which others reach a host`);
  if (address === own) return refused(`it has this host's own public IP ${own}; frames to it would loop`);
  const around = view.networks.find((network) => contains(network, hostPrefix(address)));
  if (around !== undefined) {
    return refused(
      `its public IP ${address} lies inside the network ${formatPrefix(around)}; frames to it would loop`,
    );
  }
  const all = [subnets.ipv4, subnets.ipv6].filter((subnet) => subnet !== undefined);
  const sound: string[] = [];
  const faults: string[] = [];
  for (const subnet of all) {
    const fault = faultOf(parsePrefix(subnet), view);
    if (fault === '') sound.push(subnet);
    else if (fault !== undefined) faults.push(`${all.length === 1 ? 'it' : `its subnet ${subnet}`} ${fault}`);
  }
  if (sound.length + faults.length === 0) {
    const families = view.networks.map(({ family }) => `IPv${family}`).join(' and ');
    return refused(`it has no ${families} subnet, and the network has nothing else`);
  }
  return { subnets: sound, address: sound.length === 0 ? '' : address, fault: faults.join('; ') };
}

/** Why a subnet is not routed to; '' when it is one of ours to reach, undefined when the network has not its family. */
function faultOf(subnet: Prefix, { networks, ownSubnets }: PeerView): string | undefined {
  const network = networks.find(({ family }) => family === subnet.family);
  if (network === undefined) return undefined;
  if (!contains(network, subnet)) return `lies outside the network ${formatPrefix(network)}`;
  const own = subnet.family === 4 ? ownSubnets.ipv4 : ownSubnets.ipv6;
  if (own === undefined || !overlaps(subnet, parsePrefix(own))) return '';
  return `overlaps this host's own subnet ${own}`;
}

function samePeers(a: ReadonlyMap<string, Peer>, b: ReadonlyMap<string, Peer>): boolean {
  if (a.size !== b.size) return false;
  for (const [subnet, { publicIp }] of a) if (b.get(subnet)?.publicIp !== publicIp) return false;
  return true;
}
