import type { AgentStatus, DirectionCounters, PeerStats } from '../index.js';

/** A network's state at one moment. */
export interface TopSnapshot {
  /** What tells it from others of this host: the socket, and the segment if there are any. */
  readonly name: string;
  /** On a clock that only goes forward. */
  readonly atMillis: number;
  readonly status: AgentStatus;
}

/** Per second; null while there is nothing to compare with. */
export type Rate = number | null;

/** Frames and bits of one direction. */
export interface Flow {
  readonly frames: Rate;
  readonly bits: Rate;
}

/** A loss: what was counted so far, and how it grows. */
export interface Loss {
  readonly label: string;
  readonly total: number;
  readonly rate: Rate;
}

export interface LaneRates {
  readonly lane: number;
  readonly running: boolean;
  readonly restarts: number;
  readonly out: Rate;
  readonly in: Rate;
}

export interface PeerRates {
  readonly address: string;
  readonly port: number;
  /** Most bytes of a frame to it, where that is less than to others; else null. */
  readonly pathMtuBytes: number | null;
  readonly out: Flow;
  readonly in: Flow;
}

/** What `selvage top` shows of one network. */
export interface NetworkRates {
  readonly name: string;
  readonly status: AgentStatus;
  readonly out: Flow;
  readonly in: Flow;
  /** Those that are not 0. */
  readonly losses: readonly Loss[];
  readonly lanes: readonly LaneRates[];
  readonly peers: readonly PeerRates[];
}

export const PEER_ORDERS = ['rate', 'out', 'in', 'address'] as const;
/** What peers are sorted by: bits both ways, out, in, or their address. */
export type PeerOrder = (typeof PEER_ORDERS)[number];

type Counters = Readonly<Record<string, number>>;

/** Turns what was counted by two moments into rates. A process that was started in between has nothing to compare with. */
export function ratesOf(before: TopSnapshot | undefined, after: TopSnapshot): NetworkRates {
  const old = isComparable(before, after) ? before : undefined;
  const seconds = old === undefined ? 0 : (after.atMillis - old.atMillis) / 1000;
  const rate = (count: number, oldCount: number | undefined): Rate =>
    oldCount === undefined || seconds <= 0 || count < oldCount ? null : (count - oldCount) / seconds;
  const { forwarder } = after.status;
  const oldForwarder = old?.status.forwarder ?? undefined;
  return {
    name: after.name,
    status: after.status,
    out: flow(rate, forwarder?.outbound, oldForwarder?.outbound),
    in: flow(rate, forwarder?.inbound, oldForwarder?.inbound),
    losses: losses(rate, after.status, old?.status),
    lanes: (forwarder?.lanes ?? []).map(({ lane, running, restarts, outbound, inbound }) => {
      const oldLane = oldForwarder?.lanes.find((each) => each.lane === lane);
      return {
        lane,
        running,
        restarts,
        out: rate(outbound.framesSent, oldLane?.outbound.framesSent),
        in: rate(inbound.framesSent, oldLane?.inbound.framesSent),
      };
    }),
    peers: peerRates(rate, forwarder?.peers ?? [], oldForwarder?.peers ?? []),
  };
}

type RateOf = (count: number, oldCount: number | undefined) => Rate;

function isComparable(before: TopSnapshot | undefined, { status }: TopSnapshot): boolean {
  return before?.status.startedAt === status.startedAt && before.status.pid === status.pid;
}

function flow(rate: RateOf, now: DirectionCounters | undefined, old: DirectionCounters | undefined): Flow {
  if (now === undefined) return { frames: null, bits: null };
  return { frames: rate(now.framesSent, old?.framesSent), bits: bitsOf(rate(now.bytesSent, old?.bytesSent)) };
}

function bitsOf(bytes: Rate): Rate {
  return bytes === null ? null : 8 * bytes;
}

function losses(rate: RateOf, now: AgentStatus, old: AgentStatus | undefined): Loss[] {
  const counted = lossCounters(now);
  const oldCounted = old === undefined ? {} : lossCounters(old);
  return Object.entries(counted)
    .filter(([, total]) => total > 0)
    .map(([label, total]) => ({ label, total, rate: rate(total, oldCounted[label]) }))
    .sort((a, b) => (b.rate ?? 0) - (a.rate ?? 0) || b.total - a.total);
}

function lossCounters({ forwarder }: AgentStatus): Counters {
  if (forwarder === null) return {};
  const { outbound, inbound, kernel } = forwarder;
  const named = (direction: string, drops: Counters): [string, number][] =>
    Object.entries(drops).map(([reason, count]) => [`${direction} ${reason}`, count]);
  return {
    ...Object.fromEntries([...named('out', outbound.drops), ...named('in', inbound.drops)]),
    'kernel udpReceiveOverflow': kernel.udpReceiveOverflow,
    'kernel strangersRefused': kernel.strangersRefused ?? 0,
    'kernel tunQueueOverflow': kernel.tunQueueOverflow,
  };
}

function peerRates(rate: RateOf, now: readonly PeerStats[], old: readonly PeerStats[]): PeerRates[] {
  const key = ({ address, port }: PeerStats): string => `${address} ${port}`;
  const oldByKey = new Map(old.map((peer) => [key(peer), peer]));
  return now.map((peer) => {
    const before = oldByKey.get(key(peer));
    return {
      address: peer.address,
      port: peer.port,
      pathMtuBytes: peer.pathMtuBytes ?? null,
      out: {
        frames: rate(peer.framesOut, before?.framesOut),
        bits: bitsOf(rate(peer.bytesOut, before?.bytesOut)),
      },
      in: {
        frames: rate(peer.framesIn, before?.framesIn),
        bits: bitsOf(rate(peer.bytesIn, before?.bytesIn)),
      },
    };
  });
}

/** The peers in an order; those that are equal by address. */
export function sortPeers(peers: readonly PeerRates[], order: PeerOrder): PeerRates[] {
  const weight = (peer: PeerRates): number => {
    const [out, into] = [peer.out.bits ?? 0, peer.in.bits ?? 0];
    return order === 'out' ? out : order === 'in' ? into : order === 'rate' ? out + into : 0;
  };
  // Numbers in addresses count as such: 192.0.2.9 comes before 192.0.2.10.
  const collator = new Intl.Collator('en', { numeric: true });
  return [...peers].sort(
    (a, b) => weight(b) - weight(a) || collator.compare(a.address, b.address) || a.port - b.port,
  );
}
