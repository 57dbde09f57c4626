import { readFileSync } from 'node:fs';

import { formatAddress } from '../ip_address.js';
import type { RouteSet } from '../routing/route_set.js';
import type { TunDevice } from '../tun/open_tun.js';
import { type ControlWords, NOT_RUNNING } from './control_words.js';
import {
  type CountersSnapshot,
  type LaneCounters,
  type PeerCounters,
  readCounters,
  sumCounters,
  sumPeer,
} from './counters.js';
import type { CheckedOptions } from './forwarder_options.js';
import type { LaneSupervisor } from './lane_supervisor.js';
import type { UdpSockets } from './open_udp.js';
import type { PathTable } from './path_table.js';
import type { PeerFilter } from './peer_filter.js';

/** One lane's part of {@link ForwarderStats}. */
export interface LaneStats extends CountersSnapshot {
  readonly lane: number;
  readonly running: boolean;
  /** Times it was started again after a crash. */
  readonly restarts: number;
  /** Route table generation it forwards by; 0 while it is not running. */
  readonly generation: number;
  /** Whether it sends trains. False where the kernel has no UDP_SEGMENT, or refused it under way (EIO). */
  readonly gso: boolean;
}

/** One peer's part of {@link ForwarderStats}, counted since it became a next hop. */
export interface PeerStats extends PeerCounters {
  /** IPv4 or IPv6 address of its host. */
  readonly address: string;
  readonly port: number;
  /** Most bytes of an inner frame to it, where its path takes less than the underlay interface; else null. */
  readonly pathMtuBytes: number | null;
}

/** A snapshot of a forwarder: plain data, ready for JSON. Frames are wire-sized; see docs/counters.md. */
export interface ForwarderStats extends CountersSnapshot {
  readonly device: {
    readonly name: string;
    /** Its IPv4 address, a /32, the source of our ICMP errors; null in a network without IPv4. */
    readonly address: string | null;
    /** Its IPv6 address, a /128, the source of our ICMPv6 errors; null in a network without IPv6. */
    readonly ipv6Address: string | null;
    readonly mtuBytes: number;
    readonly offloads: TunDevice['offloads'];
  };
  readonly socket: {
    readonly address: string;
    readonly port: number;
    readonly gso: boolean;
    readonly gro: boolean;
    readonly receiveBufferBytes: number;
    readonly sendBufferBytes: number;
  };
  readonly routes: { readonly count: number; readonly generation: number };
  /** Lost in the kernel, before or after us. */
  readonly kernel: {
    /** Datagrams that found the sockets' receive buffers full. */
    readonly udpReceiveOverflow: number;
    /** Datagrams whose sender is no peer, dropped before they were queued; null where the kernel does not do that. */
    readonly strangersRefused: number | null;
    /** Frames that found the TUN queues full; 0 where the kernel does not say. */
    readonly tunQueueOverflow: number;
  };
  readonly lanes: readonly LaneStats[];
  readonly peers: readonly PeerStats[];
}

/** Columns of /proc/net/dev after the name: 8 of receiving, then bytes, packets, errs, drop... of sending (proc(5)). */
const TX_DROPPED_COLUMN = 11;
const PEER_FIELDS = ['framesOut', 'bytesOut', 'framesIn', 'bytesIn'] as const;

/**
 * What a next-hop id had counted when it came to mean its present peer. Lanes never reset a counter, as each has one
 * writer; so an id that is given to another peer starts from what it had.
 */
export class PeerBaselines {
  readonly #counters: readonly LaneCounters[];
  readonly #byId = new Map<number, PeerCounters>();

  constructor(counters: readonly LaneCounters[]) {
    this.#counters = counters;
  }

  /** The id means another peer from now on. */
  rebase(id: number): void {
    this.#byId.set(id, sumPeer(this.#counters, id));
  }

  /** Frames that left for it since the last {@link rebase}. */
  readFramesOut(id: number): number {
    const total = this.#counters.reduce((sum, lane) => sum + lane.readFramesToPeer(id), 0);
    return total - (this.#byId.get(id)?.framesOut ?? 0);
  }

  /** What was counted since the last {@link rebase}. */
  read(id: number): PeerCounters {
    const total = sumPeer(this.#counters, id);
    const base = this.#byId.get(id);
    if (base !== undefined) for (const field of PEER_FIELDS) total[field] -= base[field];
    return total;
  }
}

/** What {@link collectStats} reads. */
export interface StatsSources {
  readonly options: CheckedOptions;
  readonly mtuBytes: number;
  readonly tun: TunDevice;
  readonly udp: UdpSockets;
  readonly control: ControlWords;
  readonly counters: readonly LaneCounters[];
  readonly supervisors: readonly LaneSupervisor[];
  readonly routeSet: RouteSet;
  readonly baselines: PeerBaselines;
  readonly paths: PathTable;
  readonly filter: PeerFilter | undefined;
}

/** Collects a snapshot. Main thread. */
export function collectStats(sources: StatsSources): ForwarderStats {
  const { options, tun, udp, routeSet, filter } = sources;
  const lanes = sources.counters.map((counters, lane) => laneStats(sources, counters, lane));
  const { address } = options;
  // The kernel counts what the filter refuses among the socket's drops; read before the filter looks at its own.
  const socketDrops = udp.receiveOverflow();
  const { port, gso, gro, receiveBufferBytes, sendBufferBytes } = udp;
  return {
    device: {
      name: tun.name,
      address: options.ipv4?.tunAddress ?? null,
      ipv6Address: options.ipv6?.tunAddress ?? null,
      mtuBytes: sources.mtuBytes,
      offloads: tun.offloads,
    },
    socket: { address, port, gso, gro, receiveBufferBytes, sendBufferBytes },
    routes: { count: routeSet.count, generation: routeSet.generation },
    kernel: {
      udpReceiveOverflow: filter?.overflow(socketDrops) ?? socketDrops,
      strangersRefused: filter?.refused().datagrams ?? null,
      tunQueueOverflow: tunQueueOverflow(tun.name),
    },
    ...sumCounters(lanes),
    lanes,
    peers: peerStats(sources),
  };
}

function laneStats(sources: StatsSources, counters: LaneCounters, lane: number): LaneStats {
  const generation = sources.control.observed(lane);
  const { restarts } = sources.supervisors[lane]!;
  const gso = sources.udp.gso && !sources.control.lostGso(lane);
  return { lane, running: generation !== NOT_RUNNING, restarts, generation, gso, ...readCounters(counters) };
}

function peerStats({ routeSet, baselines, paths }: StatsSources): PeerStats[] {
  const peers: PeerStats[] = [];
  for (const [id, { address, port }] of routeSet.endpoints()) {
    const pathMtuBytes = paths.limit(id) || null;
    peers.push({
      address: formatAddress(address.family, address.words),
      port,
      pathMtuBytes,
      ...baselines.read(id),
    });
  }
  return peers;
}

/** The device's dropped count in sending direction: a frame that finds the queue to us full (Linux drivers/net/tun.c). */
function tunQueueOverflow(name: string): number {
  const line = deviceLines().find((candidate) => candidate.trimStart().startsWith(`${name}:`));
  return Number(line?.split(':')[1]?.trim().split(/\s+/)[TX_DROPPED_COLUMN] ?? 0);
}

/** Unlike /sys/class/net, this file always shows the network namespace of the reader. */
function deviceLines(): string[] {
  try {
    return readFileSync('/proc/self/net/dev', 'utf8').split('\n');
  } catch {
    return [];
  }
}
