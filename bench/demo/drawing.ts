import type { ForwarderStats } from '../../src/index.js';
import type { Lab } from '../../test/netns/lab.js';
import { count } from './format.js';

/** Width of one host. */
const COLUMNS = 46;
/** Between the hosts. */
const GAP = 2;
const BLANK_CELL = cell('', '', '');

/**
 * Draws the way from pod to pod, with the daemons' counters where they were counted.
 *
 * @param stats of the lab's two hosts, taken when nothing moves
 * @param socketFull per pod, datagrams that came so far but found the socket of their program full
 */
export function drawPath(
  lab: Lab,
  stats: readonly [ForwarderStats, ForwarderStats],
  socketFull: readonly [number, number],
): string[] {
  const drops = stats.map(dropCells);
  const rows = Math.max(...drops.map((cells) => cells.length));
  const [left = [], right = []] = stats.map((each, i) => [
    ...drawPod(lab, i, socketFull[i] ?? 0),
    ...drawHost(lab, i, each, padded(drops[i] ?? [], rows)),
  ]);
  const [one, two] = [lab.host(0), lab.host(1)];
  const wire = ` ${one.underlay} ${one.publicIp} `.padEnd(COLUMNS + GAP - 1, '- ');
  return [
    ...left.map((line, i) => `${line.padEnd(COLUMNS + GAP)}${right[i] ?? ''}`.trimEnd()),
    `   ${wire} ${two.underlay} ${two.publicIp}`,
    '',
    between('host1 -> host2', stats[0], stats[1]),
    between('host2 -> host1', stats[1], stats[0]),
  ];
}

/** A pod and the bridge that joins it to its host. */
function drawPod(lab: Lab, index: number, socketFull: number): string[] {
  const pod = lab.pod(index);
  return [
    `    ${pod.label} ${pod.address}${socketFull > 0 ? `  socket full ${count(socketFull)}` : ''}`,
    '     |',
    `    cni0 ${lab.host(index).bridgeIp}`,
    '     |',
  ];
}

/** One daemon, from its TUN device down to its UDP socket. */
function drawHost(lab: Lab, index: number, stats: ForwarderStats, drops: readonly string[]): string[] {
  const { outbound, inbound, kernel, device, socket } = stats;
  return [
    edge(` ${lab.host(index).label}: selvage run `),
    cell(device.name, 'read', count(outbound.framesReceived)),
    cell('', 'written', count(inbound.framesSent)),
    cell('', 'queue full', count(kernel.tunQueueOverflow)),
    ...drops,
    cell(`UDP ${socket.port}`, 'sent', count(outbound.framesSent)),
    cell('', 'received', count(inbound.framesReceived)),
    cell('', 'buffer full', count(kernel.udpReceiveOverflow)),
    edge(''),
    '     |',
  ];
}

/** Each reason that occurred, in either direction. */
function dropCells({ outbound, inbound }: ForwarderStats): string[] {
  const reasons = [
    ...Object.entries(outbound.drops).map(([reason, frames]) => [`${reason}, out`, frames] as const),
    ...Object.entries(inbound.drops).map(([reason, frames]) => [`${reason}, in`, frames] as const),
  ].filter(([, frames]) => frames > 0);
  if (reasons.length === 0) return [cell('dropped', '', '0')];
  return reasons.map(([reason, frames], i) => cell(i === 0 ? 'dropped' : '', reason, count(frames)));
}

function padded(cells: readonly string[], rows: number): string[] {
  return Array.from({ length: rows }, (_, i) => cells[i] ?? BLANK_CELL);
}

function edge(title: string): string {
  return `  +--${title.padEnd(COLUMNS - 6, '-')}+`;
}

function cell(where: string, what: string, number: string): string {
  const text = where.padEnd(10) + what.padEnd(18);
  return `  | ${text}${number.padStart(COLUMNS - text.length - 6)} |`;
}

/** What the two sockets of one direction agree on. */
function between(title: string, from: ForwarderStats, to: ForwarderStats): string {
  const [sent, received] = [from.outbound.framesSent, to.inbound.framesReceived];
  const superframes = from.outbound.superframesReceived;
  const perRow = from.outbound.framesReceived / Math.max(1, from.outbound.rowsReceived);
  return (
    `  ${title}: ${count(sent)} frames sent, ${count(received)} received, ${count(sent - received)} lost between; ` +
    `${perRow.toFixed(1)} frames per decision (${count(superframes)} superframes)`
  );
}
