import { formatAddress, type IpAddress, type IpFamily } from '../ip_address.js';
import { native } from '../native.js';
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

export interface PathMonitorOptions {
  readonly paths: PathTable;
  readonly underlay: IpFamily;
  readonly overheadBytes: number;
  readonly udpFd: number;
  /** Between two probes of a path in use, seconds; 0 probes none, and only what the kernel learns counts. */
  readonly probeSeconds: number;
  /** MTU of the overlay as it is now, bytes. */
  readonly mtuBytes: () => number;
  readonly peers: () => Iterable<MonitoredPeer>;
  /** Writes the probe of one size to a peer; undefined when it has no address that would answer. */
  readonly echo: (id: number, round: number, bytes: number) => Uint8Array | undefined;
  readonly onChange: (change: PathChange) => void;
}

/** Looks at what lanes learned, and at which peers are in use. */
const LOOK_MILLIS = 1_000;
/** Between two questions to the kernel about a path that it limits: it forgets after ten minutes (ip-sysctl, mtu_expires). */
const ASK_AGAIN_MILLIS = 15_000;
/** After so long a path that swallowed large frames is tried again (RFC 8899 section 5.1.1, PMTU_RAISE_TIMER). */
const RAISE_MILLIS = 600_000;
/** No path is thought to be narrower, whatever the probes say: 576 bytes pass everywhere (RFC 791 section 3.1). */
const LEAST_LIMIT_BYTES = 576 - 48;
/** Rounds are numbered with 16 bits. */
const LAST_ROUND = 0xffff;
/** Paths that are probed at the same time. */
const MOST_PROBES = 16;

interface PathState {
  framesOut: number;
  /** On the clock of performance.now(). */
  probedAt: number;
  askedAt: number;
  /** The limit as it was last told to the listener, and how it is known. */
  limit: number;
  known: 'icmp' | 'silence';
  /** Most bytes that came back where larger frames vanish; 0 when none do. */
  silentLimit: number;
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

  constructor(options: PathMonitorOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#look(), LOOK_MILLIS).unref();
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
    const { paths, peers } = this.#options;
    const now = performance.now();
    for (const peer of peers()) {
      if (peer.framesOut === 0) continue;
      const state = this.#stateOf(peer);
      const isUsed = peer.framesOut !== state.framesOut;
      state.framesOut = peer.framesOut;
      if (paths.limit(peer.id) !== state.limit || now - state.askedAt >= ASK_AGAIN_MILLIS) {
        this.#review(peer, state, now);
      }
      if (isUsed) this.#considerProbe(peer, state, now);
    }
  }

  #stateOf({ id }: MonitoredPeer): PathState {
    const known = this.#states.get(id);
    if (known !== undefined) return known;
    const state: PathState = {
      framesOut: 0,
      probedAt: -Infinity,
      askedAt: performance.now(),
      limit: 0,
      known: 'icmp',
      silentLimit: 0,
      probe: undefined,
    };
    this.#states.set(id, state);
    return state;
  }

  /** Sets the limit to what the kernel knows now, or to what probes found when that is less, and tells of a change. */
  #review({ id, endpoint }: MonitoredPeer, state: PathState, now: number): void {
    const { paths, overheadBytes, udpFd, mtuBytes } = this.#options;
    state.askedAt = now;
    const asked = native.udpPathMtu(udpFd, endpoint.address.words) - overheadBytes;
    const fromKernel = asked > 0 && asked < mtuBytes() ? asked : 0;
    const silent = state.silentLimit;
    const isSilent = silent > 0 && (fromKernel === 0 || silent < fromKernel);
    const limit = isSilent ? silent : fromKernel;
    paths.setLimit(id, limit);
    if (limit === state.limit) return;
    const known = isSilent || (limit === 0 && state.known === 'silence') ? 'silence' : 'icmp';
    state.limit = limit;
    state.known = known;
    this.#options.onChange({ peer: formatPeer(endpoint.address), mtuBytes: limit, known });
  }

  #considerProbe(peer: MonitoredPeer, state: PathState, now: number): void {
    const { probeSeconds } = this.#options;
    if (probeSeconds === 0 || state.probe !== undefined || this.#probing >= MOST_PROBES) return;
    const every = state.silentLimit > 0 ? RAISE_MILLIS : probeSeconds * 1000;
    if (now - state.probedAt < every) return;
    state.probedAt = now;
    this.#probing++;
    const most = state.silentLimit > 0 || state.limit === 0 ? this.#options.mtuBytes() : state.limit;
    state.probe = new PathProbe({
      mostBytes: most,
      send: (round, bytes) => this.#send(peer, state, round, bytes),
      largestEcho: (round) => this.#options.paths.largestEcho(peer.id, round),
      nextRound: () => (this.#round = (this.#round % LAST_ROUND) + 1),
      onEnd: (outcome) => this.#onProbed(peer, state, outcome),
    });
    state.probe.start();
  }

  /** What the kernel refuses to send, it knows to be too large. */
  #send(peer: MonitoredPeer, state: PathState, round: number, bytes: number): boolean {
    const { echo, udpFd } = this.#options;
    const frame = echo(peer.id, round, bytes);
    if (frame === undefined) return false;
    const { address, port } = peer.endpoint;
    if (native.udpSendProbe(udpFd, address.words, port, frame) >= 0) return true;
    this.#review(peer, state, performance.now());
    return false;
  }

  #setSilent(peer: MonitoredPeer, state: PathState, bytes: number): void {
    state.silentLimit = bytes;
    this.#review(peer, state, performance.now());
  }

  #onProbed(peer: MonitoredPeer, state: PathState, outcome: ProbeOutcome): void {
    state.probe = undefined;
    this.#probing--;
    if (outcome.kind === 'passes') this.#setSilent(peer, state, 0);
    if (outcome.kind === 'blackHole') {
      this.#setSilent(peer, state, Math.max(outcome.largestBytes, LEAST_LIMIT_BYTES));
    }
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
