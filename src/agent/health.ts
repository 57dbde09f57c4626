/**
 * Whether an agent does its work, and if not, why: pure rules over an {@link AgentView}.
 *
 * - `failing`: frames of this host are not carried, and a new process may help. A liveness probe may end this one.
 * - `degraded`: something needs a hand sooner or later, and a new process would not help. The control plane being away is
 *   this: ending a forwarder for it would turn a fault of the control plane into one of the data path. So is waiting for a
 *   network config or a lease, when no frames are carried yet: that is what readiness is for.
 */
import type { LaneStats } from '../workers/forwarder_stats.js';
import type { AgentView, SourceView } from './agent_view.js';

/** Names one kind of reason; stable, so that alerts can match it. */
export type ReasonCode =
  /** The agent cannot go on and is about to end. */
  | 'fatal'
  /** There is no forwarder: not yet, or not while the agent moves to another subnet. */
  | 'notForwarding'
  /** A lane is down and starts again by itself; its share of the frames is lost meanwhile. */
  | 'laneDown'
  /** No subnet is leased to this host. */
  | 'noLease'
  /** The store cannot be heard: leases are not renewed, changes are not seen. */
  | 'storeAway'
  /** The routes are those of an earlier run. */
  | 'staleRoutes'
  /** Another host uses our public IP. */
  | 'duplicatePublicIp'
  /** The last edit of the routes file is not in force. */
  | 'routesFile'
  /** The routes that the leases make are more than the table takes; those of before are in force. */
  | 'routesRefused'
  /** The rules in nftables may not be in force. */
  | 'firewall'
  /** The blackhole route to the own subnet may not be there. */
  | 'blackholeRoute'
  /** subnet.env does not hold the present subnet. */
  | 'subnetFile'
  /** A lane still has the empty table that a forwarder begins with. */
  | 'routesNotApplied';

/** Why something is not as it should be. */
export interface Reason {
  readonly code: ReasonCode;
  /** One line for people. */
  readonly message: string;
  /** Since when, ISO 8601 in UTC; null when that is not known. */
  readonly since: string | null;
  /** The segment that it is about; only of a process with segments. */
  readonly segment?: string;
}

/** A {@link Reason} and how bad it is. */
export interface HealthReason extends Reason {
  readonly severity: 'degraded' | 'failing';
}

/** What `/healthz` tells. */
export interface Health {
  /** The worst severity among the reasons; `ok` without reasons. */
  readonly status: 'ok' | 'degraded' | 'failing';
  /** Failing ones first. */
  readonly reasons: readonly HealthReason[];
}

/** What `/readyz` tells: whether pods may be started on this host. */
export interface Readiness {
  readonly ready: boolean;
  /** What is missing; empty when ready. */
  readonly reasons: readonly Reason[];
}

/** A forwarder begins with an empty table; what the agent sets makes the later generations. */
const EMPTY_TABLE_GENERATION = 1;

/** Judges whether the agent does its work. */
export function healthOf(view: AgentView): Health {
  const failing = failures(view).map((reason) => ({ severity: 'failing' as const, ...reason }));
  const degraded = degradations(view).map((reason) => ({ severity: 'degraded' as const, ...reason }));
  const reasons = [...failing, ...degraded];
  return { status: reasons[0]?.severity ?? 'ok', reasons };
}

/**
 * Judges whether the agent is ready: every lane runs by the routes that were set, the subnet is this host's, and whoever
 * waits for subnet.env finds it. Routes of an earlier run are good enough, as etcd may be away when a host starts.
 */
export function readinessOf(view: AgentView): Readiness {
  const { forwarder, fatal, subnetFile } = view;
  const reasons = [...(fatal === undefined ? [] : [fatalReason(fatal)]), ...missingLease(view)];
  if (forwarder === undefined) reasons.push(notForwarding(view));
  else reasons.push(...forwarder.lanes.flatMap(unreadyLane));
  if (subnetFile !== undefined && !subnetFile.written) {
    const why = subnetFile.error ?? 'not written yet';
    reasons.push(reason('subnetFile', `${subnetFile.path}: ${why}`));
  }
  return { ready: reasons.length === 0, reasons };
}

function failures(view: AgentView): Reason[] {
  const { forwarder, fatal } = view;
  // What follows from it (the lanes have stopped) would only hide it.
  if (fatal !== undefined) return [fatalReason(fatal)];
  if (forwarder === undefined || forwarder.lanes.some(({ running }) => running)) return [];
  return forwarder.lanes.flatMap(downLane);
}

function degradations(view: AgentView): Reason[] {
  const { forwarder, subnetFile, firewall, blackholeRoute } = view;
  const lanes = forwarder?.lanes ?? [];
  // Waiting for a network config or a lease is no fault of this process: a restart would only wait again.
  const reasons = missingLease(view);
  if (forwarder === undefined) reasons.push(notForwarding(view));
  if (lanes.some(({ running }) => running)) reasons.push(...lanes.flatMap(downLane));
  reasons.push(...sourceFaults(view.source));
  if (subnetFile?.error !== undefined) {
    reasons.push(reason('subnetFile', `${subnetFile.path}: ${subnetFile.error}`));
  }
  if (firewall?.error !== undefined) reasons.push(reason('firewall', firewall.error));
  if (blackholeRoute?.error !== undefined) reasons.push(reason('blackholeRoute', blackholeRoute.error));
  return reasons;
}

function sourceFaults(source: SourceView): Reason[] {
  if (source.kind === 'file') return source.error === undefined ? [] : [reason('routesFile', source.error)];
  const { store, connection, stale, syncedAt, duplicate } = source.state;
  const reasons = source.error === undefined ? [] : [reason('routesRefused', source.error)];
  if (!connection.connected) {
    // A store's own messages name it.
    reasons.push(reason('storeAway', connection.reason ?? `${store}: not reached yet`, connection.since));
  }
  if (stale) {
    const text = 'the routes are those of an earlier run, and the store has not confirmed them yet';
    reasons.push(reason('staleRoutes', text, syncedAt));
  }
  if (duplicate !== undefined) {
    reasons.push(
      reason('duplicatePublicIp', `${duplicate} uses our public IP: give one of the two another one`),
    );
  }
  return reasons;
}

/** With the routes of an earlier run goes its subnet, which is as good as held until the store says otherwise. */
function missingLease({ source, snapshot }: AgentView): Reason[] {
  if (source.kind === 'file' || source.state.lease !== undefined) return [];
  if (source.state.stale && !source.state.refuted && snapshot !== undefined) return [];
  return [reason('noLease', 'no subnet is leased to this host')];
}

function notForwarding({ snapshot, startedAt }: AgentView): Reason {
  if (snapshot === undefined) {
    return reason('notForwarding', 'waiting for the network config and a subnet', startedAt);
  }
  return reason('notForwarding', `the forwarder for ${snapshot.subnet} is not there yet`);
}

function fatalReason(fatal: string): Reason {
  return reason('fatal', fatal);
}

function downLane({ lane, running, restarts }: LaneStats): Reason[] {
  const often = restarts === 0 ? '' : `, started again ${restarts} times so far`;
  return running ? [] : [reason('laneDown', `lane ${lane} does not run${often}`)];
}

function unreadyLane(stats: LaneStats): Reason[] {
  if (!stats.running || stats.generation > EMPTY_TABLE_GENERATION) return downLane(stats);
  return [reason('routesNotApplied', `lane ${stats.lane} has no routes yet`)];
}

function reason(code: ReasonCode, message: string, since?: Date): Reason {
  return { code, message, since: since?.toISOString() ?? null };
}
