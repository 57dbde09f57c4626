import type { AgentRoute, AgentStatus } from '../agent/agent_status.js';
import { isSegments, readAgentRoutes, readDaemonStatus, readStatus } from '../agent/control_client.js';
import { IPV6_MIN_MTU_BYTES } from '../encap/ipv6_header.js';
import { SelvageError } from '../errors.js';
import { familyOf, formatEndpoint, type IpFamily, parseAddress } from '../ip_address.js';
import type { Drops, EchoOutcome, InnerFacts, NetworkFacts, PeerFacts, PortOutcome } from './facts.js';
import type { Finding } from './finding.js';
import { findingsOf, type PathVerdict, verdictOf } from './findings.js';
import { kernelDeviceTo } from './kernel_route.js';
import { probePort } from './port_probe.js';
import { Prober, SMALL_BYTES } from './prober.js';
import { type PeerPath, selectPaths } from './select_paths.js';

export interface CheckPathsOptions {
  /** Control socket of the daemon. */
  readonly socketPath: string;
  /** Needed for a daemon with segments, and for no other. */
  readonly segment?: string | undefined;
  /** Address of a peer on the underlay, or an address of the overlay; without it all peers. */
  readonly address?: string | undefined;
  /** How long one request waits for its answer; default 1000. Each is repeated twice. */
  readonly timeoutMillis?: number;
  /** Of more peers than this a sample is looked at; default {@link DEFAULT_MOST_PEERS}. */
  readonly mostPeers?: number;
  /** After each peer. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What {@link checkPaths} found. Plain JSON but for the date. */
export interface PathReport {
  readonly verdict: PathVerdict;
  readonly findings: readonly Finding[];
  /** What the findings were drawn from. */
  readonly facts: Omit<NetworkFacts, 'probing' | 'status'>;
  /** TUN device; null while the daemon has none. */
  readonly device: string | null;
  readonly networkName: string;
}

export const DEFAULT_MOST_PEERS = 64;
const DEFAULT_TIMEOUT_MILLIS = 1000;
/** Peers that are looked at at one time: a thousand at once would fill the raw socket's buffer. */
const AT_ONCE = 16;

/**
 * Walks the path to each peer of a daemon, or to one address, and judges what it finds.
 *
 * Sends echo requests over the underlay and through the overlay, and UDP datagrams to peers that do not answer. Main thread, as
 * its raw sockets need it. Needs CAP_NET_RAW in the network namespace of the daemon; without it, only what needs none is
 * looked at, and the verdict says so.
 *
 * @throws SelvageError (as rejection) ERR_NO_DAEMON, ERR_CONTROL_SOCKET, ERR_SEGMENT; ERR_ADDRESS_INVALID for an address
 *   that is none
 */
export async function checkPaths(options: CheckPathsOptions): Promise<PathReport> {
  if (options.address !== undefined) parseAddress(options.address);
  const prober = new Prober({ timeoutMillis: options.timeoutMillis ?? DEFAULT_TIMEOUT_MILLIS });
  try {
    const facts = await new PathCheck(options, prober).collect();
    const findings = findingsOf(facts);
    const { status, probing, ...rest } = facts;
    return {
      verdict: verdictOf(findings, probing),
      findings,
      facts: rest,
      device: status.forwarder?.device.name ?? null,
      networkName: status.networkName,
    };
  } finally {
    prober.close();
  }
}

/** Collects the facts of one network. */
class PathCheck {
  readonly #options: CheckPathsOptions;
  readonly #prober: Prober;
  readonly #timeoutMillis: number;

  constructor(options: CheckPathsOptions, prober: Prober) {
    this.#options = options;
    this.#prober = prober;
    this.#timeoutMillis = options.timeoutMillis ?? DEFAULT_TIMEOUT_MILLIS;
  }

  async collect(): Promise<NetworkFacts> {
    const { socketPath, segment, address, mostPeers = DEFAULT_MOST_PEERS } = this.#options;
    const { status, segmentFailure } = await this.#readStatus();
    const routes = await readAgentRoutes(socketPath, segment);
    const { target, peers, leftOut } = selectPaths(status, routes, address, mostPeers);
    const local = target.kind === 'local' ? await this.#inner(target.address, 'target', 0) : null;
    const collected = await this.#lookAtAll(status, peers, target.kind === 'inner' ? target.address : null);
    const after = await this.#readAgain();
    return {
      now: new Date(),
      status,
      segmentFailure,
      target,
      probing: this.#prober.probing,
      peers: collected.map((peer) => ({ ...peer, moved: movedOf(peer, routes, after?.routes) })),
      peersLeftOut: leftOut,
      local,
      dropped: {
        outbound: growth(status.forwarder?.outbound.drops, after?.status.forwarder?.outbound.drops),
        inbound: growth(status.forwarder?.inbound.drops, after?.status.forwarder?.inbound.drops),
      },
      strangersRefused:
        (after?.status.forwarder?.kernel.strangersRefused ?? 0) -
        (status.forwarder?.kernel.strangersRefused ?? 0),
    };
  }

  /** Of a daemon with segments also why the segment does not run. */
  async #readStatus(): Promise<{ status: AgentStatus; segmentFailure: string | null }> {
    const { socketPath, segment } = this.#options;
    if (segment === undefined) return { status: await readStatus(socketPath), segmentFailure: null };
    const daemon = await readDaemonStatus(socketPath);
    const found = isSegments(daemon) ? daemon.segments.find(({ name }) => name === segment) : undefined;
    // Not there: let the daemon say which there are.
    if (found === undefined) return { status: await readStatus(socketPath, segment), segmentFailure: null };
    return { status: found.status, segmentFailure: found.state === 'failed' ? (found.reason ?? '') : null };
  }

  /** The daemon may have ended meanwhile: then nothing is known of what moved. */
  async #readAgain(): Promise<{ status: AgentStatus; routes: AgentRoute[] } | undefined> {
    const { socketPath, segment } = this.#options;
    try {
      const status = await readStatus(socketPath, segment);
      return { status, routes: await readAgentRoutes(socketPath, segment) };
    } catch (error) {
      if (error instanceof SelvageError) return undefined;
      throw error;
    }
  }

  async #lookAtAll(
    status: AgentStatus,
    peers: readonly PeerPath[],
    target: string | null,
  ): Promise<Omit<PeerFacts, 'moved'>[]> {
    const collected = new Array<Omit<PeerFacts, 'moved'>>(peers.length);
    let next = 0;
    let done = 0;
    const lookAtNext = async (): Promise<void> => {
      for (let i = next++; i < peers.length; i = next++) {
        collected[i] = await this.#lookAt(status, peers[i]!, target);
        this.#options.onProgress?.(++done, peers.length);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lookAtNext));
    return collected;
  }

  async #lookAt(
    status: AgentStatus,
    peer: PeerPath,
    target: string | null,
  ): Promise<Omit<PeerFacts, 'moved'>> {
    const { address, port, prefixes, pathMtuBytes } = peer;
    const fullBytes = pathMtuBytes ?? status.forwarder?.device.mtuBytes ?? 0;
    const targets = target === null || peer.devices.includes(target) ? [] : [target];
    const [underlay, ...inner] = await Promise.all([
      this.#underlay(status, address),
      ...peer.devices.map((device) => this.#inner(device, 'device', fullBytes)),
      ...targets.map((inside) => this.#inner(inside, 'target', fullBytes)),
    ]);
    const listener = await this.#listener(status, peer, inner);
    return { address, port, prefixes, pathMtuBytes, underlay, inner, listener };
  }

  async #underlay(status: AgentStatus, address: string): Promise<PeerFacts['underlay']> {
    const small = await this.#prober.echo(address, SMALL_BYTES);
    if (small === undefined) return null;
    const mostBytes = status.underlay?.mtuBytes ?? 0;
    if (small.kind !== 'answered' || mostBytes === 0) {
      return { small, largestBytes: null, isInterfaceMtu: false };
    }
    const largestBytes = await this.#prober.largest(address, mostBytes, small.millis);
    return { small, largestBytes, isInterfaceMtu: largestBytes === mostBytes };
  }

  async #inner(address: string, role: InnerFacts['role'], fullBytes: number): Promise<InnerFacts> {
    const [kernelDevice, small] = await Promise.all([
      kernelDeviceTo(address),
      this.#prober.echo(address, SMALL_BYTES),
    ]);
    const facts = { address, role, kernelDevice, small: small ?? null };
    if (small?.kind !== 'answered' || fullBytes <= SMALL_BYTES) return { ...facts, full: null };
    const bytes = familyOf(address) === 6 ? Math.max(fullBytes, IPV6_MIN_MTU_BYTES) : fullBytes; // senders of IPv6 go no lower
    const outcome: EchoOutcome = (await this.#prober.echo(address, bytes)) ?? { kind: 'silent' };
    return { ...facts, full: { bytes, outcome } };
  }

  /** A peer through which something came back has a port that answers: no need to ask. */
  async #listener(
    status: AgentStatus,
    { address, port, devices }: PeerPath,
    inner: readonly InnerFacts[],
  ): Promise<PortOutcome | null> {
    if (inner.some(({ small }) => small?.kind === 'answered')) return { kind: 'answers' };
    const device = devices[0];
    const innerSource = device === undefined ? null : ownAddress(status, familyOf(device));
    if (device === undefined || innerSource === null || status.forwarder === null) return null;
    return await probePort({
      source: status.forwarder.socket.address,
      address,
      port,
      innerSource,
      innerDestination: device,
      timeoutMillis: this.#timeoutMillis,
    });
  }
}

function ownAddress({ forwarder }: AgentStatus, family: IpFamily): string | null {
  return (family === 4 ? forwarder?.device.address : forwarder?.device.ipv6Address) ?? null;
}

function movedOf(
  { address, port }: Pick<PeerFacts, 'address' | 'port'>,
  before: readonly AgentRoute[],
  after: readonly AgentRoute[] | undefined,
): PeerFacts['moved'] {
  const key = formatEndpoint(address, port);
  const find = (routes: readonly AgentRoute[]): AgentRoute | undefined =>
    routes.find((route) => formatEndpoint(route.nextHop, route.port) === key);
  const [old, present] = [find(before), find(after ?? [])];
  if (old === undefined || present === undefined) return undefined;
  const framesOut = present.framesOut - old.framesOut;
  const framesIn = present.framesIn - old.framesIn;
  // The daemon, or the peer in it, is not the one of before.
  return framesOut < 0 || framesIn < 0 ? undefined : { framesOut, framesIn };
}

function growth(before: Drops | undefined, after: Drops | undefined): Drops {
  if (before === undefined || after === undefined) return {};
  const grown = Object.entries(after).map(([reason, count]) => [reason, count - (before[reason] ?? 0)]);
  return Object.fromEntries(grown.filter(([, count]) => (count as number) > 0)) as Drops;
}
