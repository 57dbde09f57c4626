import { EventEmitter } from 'node:events';
import { join } from 'node:path';

import { messageOf, SelvageError } from '../errors.js';
import { DEFAULT_RESYNC_SECONDS } from '../host/firewall.js';
import { readHostIdentity } from '../host/host_identity.js';
import { readSubnetFile } from '../host/subnet_file.js';
import { findUnderlay, type Underlay } from '../host/underlay.js';
import { FileSource } from '../lease/file/file_source.js';
import type { LeaseSubnets } from '../lease/lease.js';
import type { LeaseEvent } from '../lease/lease_event.js';
import { LeaseSource } from '../lease/lease_source.js';
import type { LeaseSourceListener } from '../lease/lease_source_options.js';
import type { RouteChange, RouteSnapshot } from '../lease/route_source.js';
import { VERSION } from '../version.js';
import { createForwarder, type Forwarder } from '../workers/forwarder.js';
import type { ForwarderOptions } from '../workers/forwarder_options.js';
import type { ForwarderStats } from '../workers/forwarder_stats.js';
import type { PathChange } from '../workers/path_monitor.js';
import type { Refusal } from '../workers/refusal_watch.js';
import type { TraceOptions } from '../workers/trace_filter.js';
import type { TraceListener } from '../workers/trace_record.js';
import type { TraceSession } from '../workers/trace_session.js';
import { type AgentOptions, DEFAULT_STATE_DIRECTORY, portOf, routesSnapshotName } from './agent_options.js';
import { type AgentStatus, statusOf } from './agent_status.js';
import type { AgentView, SourceView, UnderlayView } from './agent_view.js';
import { ONE_NETWORK } from './control_handler.js';
import { ControlServer } from './control_server.js';
import { HostSetup } from './host_setup.js';
import { traceNotReady } from './trace_stream.js';
import { collapseChanges, compactChanges, routeOfPeer, samePlace } from './route_changes.js';

/** Events of an {@link Agent}. */
export interface AgentEvents {
  /** Forwarding, with the firewall in force and the subnet file written; once. */
  ready: [];
  /** Something works less well than it could; the text says what and why. */
  warning: [message: string];
  /** What happens to the lease and the store; see {@link LeaseEvent}. */
  lease: [event: LeaseEvent];
  /** New routes are in force in every lane, or will be before its next burst. */
  routes: [count: number];
  /** The source, or a change it brought, has a fault; the routes stay as they were, and the next change brings all of it. */
  routeError: [error: SelvageError];
  /** Another subnet or port: the device is a new one, with its counters at 0. */
  moved: [from: RouteSnapshot, to: RouteSnapshot];
  /** The MTU of the underlay interface changed, and the overlay's with it; subnet.env follows. */
  mtu: [mtuBytes: number];
  /** The path to a peer takes less than the underlay interface, or as much again. */
  pathMtu: [change: PathChange];
  /** Frames were refused because of who sent them; at a bounded rate. */
  refused: [refusal: Refusal];
  /** A lane died and starts again after `restartInMillis`; the other lanes go on. */
  laneDown: [lane: number, error: Error, restartInMillis: number];
  /**
   * It cannot go on: close it. ERR_LEASE_LOST with `exitOnLeaseLoss`, ERR_BACKEND_TYPE when the network changed to another
   * one, a fault of the forwarder, or one that {@link Agent.start} would have thrown while it moves to another place.
   */
  fatal: [error: Error];
  /** Everything is given back. */
  close: [];
}

/**
 * One host's membership in an overlay network: takes a subnet and the routes from a source, runs a forwarder with them,
 * and keeps firewall, subnet file and status in step. `selvage run` is a thin client of it.
 *
 * | from     | to       | by                                             | never |
 * |----------|----------|------------------------------------------------|-------|
 * | made     | starting | `start`, once                                  | a device or a route before the source said the subnet |
 * | starting | running  | first snapshot in force, firewall and file done | `ready` before lanes forward |
 * | running  | moving   | a snapshot with another subnet or port         | two forwarders at one time: they would share the port |
 * | moving   | running  | the new forwarder has the routes               | a change applied to the old place; it waits |
 * | any      | closed   | `close`                                        | an event after `close` |
 *
 * Main thread. Several may live in one process, each with its own device, port and network.
 */
export class Agent extends EventEmitter<AgentEvents> {
  readonly #options: AgentOptions;
  #underlay: Underlay;
  readonly #host: HostSetup;
  readonly #source: AgentSource;
  readonly #startedAt = new Date();
  #control: ControlServer | undefined;
  #forwarder: Forwarder | undefined;
  #snapshot: RouteSnapshot | undefined;
  /** Changes that came while there was no forwarder to apply them to. */
  #waiting: RouteChange[] = [];
  /** Changes that the forwarder refused, and all since: they are asked for again with the next ones. */
  #refused: readonly RouteChange[] = [];
  #moving = false;
  /** The start or move that runs, or the last one. Never rejects. */
  #settling: Promise<unknown> = Promise.resolve();
  #sourceError: string | undefined;
  #fatal: Error | undefined;
  #ready = false;
  #closing: Promise<void> | undefined;

  /** @internal use {@link createAgent} */
  constructor(options: AgentOptions, underlay: Underlay, source: AgentSource) {
    super();
    this.#options = options;
    this.#underlay = underlay;
    this.#source = source;
    this.#host = new HostSetup({
      firewall: options.firewall,
      blackholeRoute: options.blackholeRoute ?? false,
      subnetFile: options.subnetFile,
      resyncSeconds: options.resyncSeconds ?? DEFAULT_RESYNC_SECONDS,
      onWarning: (message) => this.#tell('warning', message),
    });
  }

  /** Address that peers send to. */
  get publicIp(): string | undefined {
    const { publicIp, publicIpv6 } = publicIpsOf(this.#options, this.#underlay);
    const underlay = this.#snapshot?.underlay ?? (publicIp === undefined ? 6 : 4);
    return underlay === 4 ? publicIp : publicIpv6;
  }

  /** Counters of the forwarder; undefined while there is none. */
  stats(): ForwarderStats | undefined {
    return this.#forwarder?.stats();
  }

  /** Everything there is to know, as plain data; what `selvage status --json` prints. */
  status(): AgentStatus {
    return statusOf(this.view());
  }

  /**
   * Shows frames with their verdicts, see {@link Forwarder.trace}.
   *
   * @throws SelvageError ERR_TRACE_FILTER, ERR_TRACE_BUSY; ERR_TRACE_NOT_READY while there is no forwarder
   */
  trace(options: TraceOptions, listener: TraceListener): TraceSession {
    // One that is about to make place for another takes no trace any more.
    if (this.#forwarder === undefined || this.#moving) throw traceNotReady();
    return this.#forwarder.trace(options, listener);
  }

  /** @internal opens what answers questions; before {@link start}, which may wait long. */
  async listen(): Promise<void> {
    const { controlSocket: socketPath, health } = this.#options;
    if (socketPath === undefined && health === undefined) return;
    this.#control = await ControlServer.open({
      view: () => this.view(),
      trace: (options, listener, segment) => {
        if (segment !== undefined) throw new SelvageError('ERR_SEGMENT', ONE_NETWORK);
        return this.trace(options, listener);
      },
      ...(socketPath === undefined ? {} : { socketPath }),
      ...(health === undefined ? {} : { health }),
    });
  }

  /**
   * Joins the network and forwards. Waits for the store and the network config as long as it takes; `close()` ends that.
   *
   * @throws SelvageError or a system error when waiting would not help; ERR_CLOSED when it was closed meanwhile. Close the
   *   agent then.
   */
  async start(): Promise<void> {
    const snapshot = await this.#openSource();
    await this.#goTo(snapshot);
    if (this.#closing !== undefined) throw closedError();
    this.#ready = true;
    this.#tell('ready');
    this.#takeWaiting();
  }

  /**
   * Resolves once every lane forwards by all routes that were told with the event `routes`; at once while there is no
   * forwarder.
   *
   * @throws (as rejection) the error of the event `fatal`
   */
  async settled(): Promise<void> {
    await this.#forwarder?.settled();
  }

  /**
   * Stops forwarding and gives everything back. The lease, the subnet file and the firewall stay, as with flanneld: a daemon
   * that is started again goes on with them.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    // At the same time: a source takes its leave of the store, for which a store that is silent makes it wait.
    await Promise.all([this.#source.source.close(), this.#closeForwarder()]);
    await this.#host.close();
    await this.#control?.close();
    queueMicrotask(() => this.emit('close'));
  }

  /** Ends what settles as well: {@link #settle} looks at `#closing` before each step. */
  async #closeForwarder(): Promise<void> {
    // Before what runs has ended: it waits for every lane, and one that does not come up would keep it for ever.
    await this.#forwarder?.close();
    await this.#settling;
    await this.#forwarder?.close();
    this.#forwarder = undefined;
  }

  async #openSource(): Promise<RouteSnapshot> {
    if (this.#closing !== undefined) throw closedError();
    const listener: LeaseSourceListener = {
      onChanges: (changes) => this.#onChanges(changes),
      onError: (error) => {
        this.#sourceError = error.message;
        this.#tell('routeError', error);
      },
      onLeaseEvent: (event) => this.#tell('lease', event),
      onEnd: (error) => this.#fail(error),
    };
    return await this.#source.source.open(listener);
  }

  /** As {@link #settle}; changes wait meanwhile, and so does `close`. */
  async #goTo(snapshot: RouteSnapshot): Promise<void> {
    this.#moving = true;
    const settling = this.#settle(snapshot);
    this.#settling = settling.catch(() => undefined);
    try {
      await settling;
    } finally {
      this.#moving = false;
    }
  }

  /** Forwards at the place of a snapshot, in place of the forwarder there was. */
  async #settle(snapshot: RouteSnapshot): Promise<void> {
    await this.#forwarder?.close();
    this.#forwarder = undefined;
    if (this.#closing !== undefined) return;
    this.#options.admit?.(snapshot);
    const forwarder = await this.#createForwarder(snapshot);
    this.#forwarder = forwarder;
    this.#snapshot = snapshot;
    if (this.#closing !== undefined) return;
    forwarder.routes.replace(snapshot.peers.map(routeOfPeer));
    await forwarder.settled();
    if (this.#closing !== undefined) return;
    await this.#host.apply(snapshot, forwarder.tunName, forwarder.mtuBytes, forwarder.port);
  }

  async #createForwarder(snapshot: RouteSnapshot): Promise<Forwarder> {
    const { forwarder: options = {} } = this.#options;
    const port = portOf(options.port, snapshot.port);
    const forwarder = await createForwarder({
      ...options,
      ...(port === undefined ? {} : { port }),
      ...placeOf(snapshot),
      address: this.#addressOf(snapshot),
    });
    forwarder.on('mtu', (own, underlay) => void this.#adoptMtu(forwarder, own, underlay));
    forwarder.on('pathMtu', (change) => this.#tell('pathMtu', change));
    forwarder.on('refused', (refusal) => this.#tell('refused', refusal));
    forwarder.on('warning', (message) => this.#tell('warning', message));
    forwarder.on('laneDown', (lane, error, millis) => this.#tell('laneDown', lane, error, millis));
    forwarder.on('fatal', (error) => this.#fail(error));
    return forwarder;
  }

  /** What is set up for the device follows: subnet.env tells the MTU to new pods. */
  async #adoptMtu(forwarder: Forwarder, mtuBytes: number, underlayMtuBytes: number): Promise<void> {
    this.#underlay = { ...this.#underlay, mtuBytes: underlayMtuBytes };
    this.#tell('mtu', mtuBytes);
    await this.#settling;
    const snapshot = this.#snapshot;
    if (snapshot === undefined || forwarder !== this.#forwarder || this.#closing !== undefined) return;
    try {
      await this.#host.apply(snapshot, forwarder.tunName, mtuBytes, forwarder.port);
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** What the sockets are bound to. */
  #addressOf({ underlay: family }: RouteSnapshot): string {
    const { address, ipv6Address, interface: name } = this.#underlay;
    const bound = family === 4 ? address : ipv6Address;
    if (bound !== undefined) return bound;
    throw new SelvageError(
      'ERR_UNDERLAY_NOT_FOUND',
      `the underlay is IPv${family}, and interface ${name} has no IPv${family} address: name another with --iface`,
    );
  }

  #onChanges(changes: readonly RouteChange[]): void {
    if (this.#moving || !this.#ready) this.#waiting.push(...changes);
    else this.#apply(changes);
  }

  #takeWaiting(): void {
    if (this.#waiting.length === 0) return;
    const changes = this.#waiting;
    this.#waiting = [];
    this.#apply(changes);
  }

  #apply(changes: readonly RouteChange[]): void {
    const forwarder = this.#forwarder;
    const place = this.#snapshot;
    if (forwarder === undefined || place === undefined || this.#closing !== undefined) return;
    const wanted = [...this.#refused, ...changes];
    const step = collapseChanges(wanted);
    if (step.kind === 'snapshot' && !samePlace(place, step.snapshot)) {
      this.#accepted();
      void this.#move(place, step.snapshot);
      return;
    }
    try {
      if (step.kind === 'update') forwarder.routes.update(step);
      else forwarder.routes.replace(step.snapshot.peers.map(routeOfPeer));
    } catch (error) {
      if (!(error instanceof SelvageError)) throw error;
      this.#refused = compactChanges(wanted);
      const isNews = this.#sourceError !== error.message;
      this.#sourceError = error.message;
      if (isNews) this.#tell('routeError', error);
      return;
    }
    this.#accepted();
    this.#tell('routes', forwarder.routes.count);
  }

  #accepted(): void {
    this.#refused = [];
    this.#sourceError = undefined;
  }

  async #move(from: RouteSnapshot, to: RouteSnapshot): Promise<void> {
    try {
      await this.#goTo(to);
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    this.#tell('moved', from, to);
    this.#takeWaiting();
  }

  #fail(error: Error): void {
    if (this.#fatal !== undefined || this.#closing !== undefined) return;
    this.#fatal = error;
    queueMicrotask(() => {
      if (!this.emit('fatal', error)) throw error;
    });
  }

  #tell<E extends keyof AgentEvents>(event: E, ...values: AgentEvents[E]): void {
    if (this.#closing === undefined)
      (this.emit as (event: E, ...values: unknown[]) => boolean).call(this, event, ...values);
  }

  /** What status, health and metrics are made from, at this moment. */
  view(): AgentView {
    const { firewall, blackholeRoute = false } = this.#options;
    return {
      version: VERSION,
      startedAt: this.#startedAt,
      networkName: networkNameOf(this.#options),
      source: this.#sourceView(),
      snapshot: this.#snapshot,
      publicIp: this.publicIp,
      underlay: this.#underlayView(),
      forwarder: this.#moving ? undefined : this.#forwarder?.stats(),
      fatal: this.#fatal === undefined ? undefined : messageOf(this.#fatal),
      subnetFile: this.#host.subnetFile,
      firewall: firewall && { ...firewall, error: this.#host.firewallError },
      blackholeRoute: blackholeRoute ? { error: this.#host.blackholeError } : undefined,
      routes: () => this.#forwarder?.routes.list() ?? [],
    };
  }

  #underlayView(): UnderlayView {
    const { interface: name, address, ipv6Address, mtuBytes } = this.#underlay;
    const family = this.#snapshot?.underlay ?? (address === undefined ? 6 : 4);
    return { interface: name, address: (family === 4 ? address : ipv6Address) ?? '', mtuBytes };
  }

  #sourceView(): SourceView {
    const error = this.#sourceError;
    if (this.#source.kind === 'store') return { kind: 'store', state: this.#source.source.state, error };
    return { kind: 'file', path: networkNameOf(this.#options), error };
  }
}

/** Both families of a place, as far as it has them. */
function placeOf({
  network,
  subnet,
  ipv6Network,
  ipv6Subnet,
}: RouteSnapshot): Pick<ForwarderOptions, 'network' | 'subnet' | 'ipv6Network' | 'ipv6Subnet'> {
  return {
    ...(network === undefined || subnet === undefined ? {} : { network, subnet }),
    ...(ipv6Network === undefined || ipv6Subnet === undefined ? {} : { ipv6Network, ipv6Subnet }),
  };
}

/** A source, and whether it knows leases. */
type AgentSource =
  | { readonly kind: 'file'; readonly source: FileSource }
  | { readonly kind: 'store'; readonly source: LeaseSource };

function networkNameOf({ source }: AgentOptions): string {
  return source.kind === 'file' ? source.path : source.networkName;
}

function publicIpsOf(
  { publicIp, publicIpv6 }: AgentOptions,
  { address, ipv6Address }: Underlay,
): { publicIp?: string; publicIpv6?: string } {
  const [ipv4, ipv6] = [publicIp ?? address, publicIpv6 ?? ipv6Address];
  return {
    ...(ipv4 === undefined ? {} : { publicIp: ipv4 }),
    ...(ipv6 === undefined ? {} : { publicIpv6: ipv6 }),
  };
}

function closedError(): SelvageError {
  return new SelvageError('ERR_CLOSED', 'the agent was closed while it started');
}

/**
 * Makes an agent: checks that there is an underlay interface, and opens the status socket and the health port, so that they
 * answer while {@link Agent.start} waits. Needs CAP_NET_ADMIN, /dev/net/tun and iproute2; nftables for a firewall.
 *
 * @throws SelvageError ERR_UNDERLAY_NOT_FOUND, ERR_HEALTH_PORT, ERR_CONTROL_SOCKET, ERR_COMMAND_*
 */
export async function createAgent(options: AgentOptions): Promise<Agent> {
  const underlay = await findUnderlay(options.underlay ?? {});
  const warnings: string[] = [];
  const source = await openSource(options, underlay, warnings);
  const agent = new Agent(options, underlay, source);
  await agent.listen();
  process.nextTick(() => {
    for (const warning of warnings) agent.emit('warning', warning);
  });
  return agent;
}

async function openSource(
  options: AgentOptions,
  underlay: Underlay,
  warnings: string[],
): Promise<AgentSource> {
  const { source, stateDirectory = DEFAULT_STATE_DIRECTORY } = options;
  if (source.kind === 'file') {
    return { kind: 'file', source: new FileSource(source.path, options.underlay?.family) };
  }
  const host = await readHostIdentity(stateDirectory);
  if (host.warning !== undefined) warnings.push(host.warning);
  const previous = await previousSubnets(options.subnetFile, warnings);
  const { renewMarginSeconds, exitOnLeaseLoss } = source;
  const leases = new LeaseSource({
    store: source.store,
    ...publicIpsOf(options, underlay),
    underlay: options.underlay?.family ?? 'auto',
    host: { id: host.id, name: host.name },
    networkKey: source.networkName,
    snapshotFile: join(stateDirectory, routesSnapshotName(source.networkName)),
    ...(previous === undefined ? {} : { previous }),
    ...(renewMarginSeconds === undefined ? {} : { renewMarginSeconds }),
    ...(exitOnLeaseLoss === undefined ? {} : { exitOnLeaseLoss }),
  });
  return { kind: 'store', source: leases };
}

/** The subnets that the subnet file of an earlier run, or of flanneld, names. */
async function previousSubnets(
  subnetFile: string | undefined,
  warnings: string[],
): Promise<LeaseSubnets | undefined> {
  if (subnetFile === undefined) return undefined;
  try {
    const { subnet, ipv6Subnet } = await readSubnetFile(subnetFile);
    if (subnet === undefined && ipv6Subnet === undefined) return undefined;
    return {
      ...(subnet === undefined ? {} : { ipv4: subnet }),
      ...(ipv6Subnet === undefined ? {} : { ipv6: ipv6Subnet }),
    };
  } catch (error) {
    warnings.push(`the previous subnet is not known: ${messageOf(error)}`);
    return undefined;
  }
}
