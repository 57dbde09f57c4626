/**
 * Every metric of selvage's own, and how it is read from an {@link AgentView}.
 *
 * Totals count from the start of the forwarder. A series that cannot be told is left out rather than 0: those of the data
 * path while there is no forwarder, those of the store with a routes file, the expiry of a reservation. After a move to another
 * subnet totals begin at 0 again, which Prometheus takes for what it is, a counter reset.
 */
import { DROP_REASONS } from '../encap/drop_reason.js';
import { formatEndpoint } from '../ip_address.js';
import type { LeaseSourceState } from '../lease/lease_event.js';
import type { DirectionCounters, PeerCounters } from '../workers/counters.js';
import type { ForwarderStats, LaneStats, PeerStats } from '../workers/forwarder_stats.js';
import type { AgentView } from './agent_view.js';
import { healthOf } from './health.js';

/** What the documentation says about one metric. */
export interface MetricDefinition {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly labels: readonly string[];
  readonly help: string;
}

/** One line of the exposition. */
export interface Sample {
  readonly value: number;
  readonly labels: Readonly<Record<string, string | number>>;
}

/** A metric and its reader. */
export interface Metric extends MetricDefinition {
  readonly read: (view: AgentView) => Sample[];
}

const DIRECTIONS = ['outbound', 'inbound'] as const;

type Direction = (typeof DIRECTIONS)[number];

/** In the order in which they are written. */
export const METRIC_TABLE: readonly Metric[] = [
  perDirection(
    'selvage_frames_total',
    'Frames carried to the other side, each segment one frame.',
    (counters) => counters.framesSent,
  ),
  perDirection(
    'selvage_bytes_total',
    "Bytes of the carried frames; the headers of a superframe count once, the encapsulation doesn't.",
    (counters) => counters.bytesSent,
  ),
  perDirection(
    'selvage_received_frames_total',
    'Frames that came in: each is carried or dropped for one reason, so this is the sum of both.',
    (counters) => counters.framesReceived,
  ),
  counter(
    'selvage_dropped_frames_total',
    ['direction', 'reason', 'lane'],
    'Frames that ended here, by the reason in docs/counters.md.',
    perLane((lane) => DIRECTIONS.flatMap((direction) => drops(lane, direction))),
  ),
  counter(
    'selvage_icmp_answers_total',
    ['direction', 'result', 'lane'],
    'ICMP errors about frames of a direction: sent, suppressed by the rate limit, or lost in the kernel.',
    perLane((lane) => DIRECTIONS.flatMap((direction) => answers(lane, direction))),
  ),
  perPeer(
    'selvage_peer_frames_total',
    'Frames to and from a peer; peers without any are left out.',
    'frames',
  ),
  perPeer('selvage_peer_bytes_total', 'Bytes to and from a peer; peers without any are left out.', 'bytes'),
  gauge(
    'selvage_peer_path_mtu_bytes',
    ['peer'],
    'Largest inner packet that the path to a peer takes, where that is less than the overlay MTU.',
    ({ forwarder }) => (forwarder?.peers ?? []).flatMap(narrowPath),
  ),
  counter(
    'selvage_udp_receive_overflow_datagrams_total',
    [],
    'Datagrams that the kernel dropped because the receive buffers of the sockets were full.',
    ofForwarder(({ kernel }) => kernel.udpReceiveOverflow),
  ),
  counter(
    'selvage_strangers_refused_datagrams_total',
    [],
    'Datagrams whose sender is no peer, dropped by the kernel for us; absent where it does not do that.',
    ({ forwarder }) => {
      const value = forwarder?.kernel.strangersRefused ?? undefined;
      return value === undefined ? [] : [{ value, labels: {} }];
    },
  ),
  counter(
    'selvage_tun_queue_overflow_frames_total',
    [],
    'Frames that the kernel dropped because the queues of the TUN device were full.',
    ofForwarder(({ kernel }) => kernel.tunQueueOverflow),
  ),
  counter(
    'selvage_lane_restarts_total',
    ['lane'],
    'Times that a lane was started again after a crash.',
    perLane(({ lane, restarts }) => [{ value: restarts, labels: { lane } }]),
  ),
  gauge(
    'selvage_lane_running',
    ['lane'],
    'Whether a lane forwards.',
    perLane(({ lane, running }) => [{ value: Number(running), labels: { lane } }]),
  ),
  gauge(
    'selvage_lane_route_table_generation',
    ['lane'],
    'Route table generation that a lane forwards by; 0 while it does not run.',
    perLane(({ lane, generation }) => [{ value: generation, labels: { lane } }]),
  ),
  gauge(
    'selvage_route_table_generation',
    [],
    'Newest route table generation; each change of the routes makes one.',
    ofForwarder(({ routes }) => routes.generation),
  ),
  gauge(
    'selvage_routes',
    [],
    'Routes in force.',
    ofForwarder(({ routes }) => routes.count),
  ),
  gauge(
    'selvage_routes_stale',
    [],
    'Whether the routes are those of an earlier run, not yet confirmed by the store.',
    ofStore(({ stale }) => Number(stale)),
  ),
  gauge(
    'selvage_mtu_bytes',
    [],
    'Largest inner packet.',
    ofForwarder(({ device }) => device.mtuBytes),
  ),
  gauge(
    'selvage_lease_held',
    [],
    'Whether a subnet is leased to this host.',
    ofStore(({ lease }) => Number(lease !== undefined)),
  ),
  gauge(
    'selvage_lease_expiry_timestamp_seconds',
    [],
    'When the lease ends unless it is renewed, in Unix time; absent for a reservation.',
    ofStore(({ lease }) => (lease?.expiresAt === undefined ? undefined : lease.expiresAt.getTime() / 1000)),
  ),
  gauge(
    'selvage_lease_reserved',
    [],
    'Whether the lease is a reservation, which does not end.',
    ofStore(({ lease }) => (lease === undefined ? undefined : Number(lease.reserved))),
  ),
  counter(
    'selvage_lease_renewals_total',
    [],
    'Renewals that worked.',
    ofStore(({ renewals }) => renewals),
  ),
  gauge(
    'selvage_store_connected',
    [],
    'Whether the store (etcd) can be heard.',
    ofStore(({ connection }) => Number(connection.connected)),
  ),
  counter(
    'selvage_store_disconnects_total',
    [],
    'Connections to the store that were lost.',
    ofStore(({ disconnects }) => disconnects),
  ),
  counter(
    'selvage_store_relists_total',
    [],
    'Times that all leases were read anew.',
    ofStore(({ relists }) => relists),
  ),
  gauge(
    'selvage_leases',
    [],
    'Leases of other hosts.',
    ofStore(({ leases }) => leases),
  ),
  gauge(
    'selvage_leases_skipped',
    [],
    'Entries of the store that are not routed to: malformed, or of another backend type.',
    ofStore(({ skipped }) => skipped),
  ),
  gauge(
    'selvage_health_status',
    ['status'],
    '1 for the status that /healthz tells, 0 for the others.',
    (view) => {
      const { status } = healthOf(view);
      return (['ok', 'degraded', 'failing'] as const).map((each) => ({
        value: Number(each === status),
        labels: { status: each },
      }));
    },
  ),
  gauge('selvage_build_info', ['version'], 'Always 1; the version is in the label.', ({ version }) => [
    { value: 1, labels: { version } },
  ]),
];

/** Every metric of selvage's own, for the documentation. `/metrics` has those of the process and of Node.js beside them. */
export const METRICS: readonly MetricDefinition[] = METRIC_TABLE.map(({ name, type, labels, help }) => ({
  name,
  type,
  labels,
  help,
}));

type Reader = Metric['read'];

function counter(name: string, labels: readonly string[], help: string, read: Reader): Metric {
  return { name, type: 'counter', labels, help, read };
}

function gauge(name: string, labels: readonly string[], help: string, read: Reader): Metric {
  return { name, type: 'gauge', labels, help, read };
}

function perDirection(name: string, help: string, total: (counters: DirectionCounters) => number): Metric {
  const samples = (stats: LaneStats): Sample[] =>
    DIRECTIONS.map((direction) => ({
      value: total(stats[direction]),
      labels: { direction, lane: stats.lane },
    }));
  return counter(name, ['direction', 'lane'], help, perLane(samples));
}

function perLane(samples: (lane: LaneStats) => Sample[]): Reader {
  return ({ forwarder }) => forwarder?.lanes.flatMap(samples) ?? [];
}

function ofForwarder(value: (stats: ForwarderStats) => number): Reader {
  return ({ forwarder }) => (forwarder === undefined ? [] : [{ value: value(forwarder), labels: {} }]);
}

function ofStore(value: (state: LeaseSourceState) => number | undefined): Reader {
  return ({ source }) => {
    const known = source.kind === 'store' ? value(source.state) : undefined;
    return known === undefined ? [] : [{ value: known, labels: {} }];
  };
}

/** Reasons that cannot happen in a direction have no series; the others have one from the start, at 0. */
function drops(stats: LaneStats, direction: Direction): Sample[] {
  return DROP_REASONS.filter(({ directions }) => directions.includes(direction)).map(({ name }) => ({
    value: stats[direction].drops[name],
    labels: { direction, reason: name, lane: stats.lane },
  }));
}

function answers({ lane, ...stats }: LaneStats, direction: Direction): Sample[] {
  const { answersSent, answersSuppressed, answersLost } = stats[direction];
  return [
    { value: answersSent, labels: { direction, result: 'sent', lane } },
    { value: answersSuppressed, labels: { direction, result: 'suppressed', lane } },
    { value: answersLost, labels: { direction, result: 'lost', lane } },
  ];
}

/** Four series for a peer add up with thousands of peers, most of them silent: so only of those that speak. */
function perPeer(name: string, help: string, what: 'frames' | 'bytes'): Metric {
  const [out, into]: [keyof PeerCounters, keyof PeerCounters] =
    what === 'frames' ? ['framesOut', 'framesIn'] : ['bytesOut', 'bytesIn'];
  const samples = (stats: PeerStats): Sample[] => {
    const peer = formatEndpoint(stats.address, stats.port);
    return [
      { value: stats[out], labels: { direction: 'outbound', peer } },
      { value: stats[into], labels: { direction: 'inbound', peer } },
    ];
  };
  return counter(name, ['direction', 'peer'], help, ({ forwarder }) =>
    (forwarder?.peers ?? []).filter(hasSpoken).flatMap(samples),
  );
}

function hasSpoken({ framesOut, framesIn }: PeerCounters): boolean {
  return framesOut > 0 || framesIn > 0;
}

function narrowPath({ address, port, pathMtuBytes }: PeerStats): Sample[] {
  return pathMtuBytes === null
    ? []
    : [{ value: pathMtuBytes, labels: { peer: formatEndpoint(address, port) } }];
}
