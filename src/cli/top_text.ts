import { formatEndpoint } from '../index.js';
import { formatCount } from './figures.js';
import { textTable } from './text_table.js';
import { type Flow, type NetworkRates, type PeerOrder, type Rate, sortPeers } from './top_rates.js';

/** One network of a picture, or why it cannot be shown. */
export type TopBlock =
  | { readonly kind: 'rates'; readonly rates: NetworkRates }
  | { readonly kind: 'failure'; readonly name: string; readonly message: string };

export interface TopView {
  /** Of the terminal; Infinity where nothing is to be cut. */
  readonly columns: number;
  readonly rows: number;
  readonly order: PeerOrder;
}

/** Lanes in one line each up to this many; more are told in one line, but for those that do not run. */
const MOST_LANES = 8;
const MOST_LOSSES = 8;
/** Peers of a network where there is room for all. */
const MOST_PEERS = 1000;
/** Fewer are not worth a table. */
const LEAST_PEERS = 3;

/** The picture: lines that fit the terminal. Peers are left out first when it is too small. */
export function topLines(blocks: readonly TopBlock[], view: TopView): string[] {
  const heads = blocks.map(headOf);
  const used = heads.reduce((sum, lines) => sum + lines.length + 1, 0);
  const room = Math.max(0, view.rows - used);
  const shares = shareRows(blocks, room);
  const lines = blocks.flatMap((block, i) => [
    ...heads[i]!,
    ...(block.kind === 'rates' ? peerLines(block.rates, view.order, shares[i]!) : []),
    '',
  ]);
  return lines
    .slice(0, -1)
    .slice(0, Math.max(0, view.rows))
    .map((line) => clip(safe(line), view.columns));
}

/** Rows for the peers of each network: an equal share, and what the others leave of theirs. */
function shareRows(blocks: readonly TopBlock[], room: number): number[] {
  const wanted = blocks.map((block) => (block.kind === 'rates' ? wantedRows(block.rates) : 0));
  const shares = wanted.map(() => 0);
  const byNeed = wanted.map((rows, i) => ({ rows, i })).sort((a, b) => a.rows - b.rows);
  let left = room;
  byNeed.forEach(({ rows, i }, taken) => {
    shares[i] = Math.min(rows, Math.floor(left / (byNeed.length - taken)));
    left -= shares[i];
  });
  return shares;
}

/** Heading and peers. */
function wantedRows({ peers }: NetworkRates): number {
  return peers.length === 0 ? 0 : 1 + Math.min(peers.length, MOST_PEERS);
}

function headOf(block: TopBlock): string[] {
  if (block.kind === 'failure') return [`${block.name}: ${block.message}`];
  const { rates } = block;
  return [
    titleLine(rates),
    healthLine(rates),
    ...trafficLines(rates),
    ...laneLines(rates),
    ...lossLines(rates),
  ];
}

function titleLine({ name, status }: NetworkRates): string {
  const { network, forwarder } = status;
  const subnets = [network?.subnet, network?.ipv6Subnet].filter((subnet) => subnet != null);
  const device =
    forwarder === null ? 'no device' : `${forwarder.device.name} MTU ${forwarder.device.mtuBytes}`;
  const routes = forwarder === null ? '' : `, ${formatCount(forwarder.routes.count)} routes`;
  return `${name}: ${device}, ${subnets.join(', ') || 'no subnet'}${routes}`;
}

function healthLine({ status: { health, readiness } }: NetworkRates): string {
  const reasons = health.reasons.map(({ message }) => message);
  const ready = readiness.ready ? 'ready' : 'not ready';
  return `health ${health.status}, ${ready}${reasons.length === 0 ? '' : `: ${reasons.join('; ')}`}`;
}

function trafficLines({ out, in: into }: NetworkRates): string[] {
  const row = (label: string, flow: Flow): string[] => [
    label,
    `${formatRate(flow.frames)} frames/s`,
    formatBitRate(flow.bits),
  ];
  return textTable([row('out', out), row('in', into)], 1);
}

function laneLines({ lanes }: NetworkRates): string[] {
  const running = lanes.filter((lane) => lane.running).length;
  if (lanes.length === 0) return [];
  const listed =
    lanes.length <= MOST_LANES ? lanes : lanes.filter((lane) => !lane.running || lane.restarts > 0);
  const texts = listed.slice(0, MOST_LANES).map(({ lane, running, restarts, out, in: into }) => {
    const restarted = restarts === 0 ? '' : `, restarts ${restarts}`;
    const state = running ? `out ${formatRate(out)}, in ${formatRate(into)} frames/s` : 'DOWN';
    return `  lane ${lane}: ${state}${restarted}`;
  });
  return [`lanes ${running} of ${lanes.length} running`, ...texts];
}

function lossLines({ losses }: NetworkRates): string[] {
  if (losses.length === 0) return [];
  const rows = losses
    .slice(0, MOST_LOSSES)
    .map(({ label, total, rate }) => [label, formatCount(total), formatRate(rate)]);
  const more = losses.length - rows.length;
  const heading = more > 0 ? `lost, and ${more} more reasons` : 'lost';
  return textTable([[heading, 'frames', 'frames/s'], ...rows], 1);
}

function peerLines({ peers }: NetworkRates, order: PeerOrder, rows: number): string[] {
  if (rows < Math.min(LEAST_PEERS, 1 + peers.length) || peers.length === 0) return [];
  const shown = sortPeers(peers, order).slice(0, Math.min(rows - 1, MOST_PEERS));
  const of = shown.length < peers.length ? ` (${shown.length} of ${formatCount(peers.length)})` : '';
  const heading = [`peers by ${order}${of}`, 'out', 'frames/s', 'in', 'frames/s', 'path MTU'];
  const cells = shown.map((peer) => [
    formatEndpoint(peer.address, peer.port),
    formatBitRate(peer.out.bits),
    formatRate(peer.out.frames),
    formatBitRate(peer.in.bits),
    formatRate(peer.in.frames),
    peer.pathMtuBytes === null ? '' : `${peer.pathMtuBytes}`,
  ]);
  return textTable([heading, ...cells], 1);
}

const UNITS = ['', 'k', 'M', 'G', 'T'] as const;

/** A rate to three digits with an SI prefix, e.g. `812`, `1.25 M`; `-` for none. */
export function formatRate(rate: Rate): string {
  const [value, unit] = scaled(rate);
  return unit === '' ? value : `${value} ${unit}`;
}

/** A rate of bits, e.g. `9.41 Gbit/s`; `-` for none. */
export function formatBitRate(rate: Rate): string {
  if (rate === null) return '-';
  const [value, unit] = scaled(rate);
  return `${value} ${unit}bit/s`;
}

function scaled(rate: Rate): [value: string, unit: string] {
  if (rate === null) return ['-', ''];
  let value = rate;
  let unit = 0;
  // 999.5 would be shown as 1000.
  for (; value >= 999.5 && unit < UNITS.length - 1; unit++) value /= 1000;
  const isWhole = unit === 0 && Number.isInteger(value);
  const digits = isWhole || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return [value.toFixed(digits), UNITS[unit]!];
}

/** What servers and other hosts said must not reach the terminal as control characters. */
function safe(line: string): string {
  return line.replace(/\p{Cc}/gu, '?');
}

function clip(line: string, columns: number): string {
  return line.length > columns ? line.slice(0, Math.max(0, columns)) : line;
}
