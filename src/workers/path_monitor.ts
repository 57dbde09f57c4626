import { formatAddress, type IpAddress } from '../ip_address.js';
import type { Endpoint } from '../routing/next_hop_ids.js';
import type { PathTable } from './path_table.js';
import { PathProbe, type ProbeOutcome } from './path_probe.js';

/** What a path turned out to take. */
export interface PathChange {
  /** Address of the peer. */
  readonly peer: string;
  /** Most bytes of an inner frame to it; 0 when it takes as much as the underlay interface again. */
  readonly mtuBytes: number;
  /**
   * How it is known: `icmp`: the kernel was told by a router, or by its own routing table; `silence`: large frames vanish
   * without a word, small ones do not.
   */
  readonly known: 'icmp' | 'silence';
}

/** A peer as the monitor has to know it. */
export interface MonitoredPeer {
  readonly id: number;
  readonly endpoint: Endpoint;
  /** Frames sent to it so far. */
  readonly framesOut: number;
}

/** How often a monitor does what. */
export interface MonitorPace {
  /** Between looks at what lanes learned, and at which peers are in use. */
  readonly lookMillis: number;
  /** Between two questions to the kernel about a path that it limits: it forgets after ten minutes (ip-sysctl, mtu_expires). */
  readonly askAgainMillis: number;
  /** After so long a path that swallowed large frames is tried again (RFC 8899 section 5.1.1, PMTU_RAISE_TIMER). */
  readonly raiseMillis: number;
}

export const MONITOR_PACE: MonitorPace = { lookMillis: 1_000, askAgainMillis: 15_000, raiseMillis: 600_000 };

export interface PathMonitorOptions {
  readonly paths: PathTable;
  readonly overheadBytes: number;
  /** Between two probes of a path in use, seconds; 0 probes none, and only what the kernel learns counts. */
  readonly probeSeconds: number;
  readonly pace: MonitorPace;
  /** MTU of the overlay as it is now, bytes. */
  readonly mtuBytes: () => number;
  /** By ascending id. */
  readonly peers: () => Iterable<MonitoredPeer>;
  /** Writes the probe of one size to a peer; undefined when it has no address that would answer. */
  readonly echo: (id: number, round: number, bytes: number) => Uint8Array | undefined;
  /** @returns bytes of an outer packet that the kernel knows to fit, or -errno */
  readonly askKernel: (endpoint: Endpoint) => number;
  /** @returns bytes sent, or -errno */
  readonly sendProbe: (endpoint: Endpoint, frame: Uint8Array) => number;
  readonly onChange: (change: PathChange) => void;
}

/** No path is thought to be narrower, whatever the probes say: 576 bytes pass everywhere (RFC 791 section 3.1). */
const LEAST_LIMIT_BYTES = 576 - 48;
/** Rounds are numbered with 16 bits. */
const LAST_ROUND = 0xffff;
/** Paths that are probed at the same time. */
const MOST_PROBES = 64;
/** Questions to the kernel in one look, four system calls each: the main thread has other work. */
const MOST_QUESTIONS = 1_000;

interface PathState {
  framesOut: number;
  /** On the clock of performance.now(). */
  probedAt: number;
  askedAt: number;
  /** The limit as it was last told to the listener, and how it is known. */
  limit: number;
  known: 'icmp' | 'silence';
  /** What the kernel knew when it was last asked; 0 when that is no less than the overlay's MTU. */
  kernelLimit: number;
  /** Most bytes that came back where larger frames vanish, 0 when none do; and when that was found. */
  silentLimit: number;
  silentAt: number;
  probe: PathProbe | undefined;
}

/**
 * Watches over the MTU of each path, so that none is a black hole: takes back limits that no longer hold, and finds paths
 * that drop large frames without telling anybody, by probes in the manner of RFC 8899 (an ICMP echo inside the overlay, which
 * every host answers, flanneld's too).
 *
 * Main thread. Silent peers cost a look at their counters once a second; a path in use one frame of full size a minute.
 */
export class PathMonitor {
  readonly #options: PathMonitorOptions;
  readonly #states = new Map<number, PathState>();
  readonly #timer: NodeJS.Timeout;
  /** Of the last round of any probe; 0 is never used, as the words begin with it. */
  #round = 0;
  #probing = 0;
  /** Peers below this id wait for their probe: the last look had none left for this one. */
  #probeFrom = 0;

  constructor(options: PathMonitorOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#look(), options.pace.lookMillis).unref();
  }

  /** The id means another peer from now on, or none. */
  forget(id: number): void {
    this.#end(this.#states.get(id));
    this.#states.delete(id);
    this.#options.paths.forget(id);
  }

  close(): void {
    clearInterval(this.#timer);
    for (const state of this.#states.values()) this.#end(state);
  }

  #look(): void {
    const now = performance.now();
    let questions = MOST_QUESTIONS;
    let unprobed: number | undefined;
    for (const peer of this.#options.peers()) {
      if (peer.framesOut === 0) continue;
      const state = this.#stateOf(peer);
      const isUsed = peer.framesOut !== state.framesOut;
      state.framesOut = peer.framesOut;
      if (this.#isToReview(peer, state, now) && questions-- > 0) this.#review(peer, state, now);
      if (!isUsed || peer.id < this.#probeFrom || !this.#isToProbe(state, now)) continue;
      if (this.#probing < MOST_PROBES) this.#probe(peer, state, now);
      else unprobed ??= peer.id;
    }
    this.#probeFrom = unprobed ?? 0;
  }

  #stateOf({ id }: MonitoredPeer): PathState {
    const known = this.#states.get(id);
    if (known !== undefined) return known;
    const state: PathState = {
      framesOut: 0,
      probedAt: -Infinity,
      askedAt: -Infinity,
      limit: 0,
      known: 'icmp',
      kernelLimit: 0,
      silentLimit: 0,
      silentAt: -Infinity,
      probe: undefined,
    };
    this.#states.set(id, state);
    return state;
  }

  /** Where the kernel limits nothing there is nothing to take back, and a lane learns at once when it begins to. */
  #isToReview({ id }: MonitoredPeer, state: PathState, now: number): boolean {
    const { paths, pace } = this.#options;
    if (paths.limit(id) !== state.limit) return true;
    return state.kernelLimit > 0 && now - state.askedAt >= pace.askAgainMillis;
  }

  /** Asks the kernel. A smaller answer ends a probe that began with more, and the next one begins with it. */
  #review(peer: MonitoredPeer, state: PathState, now: number): void {
    const { askKernel, mtuBytes, overheadBytes } = this.#options;
    state.askedAt = now;
    const before = state.kernelLimit;
    const asked = askKernel(peer.endpoint) - overheadBytes;
    if (asked > 0) state.kernelLimit = asked < mtuBytes() ? asked : 0;
    if (state.kernelLimit > 0 && (before === 0 || state.kernelLimit < before)) {
      this.#end(state);
      state.probedAt = -Infinity;
    }
    this.#settle(peer, state);
  }

  /** Sets the limit to what the kernel knows, or to what probes found when that is less, and tells of a change. */
  #settle({ id, endpoint }: MonitoredPeer, state: PathState): void {
    const { kernelLimit, silentLimit } = state;
    const isSilent = silentLimit > 0 && (kernelLimit === 0 || silentLimit < kernelLimit);
    const limit = isSilent ? silentLimit : kernelLimit;
    this.#options.paths.setLimit(id, limit);
    if (limit === state.limit) return;
    const known = isSilent || (limit === 0 && state.known === 'silence') ? 'silence' : 'icmp';
    state.limit = limit;
    state.known = known;
    this.#options.onChange({ peer: formatPeer(endpoint.address), mtuBytes: limit, known });
  }

  #isToProbe({ probe, probedAt }: PathState, now: number): boolean {
    const { probeSeconds } = this.#options;
    return probeSeconds > 0 && probe === undefined && now - probedAt >= probeSeconds * 1000;
  }

  /** A limit that was found by silence is probed like a full size, as the path may get narrower still. */
  #probe(peer: MonitoredPeer, state: PathState, now: number): void {
    const { mtuBytes, pace, paths } = this.#options;
    const { kernelLimit, silentLimit, silentAt } = state;
    const fullBytes = kernelLimit > 0 ? kernelLimit : mtuBytes();
    const isRaise = silentLimit === 0 || now - silentAt >= pace.raiseMillis;
    const mostBytes = isRaise ? fullBytes : Math.min(silentLimit, fullBytes);
    state.probedAt = now;
    this.#probing++;
    state.probe = new PathProbe({
      mostBytes,
      send: (round, bytes) => this.#send(peer, state, round, bytes),
      largestEcho: (round) => paths.largestEcho(peer.id, round),
      nextRound: () => (this.#round = (this.#round % LAST_ROUND) + 1),
      onEnd: (outcome) => this.#onProbed(peer, state, mostBytes, outcome),
    });
    state.probe.start();
  }

  /** What the kernel refuses to send, it knows to be too large. */
  #send(peer: MonitoredPeer, state: PathState, round: number, bytes: number): boolean {
    const { echo, sendProbe } = this.#options;
    const frame = echo(peer.id, round, bytes);
    if (frame === undefined) return false;
    if (sendProbe(peer.endpoint, frame) >= 0) return true;
    this.#review(peer, state, performance.now());
    return false;
  }

  #onProbed(peer: MonitoredPeer, state: PathState, mostBytes: number, outcome: ProbeOutcome): void {
    state.probe = undefined;
    this.#probing--;
    if (outcome.kind === 'passes' && mostBytes > state.silentLimit) state.silentLimit = 0;
    if (outcome.kind === 'blackHole') {
      state.silentLimit = Math.max(outcome.largestBytes, LEAST_LIMIT_BYTES);
      state.silentAt = performance.now();
    }
    this.#settle(peer, state);
  }

  #end(state: PathState | undefined): void {
    if (state?.probe === undefined) return;
    state.probe.cancel();
    state.probe = undefined;
    this.#probing--;
  }
}

function formatPeer({ family, words }: IpAddress): string {
  return formatAddress(family, words);
}
