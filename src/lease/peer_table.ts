import { createHash } from 'node:crypto';

import {
  containsIpv4Prefix,
  formatIpv4Prefix,
  type Ipv4Prefix,
  overlapsIpv4Prefix,
  parseIpv4Prefix,
} from '../ipv4_prefix.js';
import type { Lease } from './lease.js';
import type { StoreEntry, StoreEvent } from './store/lease_store.js';
import { type LeaseProblem, readLease } from './read_lease.js';
import type { Peer, RouteChange } from './route_source.js';

/** Which of the leases are other hosts' to this one. */
export interface PeerView {
  readonly network: Ipv4Prefix;
  readonly publicIp: string;
  /** Key of our own lease. */
  readonly ownKey: string;
  /** Canonical text of our own subnet. */
  readonly ownSubnet: string;
}

/** An entry and what became of it. */
interface Claim {
  readonly entry: StoreEntry;
  readonly read: Lease | LeaseProblem;
  /** Undefined when key or value cannot be read. */
  readonly lease: Lease | undefined;
  /** Why it is not routed to; '' when it may be. Ours is not routed to either. */
  readonly fault: string;
}

/** Entries that were removed and whose fault is remembered as told. */
const MOST_FORGOTTEN = 1_000;

/**
 * The entries below `subnets` and the peers that follow from them. No I/O.
 *
 * A subnet can be claimed by several keys (with and without an IPv6 part); the one that was made first has it. One event
 * costs the same however many leases there are.
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
  /** Fault and value of each entry that was told, by key; oldest first. */
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
      const before = this.#drop(key);
      if (before !== undefined) touched.add(before);
      if (event.kind === 'put') {
        const now = this.#add(event.entry);
        if (now !== undefined) touched.add(now);
      }
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

  /** @returns the subnet that it may be routed for */
  #add(entry: StoreEntry, known?: Claim): string | undefined {
    const claim = this.#judge(entry, known);
    this.#claims.set(entry.key, claim);
    if (entry.key === this.#view.ownKey) return undefined;
    if (claim.lease !== undefined) this.#leases++;
    if (claim.fault !== '') {
      this.#skipped++;
      if (entry.key !== this.#expectedKey) this.#tell(entry, claim.fault);
      return undefined;
    }
    const subnet = claim.lease!.subnets.ipv4;
    const claimants = this.#claimants.get(subnet);
    if (claimants === undefined) this.#claimants.set(subnet, [entry.key]);
    else claimants.push(entry.key);
    return subnet;
  }

  /** @returns the subnet that it was claimed for */
  #drop(key: string): string | undefined {
    const claim = this.#claims.get(key);
    if (claim === undefined) return undefined;
    this.#claims.delete(key);
    if (key === this.#view.ownKey) return undefined;
    if (claim.lease !== undefined) this.#leases--;
    if (claim.fault !== '') {
      this.#skipped--;
      return undefined;
    }
    const subnet = claim.lease!.subnets.ipv4;
    const claimants = this.#claimants.get(subnet)!.filter((claimant) => claimant !== key);
    if (claimants.length > 0) this.#claimants.set(subnet, claimants);
    else this.#claimants.delete(subnet);
    return subnet;
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
      if (entry !== first.entry)
        this.#tell(entry, `${first.entry.key} has the same subnet and was there first`);
    }
    const peer: Peer = { subnet, publicIp: first.lease!.value.publicIp };
    this.#peers.set(subnet, peer);
    return peer;
  }

  /** @param known what was at the key before; the same entry is not read again, which takes most of the time of a full list */
  #judge(entry: StoreEntry, known: Claim | undefined): Claim {
    const same = known?.entry.revision === entry.revision && known.entry.value === entry.value;
    const read = same ? known.read : readLease(entry);
    if ('reason' in read) return { entry, read, lease: undefined, fault: read.reason };
    const fault = entry.key === this.#view.ownKey ? '' : faultOf(read, this.#view);
    return { entry, read, lease: read, fault };
  }

  #tell({ key, value }: StoreEntry, fault: string): void {
    const known = this.#told.get(key);
    // A digest, because a value may be a megabyte.
    const text = `${fault} ${createHash('sha256').update(value).digest('base64')}`;
    if (known === text) return;
    // At the end again, as the newest.
    this.#told.delete(key);
    this.#told.set(key, text);
    if (this.#told.size > MOST_FORGOTTEN + this.#claims.size) {
      const [oldest] = this.#told.keys();
      this.#told.delete(oldest!);
    }
    this.#onSkipped(key, fault);
  }
}

/** Why a sound lease is not a peer; '' when it is one. */
function faultOf({ subnets, value }: Lease, { network, publicIp, ownSubnet }: PeerView): string {
  const backend = value.backendType.toLowerCase();
  if (backend !== '' && backend !== 'udp')
    return `its backend is ${JSON.stringify(value.backendType)}, not udp`;
  const subnet: Ipv4Prefix = parseIpv4Prefix(subnets.ipv4);
  if (!containsIpv4Prefix(network, subnet)) return `it lies outside the network ${formatIpv4Prefix(network)}`;
  if (value.publicIp === publicIp)
    return `it has this host's own public IP ${publicIp}; frames to it would loop`;
  if (overlapsIpv4Prefix(subnet, parseIpv4Prefix(ownSubnet)))
    return `it overlaps this host's own subnet ${ownSubnet}`;
  return '';
}

function samePeers(a: ReadonlyMap<string, Peer>, b: ReadonlyMap<string, Peer>): boolean {
  if (a.size !== b.size) return false;
  for (const [subnet, { publicIp }] of a) if (b.get(subnet)?.publicIp !== publicIp) return false;
  return true;
}
