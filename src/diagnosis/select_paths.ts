import type { AgentRoute, AgentStatus } from '../agent/agent_status.js';
import {
  ADDRESS_WORDS,
  firstAddressOf,
  formatAddress,
  formatEndpoint,
  type IpAddress,
  type IpFamily,
  parseAddress,
} from '../ip_address.js';
import { contains, parsePrefix, type Prefix } from '../prefix.js';
import type { Target } from './facts.js';

/** One peer to look at. */
export interface PeerPath {
  readonly address: string;
  readonly port: number;
  readonly prefixes: readonly string[];
  readonly pathMtuBytes: number | null;
  readonly framesOut: number;
  readonly framesIn: number;
  /** First address of its first subnet of each family: the one of its TUN device. */
  readonly devices: readonly string[];
}

/** Which peers a question is about. */
export interface Selection {
  readonly target: Target;
  readonly peers: readonly PeerPath[];
  readonly leftOut: number;
}

const MOST_PREFIXES = 16;

/**
 * Finds the peers that a question is about. Pure.
 *
 * @param address a peer's address on the underlay, or one of the overlay; undefined for all peers
 * @param most so many peers, if it is about all: first those that were sent frames and sent none
 * @throws SelvageError ERR_ADDRESS_INVALID
 */
export function selectPaths(
  status: AgentStatus,
  routes: readonly AgentRoute[],
  address: string | undefined,
  most: number,
): Selection {
  const peers = peersOf(routes);
  if (address === undefined) {
    const chosen = choose(peers, most);
    return { target: { kind: 'all' }, peers: chosen, leftOut: peers.length - chosen.length };
  }
  const wanted = parseAddress(address);
  const text = formatAddress(wanted.family, wanted.words);
  const asPeer = peers.filter((peer) => peer.address === text);
  if (asPeer.length > 0) return { target: { kind: 'peer', address: text }, peers: asPeer, leftOut: 0 };
  const local = ownSubnets(status).find((prefix) => covers(prefix, wanted));
  if (local !== undefined) {
    return { target: { kind: 'local', address: text, prefix: local }, peers: [], leftOut: 0 };
  }
  return selectInner(status, routes, peers, wanted, text);
}

function selectInner(
  status: AgentStatus,
  routes: readonly AgentRoute[],
  peers: readonly PeerPath[],
  wanted: IpAddress,
  address: string,
): Selection {
  const covering = routes.filter(({ prefix }) => covers(prefix, wanted));
  const route = covering.sort((a, b) => lengthOf(b.prefix) - lengthOf(a.prefix))[0];
  if (route === undefined) {
    const isInside = networks(status).some((prefix) => covers(prefix, wanted));
    return { target: { kind: isInside ? 'noRoute' : 'unknown', address }, peers: [], leftOut: 0 };
  }
  const { prefix, nextHop, port } = route;
  const behind = peers.filter((peer) => peer.address === nextHop && peer.port === port);
  // The device that answers is that of the same subnet, or one of the same family.
  const device = deviceOf(parsePrefix(prefix));
  return {
    target: { kind: 'inner', address, prefix },
    peers: behind.map((peer) => ({ ...peer, devices: [device] })),
    leftOut: 0,
  };
}

/** The next hops of the routes, with what they have in common. */
function peersOf(routes: readonly AgentRoute[]): PeerPath[] {
  const peers = new Map<string, AgentRoute[]>();
  for (const route of routes) {
    const key = formatEndpoint(route.nextHop, route.port);
    const known = peers.get(key);
    if (known === undefined) peers.set(key, [route]);
    else known.push(route);
  }
  return [...peers.values()].map(peerOf);
}

function peerOf(routes: AgentRoute[]): PeerPath {
  const { nextHop, port, pathMtuBytes, framesOut, framesIn } = routes[0]!;
  const prefixes = routes.map(({ prefix }) => prefix);
  const firstOf = (family: IpFamily): string | undefined =>
    prefixes.find((prefix) => parsePrefix(prefix).family === family);
  const devices = [firstOf(4), firstOf(6)].flatMap((prefix) =>
    prefix === undefined ? [] : [deviceOf(parsePrefix(prefix))],
  );
  return {
    address: nextHop,
    port,
    prefixes: prefixes.slice(0, MOST_PREFIXES),
    // A daemon of an earlier version does not say.
    pathMtuBytes: pathMtuBytes ?? null,
    framesOut,
    framesIn,
    devices,
  };
}

/** Those that never answered first, then those with a narrow path, then a sample of the others. */
function choose(peers: readonly PeerPath[], most: number): readonly PeerPath[] {
  if (peers.length <= most) return peers;
  const rank = ({ framesOut, framesIn, pathMtuBytes }: PeerPath): number =>
    framesOut > 0 && framesIn === 0 ? 0 : pathMtuBytes !== null ? 1 : 2 + Math.random();
  const ranked = peers.map((peer) => ({ peer, rank: rank(peer) }));
  return ranked
    .sort((a, b) => a.rank - b.rank)
    .slice(0, most)
    .map(({ peer }) => peer);
}

/** The first address of a subnet is the one of its host's TUN device. */
function deviceOf(prefix: Prefix): string {
  const { family, words } = firstAddressOf(prefix);
  return formatAddress(family, words);
}

function ownSubnets({ network }: AgentStatus): string[] {
  return [network?.subnet, network?.ipv6Subnet].filter((prefix) => prefix != null);
}

function networks({ network }: AgentStatus): string[] {
  return [network?.network, network?.ipv6Network].filter((prefix) => prefix != null);
}

function lengthOf(prefix: string): number {
  return Number(prefix.split('/')[1]);
}

/** Whether an address lies in a prefix. */
function covers(prefix: string, address: IpAddress): boolean {
  return contains(parsePrefix(prefix), hostPrefix(address));
}

function hostPrefix({ family, words }: IpAddress): Prefix {
  return parsePrefix(`${formatAddress(family, words)}/${family === 4 ? 32 : 32 * ADDRESS_WORDS}`);
}
