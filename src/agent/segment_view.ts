import type { AgentView } from './agent_view.js';

/**
 * | from     | to       | by                                        | never |
 * |----------|----------|-------------------------------------------|-------|
 * | starting | running  | its agent is ready                        | `running` before it forwards |
 * | starting | failed   | its agent cannot be made or started       | another segment in another state for it |
 * | running  | failed   | its agent cannot go on                    | two agents of one segment |
 * | failed   | starting | the pause has passed                      | a start without a pause after a failure |
 */
export type SegmentState = 'starting' | 'running' | 'failed';

/** The state of one segment at one moment. Main thread; the one who asks owns it. */
export interface SegmentView {
  readonly name: string;
  readonly state: SegmentState;
  /** Why it failed, one line, and when it is started again; undefined in the other states. */
  readonly failure: { readonly reason: string; readonly restartAt: Date } | undefined;
  /** Times that it was started again. */
  readonly restarts: number;
  /** What its agent says; of one that failed what it said last, with no forwarder and `fatal` the reason. */
  readonly agent: AgentView;
}

/** What a process with segments hands to those who watch it. */
export interface SegmentsView {
  /** Of selvage, e.g. `0.2.0`. */
  readonly version: string;
  readonly startedAt: Date;
  /** In the order of the configuration. */
  readonly segments: readonly SegmentView[];
}

/** What a process shows: one network, or segments. */
export type ProcessView = AgentView | SegmentsView;

/** Whether it has segments. */
export function hasSegments(view: ProcessView): view is SegmentsView {
  return 'segments' in view;
}
