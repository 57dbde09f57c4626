/**
 * selvage as a library. `selvage run` is a client of this file, and of nothing else.
 */
export { DROP_REASONS, DropReason, type DropReasonName } from './encap/drop_reason.js';
export { SelvageError } from './errors.js';
export { formatEndpoint, type IpFamily, parseAddress } from './ip_address.js';
export { listFirewalls, removeFirewall } from './host/firewall.js';
export { ServiceManager } from './host/service_manager.js';
export { findUnderlay, type Underlay, type UnderlayChoice } from './host/underlay.js';
export type { EtcdStoreOptions } from './lease/etcd/etcd_options.js';
export type { EtcdStore } from './lease/etcd/etcd_store.js';
export { openEtcdStore } from './lease/etcd/open_etcd_store.js';
export { FileSource } from './lease/file/file_source.js';
export type { Lease, LeaseSubnets, LeaseValue } from './lease/lease.js';
export type { LeaseEvent, LeaseSourceState, OwnLease, StoreConnection } from './lease/lease_event.js';
export { LeaseSource } from './lease/lease_source.js';
export type { LeaseSourceListener, LeaseSourceOptions } from './lease/lease_source_options.js';
export { MemorySpace } from './lease/store/memory_space.js';
export { MemoryStore } from './lease/store/memory_store.js';
export { type NetworkConfig, parseNetworkConfig } from './lease/network/network_config.js';
export {
  type LeaseRecord,
  listLeases,
  type ListLeasesOptions,
  MOST_TIMED_LEASES,
  showLease,
} from './lease/lease_admin.js';
export {
  type Release,
  releaseLease,
  type ReleaseOptions,
  type Reservation,
  reserveLease,
  type ReserveOptions,
} from './lease/lease_reservation.js';
export type {
  LeaseStore,
  StoreEntry,
  StoreEvent,
  StoreListing,
  WatchListener,
} from './lease/store/lease_store.js';
export { findJsonFault, type JsonFault } from './lease/file/json_fault.js';
export { nearName } from './lease/file/near_name.js';
export type { Peer, RouteChange, RouteListener, RouteSnapshot, RouteSource } from './lease/route_source.js';
export type { Route, RouteInForce, RouteUpdate } from './routing/route_set.js';
export type { CountersSnapshot, DirectionCounters, DropCounts, PeerCounters } from './workers/counters.js';
export {
  createForwarder,
  type Forwarder,
  type ForwarderEvents,
  type ForwarderRoutes,
} from './workers/forwarder.js';
export { DEFAULT_PORT, type ForwarderOptions } from './workers/forwarder_options.js';
export type { ForwarderStats, LaneStats, PeerStats } from './workers/forwarder_stats.js';
export { type Agent, type AgentEvents, createAgent } from './agent/agent.js';
export {
  type AgentFirewall,
  type AgentOptions,
  DEFAULT_STATE_DIRECTORY,
  type FileAgentSource,
  type StoreAgentSource,
} from './agent/agent_options.js';
export {
  type AgentRoute,
  type AgentStatus,
  agentRoutesOf,
  type LeaseStatus,
  type NetworkStatus,
  type SourceStatus,
  statusOf,
  type StoreStatus,
} from './agent/agent_status.js';
export type {
  AgentView,
  FirewallView,
  NetworkView,
  SourceView,
  SubnetFileView,
  UnderlayView,
} from './agent/agent_view.js';
export { VERSION } from './version.js';
export {
  CONTROL_DIRECTORY,
  isSegments,
  listControlSockets,
  readAgentRoutes,
  readDaemonStatus,
  readStatus,
} from './agent/control_client.js';
export { ControlServer, type ControlServerOptions, type HealthAddress } from './agent/control_server.js';
export {
  type Health,
  healthOf,
  type HealthReason,
  type Readiness,
  readinessOf,
  type Reason,
  type ReasonCode,
} from './agent/health.js';
export { type MetricDefinition, METRICS } from './agent/metric_table.js';
export { pcapngInterface, pcapngPacket, type PcapngPacket, pcapngSectionHeader } from './pcapng.js';
export { checkTraceOptions, type TraceFilter, type TraceOptions } from './workers/trace_filter.js';
export type { TraceFlow, TraceListener, TraceRecord, TraceTotals } from './workers/trace_record.js';
export type { TraceSession } from './workers/trace_session.js';
export { type TraceClientListener, traceFrames, type TraceFramesOptions } from './agent/trace_client.js';
export { plainOf, type TraceStart } from './agent/trace_lines.js';
export type { Segment, SegmentEvents } from './agent/segment.js';
export { findSegmentConflicts } from './agent/segment_conflicts.js';
export {
  checkSegmentName,
  type OpenedStore,
  type OpeningStoreSource,
  type SegmentAgentOptions,
  type SegmentOptions,
  type SegmentsOptions,
} from './agent/segment_options.js';
export type { ProcessView, SegmentState, SegmentsView, SegmentView } from './agent/segment_view.js';
export { createSegments, type Segments } from './agent/segments.js';
export { type SegmentsStatus, segmentsStatusOf, type SegmentStatus } from './agent/segments_status.js';
export type { PathChange } from './workers/path_monitor.js';
export type { Refusal } from './workers/refusal_watch.js';
export {
  checkPaths,
  type CheckPathsOptions,
  DEFAULT_MOST_PEERS,
  type PathReport,
} from './diagnosis/check_paths.js';
export type {
  Drops,
  EchoOutcome,
  InnerFacts,
  NetworkFacts,
  PeerFacts,
  PortOutcome,
  Probing,
  Target,
  UnderlayFacts,
} from './diagnosis/facts.js';
export type { Finding, Severity } from './diagnosis/finding.js';
export type { PathVerdict } from './diagnosis/findings.js';
