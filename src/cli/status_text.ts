import type {
  AgentStatus,
  DirectionCounters,
  ForwarderStats,
  HealthReason,
  LeaseStatus,
  PeerStats,
  StoreStatus,
} from '../index.js';
import { formatEndpoint } from '../index.js';
import { formatBytes, formatCount, formatSpan } from './figures.js';
import { textTable } from './text_table.js';

/** Of thousands of peers, those with most traffic. */
const TOP_PEERS = 5;
/** One line for each lane as long as they fit on a screen beside the rest. */
const LISTED_LANES = 8;

/** A line of the first part: what it is about, and the text. */
type Row = readonly [label: string, text: string];

/**
 * The status as people read it: about one screen.
 *
 * @param now on the clock of the daemon's dates
 */
export function statusText(status: AgentStatus, now: Date): string {
  const { source, forwarder } = status;
  const rows: Row[] = [
    ['selvage', `${status.version}, process ${status.pid}, up ${ago(status.startedAt, now)}`],
    ...healthRows(status, now),
    ['network', networkText(status)],
    ['subnet', subnetText(status)],
    ['public IP', publicIpText(status)],
  ];
  if (source.kind === 'file') rows.push(['source', `file ${source.path}`]);
  else rows.push(...storeRows(source, now));
  if (status.subnetFile !== null) rows.push(['subnet file', subnetFileText(status.subnetFile)]);
  if (status.firewall !== null) rows.push(['firewall', firewallText(status.firewall)]);
  if (forwarder === null) return `${lines(rows)}\n`;
  rows.push(['routes', routesText(forwarder, source.kind === 'store' && source.stale)]);
  rows.push(['device', deviceText(forwarder)], ...laneRows(forwarder));
  return `${[lines(rows), '', ...trafficTable(forwarder), ...peerTable(forwarder.peers)].join('\n')}\n`;
}

/** Reasons repeat what servers and other hosts said: a control character in it must not reach the terminal. */
function lines(rows: readonly Row[]): string {
  const safe = rows.map(([label, text]) => [label, text.replace(/\p{Cc}/gu, '?')]);
  return textTable(safe, 2).join('\n');
}

function healthRows({ health, readiness }: AgentStatus, now: Date): Row[] {
  const ready = readiness.ready ? 'ready' : 'not ready';
  const told = new Set(health.reasons.map(({ code }) => code));
  const missing = readiness.reasons.filter(({ code }) => !told.has(code));
  return [
    ['health', `${health.status}, ${ready}`],
    ...health.reasons.map((reason): Row => ['', reasonText(reason, now)]),
    ...missing.map(({ message }): Row => ['', `not ready: ${message}`]),
  ];
}

function reasonText({ severity, message, since }: HealthReason, now: Date): string {
  return `${severity}: ${message}${since === null ? '' : ` (for ${ago(since, now)})`}`;
}

function networkText({ network, networkName }: AgentStatus): string {
  if (network === null) return `not known yet (${networkName})`;
  return `${listed(network.network, network.ipv6Network)} (${networkName})`;
}

function subnetText({ network }: AgentStatus): string {
  if (network === null) return 'none yet';
  return listed(network.subnet, network.ipv6Subnet);
}

function listed(...prefixes: (string | null)[]): string {
  return prefixes.filter((prefix) => prefix !== null).join(', ');
}

function publicIpText({ publicIp, underlay }: AgentStatus): string {
  if (underlay === null) return publicIp ?? 'not known yet';
  const { address, mtuBytes } = underlay;
  return `${publicIp ?? 'not known yet'}, ${address} on ${underlay.interface}, MTU ${mtuBytes}`;
}

function storeRows(source: StoreStatus, now: Date): Row[] {
  const { connection, lease, leases, skipped } = source;
  const span = ago(connection.since, now);
  const state = connection.connected
    ? `connected for ${span}`
    : `away for ${span}: ${connection.reason ?? 'not reached yet'}`;
  const synced = source.syncedAt === null ? 'never in step' : `in step ${ago(source.syncedAt, now)} ago`;
  const others = `${formatCount(leases)} of other hosts${skipped === 0 ? '' : `, ${formatCount(skipped)} not routed to`}`;
  return [
    ['lease', lease === null ? 'none' : leaseText(lease, now)],
    ['leases', `${others}; ${synced}, revision ${source.revision}`],
    ['store', source.store],
    ['', `${state}; lost ${source.disconnects} times`],
  ];
}

function leaseText(
  { subnet: ipv4Subnet, ipv6Subnet, reserved, expiresAt, confirmedAt }: LeaseStatus,
  now: Date,
): string {
  const subnet = listed(ipv4Subnet, ipv6Subnet);
  const confirmed = `confirmed ${ago(confirmedAt, now)} ago`;
  if (reserved || expiresAt === null) return `${subnet}, reserved, ${confirmed}`;
  return `${subnet}, ${expiryText(expiresAt, now)}, ${confirmed}`;
}

function expiryText(expiresAt: string, now: Date): string {
  const seconds = (Date.parse(expiresAt) - now.getTime()) / 1000;
  return seconds > 0 ? `expires in ${formatSpan(seconds)}` : `expired ${formatSpan(-seconds)} ago`;
}

function subnetFileText({ path, written, error }: NonNullable<AgentStatus['subnetFile']>): string {
  return `${path}, ${error ?? (written ? 'written' : 'not written yet')}`;
}

function firewallText({ masquerade, forward, error }: NonNullable<AgentStatus['firewall']>): string {
  const rules = [...(masquerade ? ['masquerade'] : []), ...(forward ? ['forward'] : [])];
  return `${rules.join(', ') || 'no rules'}${error === null ? '' : `: ${error}`}`;
}

function routesText({ routes }: ForwarderStats, stale: boolean): string {
  return `${formatCount(routes.count)}${stale ? ', STALE: of an earlier run' : ''}, generation ${routes.generation}`;
}

function deviceText({ device, socket }: ForwarderStats): string {
  const addresses = listed(device.address, device.ipv6Address);
  return `${device.name} ${addresses}, MTU ${device.mtuBytes}, UDP ${formatEndpoint(socket.address, socket.port)}`;
}

function laneRows({ lanes, routes }: ForwarderStats): Row[] {
  const unusual = lanes.filter(({ running, restarts, generation }) => {
    return !running || restarts > 0 || generation !== routes.generation;
  });
  const shown = unusual.slice(0, LISTED_LANES).map(({ lane, running, restarts, generation }): Row => {
    const state = running ? `generation ${generation}` : 'down';
    return ['', `lane ${lane}: ${state}, started again ${restarts} times`];
  });
  const more = unusual.length - shown.length;
  const running = lanes.filter((lane) => lane.running).length;
  return [
    ['lanes', `${running} of ${lanes.length} running`],
    ...shown,
    ...(more > 0 ? [['', `and ${more} more`] as const] : []),
  ];
}

/** Both directions side by side; reasons and losses that counted nothing are left out. */
function trafficTable(stats: ForwarderStats): string[] {
  const { outbound, inbound, kernel } = stats;
  const both = (label: string, read: (counters: DirectionCounters) => number, format = formatCount) => [
    label,
    format(read(outbound)),
    format(read(inbound)),
  ];
  const reasons = Object.keys(outbound.drops) as (keyof DirectionCounters['drops'])[];
  const dropped = reasons.filter((reason) => outbound.drops[reason] + inbound.drops[reason] > 0);
  const rows = [
    ['traffic', 'out', 'in'],
    both('frames', (counters) => counters.framesSent),
    both('bytes', (counters) => counters.bytesSent, formatBytes),
    ...dropped.map((reason) => both(`dropped ${reason}`, (counters) => counters.drops[reason])),
  ];
  if (kernel.tunQueueOverflow + kernel.udpReceiveOverflow > 0) {
    const lost = [kernel.tunQueueOverflow, kernel.udpReceiveOverflow];
    rows.push(['lost in kernel queues', ...lost.map(formatCount)]);
  }
  if ((kernel.strangersRefused ?? 0) > 0) {
    rows.push(['strangers refused by the kernel', '', formatCount(kernel.strangersRefused!)]);
  }
  return textTable(rows, 1);
}

/** Peers on narrower paths, and those with most traffic. */
function peerTable(peers: readonly PeerStats[]): string[] {
  return [...narrowPaths(peers), ...busiestPeers(peers)];
}

function narrowPaths(peers: readonly PeerStats[]): string[] {
  const narrow = peers.filter(({ pathMtuBytes }) => pathMtuBytes !== null);
  if (narrow.length === 0) return [];
  const rows = narrow
    .slice(0, TOP_PEERS)
    .map(({ address, port, pathMtuBytes }) => [formatEndpoint(address, port), `${pathMtuBytes}`]);
  const more = narrow.length - rows.length;
  const heading = more > 0 ? `narrower paths, and ${formatCount(more)} more` : 'narrower paths';
  return ['', ...textTable([[heading, 'MTU'], ...rows], 1)];
}

function busiestPeers(peers: readonly PeerStats[]): string[] {
  const bytes = ({ bytesOut, bytesIn }: PeerStats): number => bytesOut + bytesIn;
  const top = peers.filter((peer) => bytes(peer) > 0).sort((a, b) => bytes(b) - bytes(a));
  if (top.length === 0) return [];
  const rows = top
    .slice(0, TOP_PEERS)
    .map((peer) => [
      formatEndpoint(peer.address, peer.port),
      formatCount(peer.framesOut),
      formatBytes(peer.bytesOut),
      formatCount(peer.framesIn),
      formatBytes(peer.bytesIn),
    ]);
  const heading = top.length > TOP_PEERS ? `top ${TOP_PEERS} of ${formatCount(top.length)} peers` : 'peers';
  return ['', ...textTable([[heading, 'frames out', 'bytes out', 'frames in', 'bytes in'], ...rows], 1)];
}

function ago(since: string, now: Date): string {
  return formatSpan((now.getTime() - Date.parse(since)) / 1000);
}
