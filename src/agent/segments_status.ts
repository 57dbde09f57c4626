import { type AgentStatus, statusOf } from './agent_status.js';
import { type Health, healthOf, type Readiness, readinessOf } from './health.js';
import type { SegmentState, SegmentsView, SegmentView } from './segment_view.js';

/** One segment as `selvage status --json` prints it. */
export interface SegmentStatus {
  readonly name: string;
  readonly state: SegmentState;
  /** Why it failed, one line; null unless `state` is `failed`. */
  readonly reason: string | null;
  /** When it is started again; null unless `state` is `failed`. */
  readonly restartAt: string | null;
  /** Times that it was started again. */
  readonly restarts: number;
  /** As that of a daemon with one network. Of a segment that failed: what was known last. */
  readonly status: AgentStatus;
}

/** The state of a process with segments, as `selvage status --json` prints it and {@link readDaemonStatus} returns it. */
export interface SegmentsStatus {
  readonly version: string;
  /** Its process id, in its own PID namespace. */
  readonly pid: number;
  readonly startedAt: string;
  readonly health: Health;
  readonly readiness: Readiness;
  readonly segments: readonly SegmentStatus[];
}

/** The status for a view. Pure but for the process id. */
export function segmentsStatusOf(view: SegmentsView): SegmentsStatus {
  return {
    version: view.version,
    pid: process.pid,
    startedAt: view.startedAt.toISOString(),
    health: segmentsHealthOf(view),
    readiness: segmentsReadinessOf(view),
    segments: view.segments.map(segmentStatusOf),
  };
}

function segmentStatusOf({ name, state, failure, restarts, agent }: SegmentView): SegmentStatus {
  return {
    name,
    state,
    reason: failure?.reason ?? null,
    restartAt: failure?.restartAt.toISOString() ?? null,
    restarts,
    status: statusOf(agent),
  };
}

/**
 * The health of a process: `failing` when every segment is, as only then a new process may help; `degraded` when any is not
 * `ok`. A reason of a failing segment beside one that works is `degraded` here: a liveness probe must not end the others for it.
 */
export function segmentsHealthOf({ segments }: SegmentsView): Health {
  const each = segments.map(({ name, agent }) => ({ name, health: healthOf(agent) }));
  const isFailing = each.every(({ health }) => health.status === 'failing');
  const reasons = each.flatMap(({ name, health }) =>
    health.reasons.map((reason) => ({
      ...reason,
      severity: isFailing ? reason.severity : ('degraded' as const),
      message: named(name, reason.message),
      segment: name,
    })),
  );
  const sorted = [
    ...reasons.filter(({ severity }) => severity === 'failing'),
    ...reasons.filter(({ severity }) => severity !== 'failing'),
  ];
  return { status: sorted[0]?.severity ?? 'ok', reasons: sorted };
}

/** Ready when every segment is; the reasons name those that are not. */
export function segmentsReadinessOf({ segments }: SegmentsView): Readiness {
  const reasons = segments.flatMap(({ name, agent }) =>
    readinessOf(agent).reasons.map((reason) => ({
      ...reason,
      message: named(name, reason.message),
      segment: name,
    })),
  );
  return { ready: reasons.length === 0, reasons };
}

function named(segment: string, message: string): string {
  return `segment ${segment}: ${message}`;
}
