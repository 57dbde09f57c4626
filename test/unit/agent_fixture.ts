import { readCounters, LaneCounters, sumCounters } from '../../src/workers/counters.js';
import type { AgentView } from '../../src/agent/agent_view.js';
import type { LeaseSourceState, OwnLease } from '../../src/lease/lease_event.js';
import type { ForwarderStats, LaneStats, PeerStats } from '../../src/workers/forwarder_stats.js';

export const STARTED = new Date('2026-03-01T12:00:00Z');
export const CONFIRMED = new Date('2026-03-01T12:00:01Z');
export const EXPIRES = new Date('2026-03-02T12:00:01Z');
export const AWAY_SINCE = new Date('2026-03-01T12:30:00Z');

/** A lease of 24 hours. */
export const LEASE: OwnLease = {
  subnets: { ipv4: '10.1.2.0/24' },
  value: { publicIp: '192.0.2.1', backendType: '' },
  key: 'subnets/10.1.2.0-24',
  reserved: false,
  expiresAt: EXPIRES,
  confirmedAt: CONFIRMED,
};

/** A store that is connected and in step. */
export function sourceState(changes: Partial<LeaseSourceState> = {}): LeaseSourceState {
  return {
    store: 'etcd http://192.0.2.9:2379',
    connection: { connected: true, since: CONFIRMED, reason: undefined },
    lease: LEASE,
    stale: false,
    refuted: false,
    syncedAt: CONFIRMED,
    leases: 3,
    skipped: 1,
    revision: 9_007_199_254_740_993n,
    renewals: 2,
    disconnects: 4,
    relists: 5,
    duplicate: undefined,
    ...changes,
  };
}

/** Away for a while. */
export const AWAY: LeaseSourceState['connection'] = {
  connected: false,
  since: AWAY_SINCE,
  reason: 'etcd http://192.0.2.9:2379: connection refused',
};

export function laneCounters(): LaneCounters {
  return new LaneCounters(new SharedArrayBuffer(LaneCounters.byteLength(0)), 0);
}

/** A lane that runs by the newest table. */
export function lane(changes: Partial<LaneStats> = {}, counters = laneCounters()): LaneStats {
  return {
    lane: 0,
    running: true,
    restarts: 0,
    generation: 7,
    gso: true,
    ...readCounters(counters),
    ...changes,
  };
}

export function peer(changes: Partial<PeerStats> = {}): PeerStats {
  return {
    address: '192.0.2.2',
    port: 8285,
    pathMtuBytes: null,
    framesOut: 0,
    bytesOut: 0,
    framesIn: 0,
    bytesIn: 0,
    ...changes,
  };
}

export function stats(changes: Partial<ForwarderStats> = {}): ForwarderStats {
  const lanes = changes.lanes ?? [lane()];
  return {
    device: {
      name: 'flannel0',
      address: '10.1.2.0',
      ipv6Address: null,
      mtuBytes: 1472,
      offloads: { checksum: true, tso4: true, tso6: true, tsoEcn: true, uso: true },
    },
    socket: {
      address: '192.0.2.1',
      port: 8285,
      gso: true,
      gro: true,
      receiveBufferBytes: 8_388_608,
      sendBufferBytes: 8_388_608,
    },
    routes: { count: 2, generation: 7 },
    kernel: { udpReceiveOverflow: 0, strangersRefused: 0, tunQueueOverflow: 0 },
    ...sumCounters(lanes),
    lanes,
    peers: [],
    ...changes,
  };
}

/** An agent with nothing to complain about, over a store. */
export function view(changes: Partial<AgentView> = {}): AgentView {
  return {
    version: '1.2.3',
    startedAt: STARTED,
    networkName: '/coreos.com/network',
    source: { kind: 'store', state: sourceState() },
    snapshot: { network: '10.1.0.0/16', subnet: '10.1.2.0/24', underlay: 4, port: 8285 },
    publicIp: '192.0.2.1',
    underlay: { interface: 'eth0', address: '192.0.2.1', mtuBytes: 1500 },
    forwarder: stats(),
    subnetFile: { path: '/run/flannel/subnet.env', written: true },
    firewall: { masquerade: true, forward: true },
    routes: () => [
      { prefix: '10.1.10.0/24', nextHop: '192.0.2.2', port: 8285 },
      { prefix: '10.1.9.0/24', nextHop: '192.0.2.3', port: 8286 },
    ],
    ...changes,
  };
}

/** {@link view} with another state of its store. */
export function storeView(state: Partial<LeaseSourceState>, changes: Partial<AgentView> = {}): AgentView {
  return view({ source: { kind: 'store', state: sourceState(state) }, ...changes });
}

/** The same over a routes file. */
export function fileView(changes: Partial<AgentView> = {}): AgentView {
  return view({ source: { kind: 'file', path: '/etc/routes.json' }, ...changes });
}
