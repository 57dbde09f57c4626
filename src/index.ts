/**
 * selvage as a library. `selvage run` is a client of this file, and of nothing else.
 */
export { DROP_REASONS, DropReason, type DropReasonName } from './encap/drop_reason.js';
export { SelvageError } from './errors.js';
export { findUnderlay, type Underlay, type UnderlayChoice } from './host/underlay.js';
export { FileSource } from './lease/file_source.js';
export type { Peer, RouteChange, RouteListener, RouteSnapshot, RouteSource } from './lease/route_source.js';
export type { Route } from './routing/route_set.js';
export type { CountersSnapshot, DirectionCounters, DropCounts, PeerCounters } from './workers/counters.js';
export {
  followSource,
  type FollowedForwarder,
  type FollowListener,
  routeOfPeer,
} from './workers/follow_source.js';
export {
  createForwarder,
  type Forwarder,
  type ForwarderEvents,
  type ForwarderRoutes,
} from './workers/forwarder.js';
export { DEFAULT_PORT, type ForwarderOptions } from './workers/forwarder_options.js';
export type { ForwarderStats, LaneStats, PeerStats } from './workers/forwarder_stats.js';
