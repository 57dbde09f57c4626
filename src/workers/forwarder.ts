import { randomInt } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import { writeEcho } from '../encap/icmp_echo.js';
import { configureTunInterface } from '../host/tun_interface.js';
import { SelvageError } from '../errors.js';
import { firstAddressOf, formatAddress, parseAddress } from '../ip_address.js';
import { native } from '../native.js';
import { RouteTable } from '../routing/route_table.js';
import { type Route, type RouteInForce, RouteSet, type RouteUpdate } from '../routing/route_set.js';
import { ControlWords, NOT_RUNNING } from './control_words.js';
import { LaneCounters } from './counters.js';
import { checkOptions, type CheckedOptions, type ForwarderOptions } from './forwarder_options.js';
import {
  type ForwarderResources,
  missingCapabilities,
  openResources,
  releaseResources,
} from './forwarder_resources.js';
import { collectStats, type ForwarderStats, PeerBaselines } from './forwarder_stats.js';
import { LaneSupervisor } from './lane_supervisor.js';
import { OverlayMtu } from './overlay_mtu.js';
import { MONITOR_PACE, type MonitoredPeer, type PathChange, PathMonitor } from './path_monitor.js';
import { PathTable } from './path_table.js';
import { PeerAdmission } from './peer_admission.js';
import { type Refusal, RefusalWatch } from './refusal_watch.js';
import { SuspectNote } from './suspect_note.js';
import type { TraceOptions } from './trace_filter.js';
import { TraceReader } from './trace_reader.js';
import type { TraceListener } from './trace_record.js';
import { TraceRing } from './trace_ring.js';
import { TraceSession } from './trace_session.js';

/** Events of a {@link Forwarder}. */
export interface ForwarderEvents {
  /** Something works less well than it could; the text says what and why. */
  warning: [message: string];
  /** A lane died and starts again after `restartInMillis`; the other lanes go on. */
  laneDown: [lane: number, error: Error, restartInMillis: number];
  /** The MTU of the underlay interface changed, and the overlay's with it. */
  mtu: [mtuBytes: number, underlayMtuBytes: number];
  /** The path to a peer takes less than the underlay interface, or as much again. */
  pathMtu: [change: PathChange];
  /** Frames were refused because of who sent them; at a bounded rate. */
  refused: [refusal: Refusal];
  /** All lanes stopped and cannot go on (for example: the device was deleted). Close it. Thrown if nobody listens. */
  fatal: [error: Error];
  /** Everything is given back. */
  close: [];
}

/**
 * The routes of a forwarder. Each change takes effect in every lane before its next turn; a bad one changes nothing. After
 * `close()` every change throws ERR_CLOSED.
 */
export interface ForwarderRoutes {
  /** Replaces all routes at once. @throws SelvageError ERR_ROUTE_* naming the route by its index */
  replace(routes: Iterable<Route>): void;
  /** Adds a route or gives its prefix another next hop. @throws SelvageError ERR_ROUTE_* */
  set(route: Route): void;
  /** Removes the route of exactly this prefix. @returns whether there was one */
  delete(prefix: string): boolean;
  /** Makes several changes at once: one new table. @throws SelvageError ERR_ROUTE_* */
  update(changes: RouteUpdate): void;
  /** The routes as they are now. */
  list(): RouteInForce[];
  /** How many there are. */
  readonly count: number;
}

/** Between looks at words that lanes write. */
const LOOK_AGAIN_MILLIS = 1;
/** A thread loads its modules in a fraction of a second, 64 threads on two cores in three. */
const LONGEST_START_MILLIS = 10_000;

/**
 * A running forwarder: a TUN device, the underlay sockets and the lanes between them.
 *
 * Made by {@link createForwarder}. Main thread only. Several may live in one process.
 *
 * Listeners for `warning` are best added at once: warnings of the set-up are emitted on the next tick.
 */
export class Forwarder extends EventEmitter<ForwarderEvents> {
  /** See {@link ForwarderRoutes}. */
  readonly routes: ForwarderRoutes;
  /** Name of the TUN device as the kernel chose it. */
  readonly tunName: string;
  /** UDP port in use. */
  readonly port: number;
  readonly #options: CheckedOptions;
  readonly #resources: ForwarderResources;
  readonly #control: ControlWords;
  readonly #counters: LaneCounters[];
  readonly #supervisors: LaneSupervisor[];
  readonly #routeSet: RouteSet;
  readonly #baselines: PeerBaselines;
  readonly #paths: PathTable;
  readonly #pathMonitor: PathMonitor;
  readonly #refusals: RefusalWatch;
  readonly #admission: PeerAdmission;
  readonly #mtu: OverlayMtu;
  readonly #traceReader: TraceReader;
  #trace: TraceSession | undefined;
  #newestTable: SharedArrayBuffer;
  /** The table before the newest: once every lane has observed the newest, nobody reads this one. */
  #spareTable: SharedArrayBuffer | undefined;
  /** A blocked native call would keep the process alive after exit(), so the lanes are woken first. */
  readonly #onExit = (): void => this.#signalStop();
  #closing: Promise<void> | undefined;
  #fatal: Error | undefined;

  /** @internal use {@link createForwarder} */
  constructor(options: CheckedOptions, mtu: OverlayMtu, resources: ForwarderResources) {
    super();
    this.#options = options;
    this.#resources = resources;
    this.tunName = resources.tun.name;
    this.port = resources.udp.port;
    this.#mtu = mtu;
    const { lanes, maxPeers, underlay, overheadBytes } = options;
    const control = ControlWords.allocate(lanes);
    this.#control = new ControlWords(control);
    this.#control.setMtuBytes(mtu.bytes);
    const paths = PathTable.allocate(maxPeers);
    this.#paths = new PathTable(paths);
    const suspects = Array.from({ length: lanes }, () => SuspectNote.allocate());
    const traces = Array.from({ length: lanes }, () => TraceRing.allocate());
    const echoIdentifier = options.pathProbeSeconds === 0 ? 0 : randomInt(1, 0x10000);
    const counters = Array.from(
      { length: lanes },
      () => new SharedArrayBuffer(LaneCounters.byteLength(maxPeers)),
    );
    this.#counters = counters.map((buffer) => new LaneCounters(buffer, maxPeers));
    this.#baselines = new PeerBaselines(this.#counters);
    this.#admission = new PeerAdmission(resources.filter, () =>
      this.#allObserved() ? new RouteTable(this.#newestTable).endpoints : undefined,
    );
    this.#routeSet = new RouteSet({
      defaultPort: options.port === 0 ? resources.udp.port : options.port,
      underlay,
      onAssign: (id, endpoint) => {
        this.#baselines.rebase(id);
        this.#pathMonitor.forget(id);
        this.#admission.noteNewcomer(endpoint);
      },
      onFree: (id) => {
        this.#pathMonitor.forget(id);
        this.#admission.noteLeaver();
      },
    });
    this.#routeSet.setLocal([options.ipv4, options.ipv6].flatMap((inner) => inner?.subnet ?? []));
    this.#newestTable = this.#routeSet.build();
    this.#control.publish(this.#routeSet.generation);
    this.#supervisors = counters.map(
      (buffer, lane) =>
        new LaneSupervisor(
          resources.pool,
          {
            lane,
            tunFd: resources.tun.fds[lane]!,
            udpFd: resources.udp.fds[lane]!,
            wakeFd: resources.wakes[lane]!,
            control,
            counters: buffer,
            maxPeers,
            paths,
            suspects: suspects[lane]!,
            trace: traces[lane]!,
            tunAddress: options.ipv4?.tunAddressInt32,
            tunAddressIpv6: options.ipv6?.tunAddressBytes,
            sourceCheck: options.sourceCheck,
            copyClass: options.copyTrafficClass,
            echoIdentifier,
            overheadBytes,
            coalesceKinds: resources.tun.coalesceKinds,
            gso: resources.udp.gso,
          },
          this.#newestTable,
          {
            onLaneDown: (index, error, restartInMillis) =>
              queueMicrotask(() => this.emit('laneDown', index, error, restartInMillis)),
            onLaneFatal: (_, error) => this.#fail(error),
          },
        ),
    );
    this.#pathMonitor = new PathMonitor({
      paths: this.#paths,
      overheadBytes,
      probeSeconds: options.pathProbeSeconds,
      pace: MONITOR_PACE,
      mtuBytes: () => mtu.bytes,
      peers: () => this.#monitoredPeers(),
      echo: (id, round, bytes) => this.#echo(id, echoIdentifier, round, bytes),
      askKernel: ({ address }) => native.udpPathMtu(resources.udp.fds[0]!, address.words),
      sendProbe: ({ address, port }, frame) =>
        native.udpSendProbe(resources.udp.fds[0]!, address.words, port, frame),
      onChange: (change) => this.emit('pathMtu', change),
    });
    this.#refusals = new RefusalWatch({
      underlay,
      counters: this.#counters,
      suspects: suspects.map((buffer) => new SuspectNote(buffer)),
      filtered: () => resources.filter?.refused(),
      onRefusal: (refusal) => this.emit('refused', refusal),
    });
    mtu.follow(this.tunName, {
      onLanes: (bytes) => {
        this.#control.setMtuBytes(bytes);
        this.#wakeLanes();
      },
      onChange: (bytes, underlayBytes) => this.emit('mtu', bytes, underlayBytes),
      onWarning: (message) => this.emit('warning', message),
    });
    this.#traceReader = new TraceReader({
      buffers: traces,
      underlay,
      nextHops: {
        endpointOf: (id) => this.#endpointOf(id),
        idsOf: (address) => this.#idsOf(address),
      },
    });
    this.routes = this.#makeRoutes();
    process.on('exit', this.#onExit);
    for (const supervisor of this.#supervisors) supervisor.start();
  }

  /** Largest inner packet, bytes, as it is now. */
  get mtuBytes(): number {
    return this.#mtu.bytes;
  }

  /** Counters and state, each number at most one burst old. Cost grows with the number of peers. */
  stats(): ForwarderStats {
    return collectStats({
      options: this.#options,
      mtuBytes: this.#mtu.bytes,
      tun: this.#resources.tun,
      udp: this.#resources.udp,
      control: this.#control,
      counters: this.#counters,
      supervisors: this.#supervisors,
      routeSet: this.#routeSet,
      baselines: this.#baselines,
      paths: this.#paths,
      filter: this.#resources.filter,
    });
  }

  /**
   * Shows frames with their verdicts as they pass, one trace at a time: lanes look at every frame while it is on, and copy at
   * most `recordsPerSecond` of those that match, so that it cannot slow them.
   *
   * @returns the trace, which goes on until it or the forwarder is closed
   * @throws SelvageError ERR_TRACE_FILTER, ERR_TRACE_BUSY, ERR_CLOSED
   */
  trace(options: TraceOptions, listener: TraceListener): TraceSession {
    if (this.#closing !== undefined) throw new SelvageError('ERR_CLOSED', 'the forwarder is closed');
    this.#traceReader.start(options);
    this.#trace = new TraceSession(this.tunName, this.#traceReader, listener);
    return this.#trace;
  }

  /**
   * Resolves once every lane forwards by the newest routes, or the forwarder is closed. A lane that is down delays it.
   *
   * @throws (as rejection) the error of the event `fatal`
   */
  async settled(): Promise<void> {
    while (!this.#allObserved() && this.#closing === undefined) {
      if (this.#fatal !== undefined) throw this.#fatal;
      await sleep(LOOK_AGAIN_MILLIS);
    }
  }

  /**
   * Stops the lanes and gives everything back: the device vanishes with its address and routes. Frames already taken from
   * the kernel are sent first. Calling it again returns the same promise.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#admission.close();
    this.#pathMonitor.close();
    this.#refusals.close();
    await this.#mtu.close();
    await this.#trace?.close();
    await this.#begun();
    this.#signalStop();
    try {
      await Promise.allSettled(this.#supervisors.map((supervisor) => supervisor.stopped()));
    } finally {
      process.off('exit', this.#onExit);
      await releaseResources(this.#resources);
    }
    queueMicrotask(() => this.emit('close'));
  }

  /** Waits until no lane is still being loaded: Node aborts when a thread is ended in the middle of an import. */
  async #begun(): Promise<void> {
    const deadline = Date.now() + LONGEST_START_MILLIS;
    const beginning = (supervisor: LaneSupervisor, lane: number): boolean =>
      this.#control.observed(lane) === NOT_RUNNING && supervisor.starting;
    while (this.#supervisors.some(beginning) && Date.now() < deadline) await sleep(LOOK_AGAIN_MILLIS);
  }

  /** The other lanes stop too: half a forwarder would be harder to notice than none. */
  #fail(error: Error): void {
    if (this.#fatal !== undefined) return;
    this.#fatal = error;
    this.#signalStop();
    queueMicrotask(() => {
      if (!this.emit('fatal', error)) throw error;
    });
  }

  #allObserved(): boolean {
    const { generation } = this.#control;
    return this.#supervisors.every((_, lane) => this.#control.observed(lane) === generation);
  }

  #signalStop(): void {
    this.#control.stop();
    this.#wakeLanes();
  }

  #wakeLanes(): void {
    for (const wake of this.#resources.wakes) native.signalWake(wake);
  }

  #makeRoutes(): ForwarderRoutes {
    const set = this.#routeSet;
    return {
      replace: (routes) => this.#change(() => set.replace(routes)),
      set: (route) => this.#change(() => set.set(route)),
      delete: (prefix) => this.#change(() => set.delete(prefix)),
      update: (changes) => this.#change(() => set.update(changes)),
      list: () => set.list(),
      get count() {
        return set.count;
      },
    };
  }

  *#monitoredPeers(): Generator<MonitoredPeer> {
    for (const [id, endpoint] of this.#routeSet.endpoints()) {
      yield { id, endpoint, framesOut: this.#baselines.readFramesOut(id) };
    }
  }

  #endpointOf(id: number): { address: string; port: number } | undefined {
    const endpoint = this.#routeSet.endpointOf(id);
    return (
      endpoint && {
        address: formatAddress(endpoint.address.family, endpoint.address.words),
        port: endpoint.port,
      }
    );
  }

  #idsOf(wanted: string): number[] {
    const ids: number[] = [];
    for (const [id, { address }] of this.#routeSet.endpoints()) {
      if (formatAddress(address.family, address.words) === wanted) ids.push(id);
    }
    return ids;
  }

  /** From our device's address to the peer's, in the family that both have; IPv4 first. */
  #echo(id: number, identifier: number, round: number, bytes: number): Uint8Array | undefined {
    const { ipv4, ipv6 } = this.#options;
    for (const prefix of this.#routeSet.prefixesOf(id)) {
      const own = prefix.family === 4 ? ipv4 : ipv6;
      if (own === undefined) continue;
      const destination = firstAddressOf(prefix);
      const source = parseAddress(own.tunAddress);
      return writeEcho({ source, destination, identifier, sequence: round, totalBytes: bytes });
    }
    return undefined;
  }

  /**
   * Posts the new table, then announces it, then wakes the lanes: a lane that reads the number finds the table.
   *
   * Two blocks take turns. A new one for every change would be freed when every lane's heap is collected, and lanes that
   * allocate nothing hardly ever are: some thousand tables, 1 GiB, stayed.
   */
  #change<T>(change: () => T): T {
    if (this.#closing !== undefined) throw new SelvageError('ERR_CLOSED', 'the forwarder is closed');
    const spare = this.#allObserved() ? this.#spareTable : undefined;
    const { result, table } = this.#routeSet.apply(change, spare);
    if (table === undefined) return result;
    this.#spareTable = this.#newestTable;
    this.#newestTable = table;
    this.#admission.admit();
    for (const supervisor of this.#supervisors) supervisor.post(table);
    this.#control.publish(this.#routeSet.generation);
    this.#wakeLanes();
    this.#admission.retain();
    return result;
  }
}

/**
 * Opens and configures a TUN device, binds the underlay sockets and starts the lanes. There are no routes yet: set them
 * with `forwarder.routes`. Needs CAP_NET_ADMIN and /dev/net/tun.
 *
 * @throws SelvageError ERR_OPTION, ERR_UNDERLAY_NOT_FOUND, ERR_ROUTE_EXISTS, ERR_COMMAND_*; or a system error with `code` and `syscall`,
 *   whose message holds the remedy. Nothing stays behind.
 */
export async function createForwarder(options: ForwarderOptions): Promise<Forwarder> {
  const checked = checkOptions(options);
  const mtu = await OverlayMtu.find(checked);
  const told: { warn: (message: string) => void } = { warn: (message) => warnings.push(message) };
  const warnings: string[] = [];
  const resources = openResources(checked, (message) => told.warn(message));
  try {
    const { ipv4, ipv6 } = checked;
    const device = { name: resources.tun.name, mtuBytes: mtu.bytes, ipv4, ipv6 };
    warnings.push(...(await configureTunInterface(device)));
    const forwarder = new Forwarder(checked, mtu, resources);
    told.warn = (message) => forwarder.emit('warning', message);
    warnings.push(...missingCapabilities(checked, resources));
    process.nextTick(() => {
      for (const warning of warnings) forwarder.emit('warning', warning);
    });
    return forwarder;
  } catch (error) {
    await releaseResources(resources);
    throw error;
  }
}
