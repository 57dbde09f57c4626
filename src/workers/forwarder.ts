import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import { Piscina } from 'piscina';

import { configureTunInterface } from '../host/tun_interface.js';
import { findUnderlay } from '../host/underlay.js';
import { SelvageError } from '../errors.js';
import { familyOf } from '../ip_address.js';
import { native } from '../native.js';
import { type Route, RouteSet, type RouteUpdate } from '../routing/route_set.js';
import { openTun, type TunDevice } from '../tun/open_tun.js';
import { ControlWords, NOT_RUNNING } from './control_words.js';
import { LaneCounters } from './counters.js';
import {
  checkOptions,
  type CheckedOptions,
  ENCAPSULATION_BYTES,
  type ForwarderOptions,
  MAX_MTU_BYTES,
  MIN_MTU_BYTES,
} from './forwarder_options.js';
import { collectStats, type ForwarderStats, PeerBaselines } from './forwarder_stats.js';
import { LaneSupervisor } from './lane_supervisor.js';
import { openUdp, type UdpSockets } from './open_udp.js';

/** Events of a {@link Forwarder}. */
export interface ForwarderEvents {
  /** Something works less well than it could; the text says what and why. */
  warning: [message: string];
  /** A lane died and starts again after `restartInMillis`; the other lanes go on. */
  laneDown: [lane: number, error: Error, restartInMillis: number];
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
  list(): Required<Route>[];
  /** How many there are. */
  readonly count: number;
}

/** Between looks at words that lanes write. */
const LOOK_AGAIN_MILLIS = 1;
/** A thread loads its modules in a fraction of a second, 64 threads on two cores in three. */
const LONGEST_START_MILLIS = 10_000;

/** What belongs to one forwarder, opened together and given back together. */
interface Resources {
  readonly tun: TunDevice;
  readonly udp: UdpSockets;
  readonly wakes: readonly number[];
  readonly pool: Piscina;
}

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
  /** Largest inner packet, bytes. */
  readonly mtuBytes: number;

  readonly #options: CheckedOptions;
  readonly #resources: Resources;
  readonly #control: ControlWords;
  readonly #counters: LaneCounters[];
  readonly #supervisors: LaneSupervisor[];
  readonly #routeSet: RouteSet;
  readonly #baselines: PeerBaselines;
  #newestTable: SharedArrayBuffer;
  /** The table before the newest: once every lane has observed the newest, nobody reads this one. */
  #spareTable: SharedArrayBuffer | undefined;
  /** A blocked native call would keep the process alive after exit(), so the lanes are woken first. */
  readonly #onExit = (): void => this.#signalStop();
  #closing: Promise<void> | undefined;
  #fatal: Error | undefined;

  /** @internal use {@link createForwarder} */
  constructor(options: CheckedOptions, mtuBytes: number, resources: Resources) {
    super();
    this.#options = options;
    this.#resources = resources;
    this.tunName = resources.tun.name;
    this.port = resources.udp.port;
    this.mtuBytes = mtuBytes;
    const { lanes, maxPeers } = options;
    const control = ControlWords.allocate(lanes);
    this.#control = new ControlWords(control);
    const counters = Array.from(
      { length: lanes },
      () => new SharedArrayBuffer(LaneCounters.byteLength(maxPeers)),
    );
    this.#counters = counters.map((buffer) => new LaneCounters(buffer, maxPeers));
    this.#baselines = new PeerBaselines(this.#counters);
    this.#routeSet = new RouteSet({
      defaultPort: options.port === 0 ? resources.udp.port : options.port,
      underlay: familyOf(options.address),
      onAssign: (id) => this.#baselines.rebase(id),
    });
    this.#routeSet.setLocal([options.subnet]);
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
            mtuBytes,
            tunAddress: options.tunAddressInt32,
            sourceCheck: options.sourceCheck,
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
    this.routes = this.#makeRoutes();
    process.on('exit', this.#onExit);
    for (const supervisor of this.#supervisors) supervisor.start();
  }

  /** Counters and state, each number at most one burst old. Cost grows with the number of peers. */
  stats(): ForwarderStats {
    return collectStats({
      options: this.#options,
      mtuBytes: this.mtuBytes,
      tun: this.#resources.tun,
      udp: this.#resources.udp,
      control: this.#control,
      counters: this.#counters,
      supervisors: this.#supervisors,
      routeSet: this.#routeSet,
      baselines: this.#baselines,
    });
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
    for (const supervisor of this.#supervisors) supervisor.post(table);
    this.#control.publish(this.#routeSet.generation);
    this.#wakeLanes();
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
  const mtuBytes = checked.mtuBytes ?? (await mtuOfUnderlay(checked.address));
  const resources = openResources(checked);
  try {
    const { tunAddress, network } = checked;
    const warnings = await configureTunInterface({
      name: resources.tun.name,
      address: tunAddress,
      mtuBytes,
      network,
    });
    const forwarder = new Forwarder(checked, mtuBytes, resources);
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

async function mtuOfUnderlay(address: string): Promise<number> {
  const underlay = await findUnderlay({ iface: [address] });
  const mtuBytes = Math.min(underlay.mtuBytes - ENCAPSULATION_BYTES, MAX_MTU_BYTES);
  if (mtuBytes >= MIN_MTU_BYTES) return mtuBytes;
  throw new SelvageError(
    'ERR_OPTION',
    `mtuBytes: the MTU of ${underlay.interface}, ${underlay.mtuBytes}, leaves less than ${MIN_MTU_BYTES}: raise it`,
  );
}

function openResources(options: CheckedOptions): Resources {
  const { lanes, offload, address, port, receiveBufferBytes, sendBufferBytes } = options;
  const udp = openUdp({ address, port, lanes, offload, receiveBufferBytes, sendBufferBytes });
  const wakes: number[] = [];
  let tun: TunDevice | undefined;
  try {
    tun = openTun({ name: options.tunName, queues: lanes, offload });
    for (let lane = 0; lane < lanes; lane++) wakes.push(native.openWake());
    return { tun, udp, wakes, pool: lanePool(lanes) };
  } catch (error) {
    for (const wake of wakes) native.closeFd(wake);
    tun?.close();
    udp.close();
    throw error;
  }
}

/** One thread for each lane, for life: a lane is one task that runs until it is told to stop. */
function lanePool(lanes: number): Piscina {
  return new Piscina({
    filename: new URL('./lane_thread.js', import.meta.url).href,
    minThreads: lanes,
    maxThreads: lanes,
    idleTimeout: Infinity,
    concurrentTasksPerWorker: 1,
  });
}

/** The pool goes first: a lane must not outlive its descriptors, whose numbers the process may use again. */
async function releaseResources({ tun, udp, wakes, pool }: Resources): Promise<void> {
  await pool.destroy();
  tun.close();
  udp.close();
  for (const wake of wakes) native.closeFd(wake);
}

function missingCapabilities(options: CheckedOptions, { tun, udp }: Resources): string[] {
  const warnings = smallBuffers(options, udp);
  if (options.lanes > 1 && !tun.steered) {
    warnings.push(
      'the kernel did not take the queue steering program (needs CAP_BPF): a flow may change lanes once',
    );
  }
  if (!options.offload) return warnings;
  if (!tun.offloads.tso4)
    warnings.push('the kernel refused TCP segmentation offload on TUN: throughput will be low');
  else if (!tun.offloads.uso)
    warnings.push('the kernel has no UDP superframes on TUN (Linux 6.2): UDP will be slower');
  if (!udp.gso)
    warnings.push('the kernel has no UDP segmentation offload (Linux 4.18): sending will be slower');
  if (!udp.gro && options.lanes === 1)
    warnings.push('the kernel has no UDP_GRO (Linux 5.0): receiving will be slower');
  return warnings;
}

function smallBuffers(options: CheckedOptions, udp: UdpSockets): string[] {
  const small = (what: string, granted: number, asked: number, sysctl: string) =>
    granted < asked
      ? [`the ${what} buffer is ${granted} of ${asked} bytes: run with CAP_NET_ADMIN or raise ${sysctl}`]
      : [];
  return [
    ...small('receive', udp.receiveBufferBytes, options.receiveBufferBytes, 'net.core.rmem_max'),
    ...small('send', udp.sendBufferBytes, options.sendBufferBytes, 'net.core.wmem_max'),
  ];
}
