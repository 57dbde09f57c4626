import { messageOf, SelvageError } from '../errors.js';
import { formatIpv6, parseIpv6 } from '../ipv6_prefix.js';
import { formatPrefix } from '../prefix.js';
import { type Acquired, type HeldConfig, LeaseAcquirer } from './acquire_lease.js';
import { HostPresence } from './host_presence.js';
import { LEASE_TTL_SECONDS, type Lease, type LeaseSubnets } from './lease.js';
import type { LeaseEvent, LeaseSourceState } from './lease_event.js';
import { LeaseHolder } from './lease_holder.js';
import { addressesText, addressOf, type HostAddresses, hostIn, isOf, type LeaseHost } from './lease_host.js';
import type { StoreEntry } from './store/lease_store.js';
import {
  checkLeaseSourceOptions,
  type LeaseSourceListener,
  type LeaseSourceOptions,
  RENEW_MARGIN_SECONDS,
  RESYNC_SECONDS,
} from './lease_source_options.js';
import { LeaseSync } from './lease_sync.js';
import type { NetworkConfig } from './network/network_config.js';
import type { PeerView } from './peer_table.js';
import { readLease } from './read_lease.js';
import type { Peer, RouteChange, RouteSnapshot, RouteSource } from './route_source.js';
import { RoutesSnapshotFile, type SavedRoutes } from './routes_snapshot_file.js';
import { ConnectionRecord, ToldOnce } from './store/store_connection.js';

/** After these the next start should know. */
const OF_OWN_LEASE: ReadonlySet<LeaseEvent['kind']> = new Set([
  'renewed',
  'lost',
  'regained',
  'moved',
  'adopted',
]);
const FLANNELD = 'a host that writes no presence, such as flanneld';

/**
 * Routes from the leases in a store: holds this host's lease, and follows those of the others.
 *
 * | from    | to      | by                                                      | never |
 * |---------|---------|---------------------------------------------------------|-------|
 * | made    | opening | `open`                                                  | a second `open` |
 * | opening | stale   | a sound snapshot on disk: `open` resolves at once       | a snapshot whose lease has run out or was lost, or of another network or public IP |
 * | opening | live    | lease acquired, leases listed: `open` resolves          | two hosts with one subnet |
 * | stale   | live    | the same in the background; a `snapshot` change follows | |
 * | live    | live    | events of holder and sync                               | routes that go away because the store did |
 * | stale, live | ended | `onEnd`                                               | |
 * | any     | closed  | `close`; `open` rejecting                               | a listener call after it; a lease that is removed |
 *
 * Main thread.
 */
export class LeaseSource implements RouteSource {
  readonly #options: LeaseSourceOptions;
  readonly #random: () => number;
  readonly #closing = new AbortController();
  readonly #connection: ConnectionRecord;
  readonly #addresses: HostAddresses;
  readonly #acquirer: LeaseAcquirer;
  readonly #holder: LeaseHolder;
  readonly #file: RoutesSnapshotFile | undefined;
  #presence: HostPresence | undefined;
  /** What an earlier presence does to go; never rejects. */
  #leaving: Promise<void> = Promise.resolve();
  #sync: LeaseSync | undefined;
  #listener: LeaseSourceListener | undefined;
  #opened = false;
  #saved: SavedRoutes | undefined;
  #held: HeldConfig | undefined;
  /** This host as {@link #held} has it. */
  #host: LeaseHost | undefined;
  #stale = false;
  /** The store has no subnet for this host, so the one that it forwards for is another's. */
  #refuted = false;
  /** Other hosts with our public IP: one that is present, one that writes no presence. */
  #presentDuplicate: string | undefined;
  #silentDuplicate = false;
  readonly #told = new ToldOnce();
  #starting: Promise<void> = Promise.resolve();
  #closed: Promise<void> | undefined;

  /** @throws SelvageError ERR_OPTION for a public IP that is none, or a number out of range */
  constructor(options: LeaseSourceOptions) {
    checkLeaseSourceOptions(options);
    this.#options = options;
    this.#random = options.random ?? Math.random;
    const { store, publicIp, publicIpv6, underlay = 'auto', snapshotFile } = options;
    const random = this.#random;
    this.#addresses = {
      publicIp,
      publicIpv6: publicIpv6 === undefined ? undefined : formatIpv6(parseIpv6(publicIpv6)),
      underlay,
    };
    const tell = (event: LeaseEvent): void => this.#tell(event);
    this.#connection = new ConnectionRecord((connection) => {
      if (connection.connected) this.#holder.retryNow();
      tell({ kind: 'connection', connection });
    });
    this.#acquirer = new LeaseAcquirer({
      store,
      addresses: this.#addresses,
      presenceAt: (address) => this.#presenceAt(address),
      random,
      findOwn: (entries) => this.#findOwn(entries),
      tell,
      onCreate: (key) => this.#sync?.expectOwn(key),
      onStore: (fault) => this.#onStore(fault),
    });
    this.#holder = new LeaseHolder({
      store,
      acquirer: this.#acquirer,
      renewMarginSeconds: options.renewMarginSeconds ?? RENEW_MARGIN_SECONDS,
      exitOnLeaseLoss: options.exitOnLeaseLoss ?? false,
      random,
      listener: {
        onEvent: tell,
        onMoved: (from) => {
          this.#sync!.setView(this.#view());
          tell({ kind: 'moved', from, to: this.#holder.lease! });
          this.#tellSnapshot();
        },
        onDuplicate: () => {
          this.#silentDuplicate = true;
          tell({ kind: 'duplicatePublicIp', publicIp: this.#host!.address, other: FLANNELD });
        },
        onEnd: (error) => this.#end(error),
      },
    });
    this.#file =
      snapshotFile === undefined
        ? undefined
        : new RoutesSnapshotFile({
            path: snapshotFile,
            networkKey: options.networkKey ?? store.name,
            collect: () => this.#collect(),
            onWarning: (reason) => this.#warn(reason),
          });
  }

  get state(): LeaseSourceState {
    const sync = this.#sync;
    return {
      store: this.#options.store.name,
      connection: this.#connection.current,
      lease: this.#holder.lease,
      stale: this.#stale,
      refuted: this.#refuted,
      syncedAt: sync === undefined ? this.#saved?.savedAt : sync.syncedAt,
      leases: sync?.leases ?? (this.#stale ? this.#saved!.peers.length : 0),
      skipped: sync?.skipped ?? 0,
      revision: sync?.revision ?? 0n,
      renewals: this.#holder.renewals,
      disconnects: this.#connection.disconnects,
      relists: sync?.relists ?? 0,
      duplicate: this.#presentDuplicate ?? (this.#silentDuplicate ? FLANNELD : undefined),
    };
  }

  /** The network config in force; undefined before the first snapshot. */
  get config(): NetworkConfig | undefined {
    return this.#held?.config;
  }

  /**
   * @returns the first snapshot: of the store, or at once that of an earlier run, which `state.stale` tells
   * @throws SelvageError (as rejection) ERR_BACKEND_TYPE when the network has another backend, ERR_PUBLIC_IP when this host
   *   has no address of the underlay's family, ERR_OUT_OF_SUBNETS when all subnets are leased, ERR_CLOSED when it was closed
   *   before or meanwhile
   */
  async open(listener: LeaseSourceListener): Promise<RouteSnapshot> {
    if (this.#closed !== undefined || this.#opened) throw closedError('opened before, or closed');
    this.#opened = true;
    this.#listener = listener;
    let settled: () => void = () => {};
    this.#starting = new Promise<void>((resolve) => (settled = resolve));
    try {
      return await this.#open();
    } catch (error) {
      settled();
      await this.close();
      throw error;
    } finally {
      settled();
    }
  }

  async #open(): Promise<RouteSnapshot> {
    const { signal } = this.#closing;
    this.#saved = await this.#readSaved();
    signal.throwIfAborted();
    if (this.#saved !== undefined) {
      const host = this.#hostOfSaved(this.#saved);
      if (typeof host !== 'string') return this.#startStale(this.#saved, host);
      this.#warn(`the routes of an earlier run are not used: ${host}`);
    }
    const previous = this.#options.previous ?? this.#saved?.own.lease.subnets;
    this.#begin(await this.#acquirer.acquire({ previous, patient: false }, signal));
    signal.throwIfAborted();
    return this.#snapshot();
  }

  /** Ends waiting, takes back this host's presence, keeps the lease. The last state goes to disk. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#listener = undefined;
    this.#closing.abort(closedError('closed'));
    // Collects what it writes before anything else has ended.
    const saving = this.#file?.close();
    await this.#starting;
    await Promise.all([saving, this.#sync?.close(), this.#holder.close()]);
    // Last, as the others may be claiming it.
    await this.#presence?.close();
    await this.#leaving;
  }

  /** Which address is claimed depends on the network config, which may change while this waits for a subnet. */
  #presenceAt(address: string): HostPresence {
    const former = this.#presence;
    if (former?.publicIp === address) return former;
    if (former !== undefined) {
      this.#leaving = Promise.all([this.#leaving, former.close()]).then(() => undefined);
      this.#presentDuplicate = undefined;
    }
    const presence: HostPresence = new HostPresence({
      store: this.#options.store,
      publicIp: address,
      host: this.#options.host,
      random: this.#random,
      listener: {
        onWarning: (reason) => this.#warn(reason),
        onOther: (name) => this.#onPresentDuplicate(address, name),
      },
    });
    this.#presence = presence;
    return presence;
  }

  #startStale(saved: SavedRoutes, host: LeaseHost): RouteSnapshot {
    this.#held = saved.held;
    this.#host = host;
    this.#stale = true;
    // In another turn: the listener hears of no change before `open` has resolved.
    const turn = new Promise<void>((resolve) => setImmediate(resolve));
    this.#starting = turn.then(() => this.#confirm(saved)).catch((error: unknown) => this.#end(error));
    return snapshotOf(saved.held.config, host, saved.own.lease.subnets, saved.peers);
  }

  async #confirm(saved: SavedRoutes): Promise<void> {
    const before = saved.own.lease;
    const wish = { previous: before.subnets, patient: true };
    const acquired = await this.#acquirer.acquire(wish, this.#closing.signal);
    this.#stale = false;
    this.#refuted = false;
    this.#begin(acquired, before);
    this.#tellSnapshot();
  }

  /** @param before the lease that the routes told so far belong to */
  #begin(acquired: Acquired, before: Lease = acquired.lease): void {
    const { store, resyncSeconds } = this.#options;
    this.#held = acquired.held;
    this.#host = acquired.host;
    this.#holder.hold(acquired);
    const lease = this.#holder.lease!;
    if (lease.key === before.key) this.#tell({ kind: 'acquired', lease, how: acquired.how });
    else this.#tell({ kind: 'moved', from: before, to: lease });
    this.#sync = new LeaseSync({
      store,
      view: this.#view(),
      connection: this.#connection,
      resyncSeconds: resyncSeconds ?? RESYNC_SECONDS,
      random: this.#random,
      listener: {
        onChanges: (changes) => this.#tellChanges(changes),
        onPeers: () => this.#tellSnapshot(),
        onOwnChange: (revision) => this.#holder.noteChange(revision),
        onOwnListed: (entry) => this.#holder.noteListed(entry),
        onEvent: (event) => this.#tell(event),
      },
    });
    this.#sync.start(acquired.listing);
    this.#file?.noteChange();
  }

  /** Until the sync runs, whose watch knows better. */
  #onStore(fault: SelvageError | undefined): void {
    if (this.#sync !== undefined) return;
    if (fault === undefined) this.#connection.up();
    else this.#connection.down(fault);
  }

  #onPresentDuplicate(publicIp: string, name: string | undefined): void {
    this.#presentDuplicate = name;
    if (name === undefined || !this.#told.isNews(`duplicate ${publicIp} ${name}`)) return;
    this.#tell({ kind: 'duplicatePublicIp', publicIp, other: name });
  }

  #warn(reason: string): void {
    if (this.#told.isNews(`warning ${reason}`)) this.#tell({ kind: 'warning', reason });
  }

  #tell(event: LeaseEvent): void {
    if (OF_OWN_LEASE.has(event.kind)) this.#file?.noteChange();
    if (event.kind === 'renewed') this.#silentDuplicate = false;
    if (event.kind === 'waiting' && event.full === true) this.#refuted = this.#stale;
    this.#listener?.onLeaseEvent(event);
  }

  #tellChanges(changes: readonly RouteChange[]): void {
    this.#file?.noteChange();
    this.#listener?.onChanges(changes);
  }

  #tellSnapshot(): void {
    this.#tellChanges([{ kind: 'snapshot', snapshot: this.#snapshot() }]);
  }

  #snapshot(): RouteSnapshot {
    const { subnets } = this.#holder.held!.lease;
    return snapshotOf(this.#held!.config, this.#host!, subnets, this.#sync!.peers);
  }

  #view(): PeerView {
    const { key, subnets } = this.#holder.held!.lease;
    const { ipv4, ipv6 } = this.#held!.config;
    const networks = [ipv4, ipv6].flatMap((family) => (family === undefined ? [] : [family.network]));
    return { networks, host: this.#host!, ownKey: key, ownSubnets: subnets };
  }

  async #readSaved(): Promise<SavedRoutes | undefined> {
    try {
      return await this.#file?.read();
    } catch (error) {
      this.#warn(messageOf(error));
      return undefined;
    }
  }

  /** As whom to start from these; or why nobody may. */
  #hostOfSaved(saved: SavedRoutes): LeaseHost | string {
    let host: LeaseHost;
    try {
      host = hostIn(saved.held.config, this.#addresses);
    } catch (error) {
      return messageOf(error);
    }
    const { value } = saved.own.lease;
    if (!isOf(value, host)) return `this host's public IP was ${addressesText(value)}`;
    if (saved.underlay !== host.underlay) return `the underlay was IPv${saved.underlay}`;
    return this.#faultOfSaved(saved) || host;
  }

  /** Why a lease cannot be the one that is held now; '' when it can. */
  #faultOfSaved({ savedAt, own }: SavedRoutes): string {
    if (own.expiresAt === undefined) return '';
    const leftMillis = own.expiresAt.getTime() - Date.now();
    if (leftMillis <= 0) return `the lease of that time ran out at ${own.expiresAt.toISOString()}`;
    // A clock that was set back far makes an old lease look alive: it cannot have more left than a new one.
    const clockWentBack = savedAt.getTime() > Date.now();
    if (!clockWentBack || leftMillis <= LEASE_TTL_SECONDS * 1000) return '';
    return `by this host's clock they are of the future (${savedAt.toISOString()})`;
  }

  /** This host's address may have changed since: the lease that is exactly as it left it is still its own. */
  #findOwn(entries: readonly StoreEntry[]): string | undefined {
    if (this.#saved === undefined) return undefined;
    const { lease, createdAt, grant } = this.#saved.own;
    const entry = entries.find(({ key }) => key === lease.key);
    if (entry === undefined || entry.createdAt !== createdAt || entry.grant !== grant) return undefined;
    const read = readLease(entry);
    const same = ([4, 6] as const).every(
      (family) => !('reason' in read) && addressOf(read.value, family) === addressOf(lease.value, family),
    );
    return same ? lease.key : undefined;
  }

  #collect(): SavedRoutes | undefined {
    const { lease, held } = this.#holder;
    if (held === undefined || this.#sync === undefined) return undefined;
    const { createdAt, grant } = held.entry;
    const savedAt = new Date();
    // Another host may have a lease that was lost: the next start may ask for it, and must not begin with it.
    const expiresAt = lease === undefined ? savedAt : lease.expiresAt;
    return {
      savedAt,
      held: this.#held!,
      underlay: this.#host!.underlay,
      own: { lease: held.lease, createdAt, grant, expiresAt },
      peers: this.#sync.peers,
    };
  }

  #end(error: unknown): void {
    if (this.#closing.signal.aborted) return;
    this.#listener?.onEnd(
      error instanceof SelvageError
        ? error
        : new SelvageError('ERR_INTERNAL', `internal error: ${messageOf(error)}`, { cause: error }),
    );
  }
}

function snapshotOf(
  { ipv4, ipv6, port }: NetworkConfig,
  { underlay }: LeaseHost,
  own: LeaseSubnets,
  peers: readonly Peer[],
): RouteSnapshot {
  return {
    ...(ipv4 === undefined || own.ipv4 === undefined
      ? {}
      : { network: formatPrefix(ipv4.network), subnet: own.ipv4 }),
    ...(ipv6 === undefined || own.ipv6 === undefined
      ? {}
      : { ipv6Network: formatPrefix(ipv6.network), ipv6Subnet: own.ipv6 }),
    underlay,
    port,
    peers,
  };
}

function closedError(how: string): SelvageError {
  return new SelvageError('ERR_CLOSED', `the lease source was ${how}; make a new one`);
}
