import type { SegmentsStatus, SegmentStatus } from '../index.js';
import { formatSpan } from './figures.js';
import { textTable } from './text_table.js';

/**
 * The segments of a daemon as people read them, one line each.
 *
 * @param now on the clock of the daemon's dates
 */
export function segmentsText(status: SegmentsStatus, now: Date): string {
  const { version, pid, startedAt, health, readiness, segments } = status;
  const up = formatSpan((now.getTime() - Date.parse(startedAt)) / 1000);
  const heading = [
    `selvage  ${version}, process ${pid}, up ${up}`,
    `health   ${health.status}, ${readiness.ready ? 'ready' : 'not ready'}`,
  ];
  const rows = segments.map((segment) => rowOf(segment, now).map(withoutControls));
  const table = textTable([['segment', 'network', 'subnet', 'device', 'state', 'reason'], ...rows], 6);
  return `${[...heading, '', ...table].join('\n')}\n`;
}

function rowOf({ name, state, status, ...segment }: SegmentStatus, now: Date): string[] {
  const { network, networkName, forwarder, health } = status;
  return [
    name,
    network === null ? networkName : join(network.network, network.ipv6Network),
    network === null ? '-' : join(network.subnet, network.ipv6Subnet),
    forwarder?.device.name ?? '-',
    state === 'running' && health.status !== 'ok' ? health.status : state,
    reasonOf({ name, state, status, ...segment }, now),
  ];
}

function reasonOf({ reason, restartAt, restarts, status }: SegmentStatus, now: Date): string {
  const again = restarts === 0 ? '' : `started again ${restarts} times`;
  if (reason === null)
    return [status.health.reasons[0]?.message ?? '', again].filter((text) => text !== '').join('; ');
  const seconds = restartAt === null ? 0 : (Date.parse(restartAt) - now.getTime()) / 1000;
  return `${reason}; starts again in ${formatSpan(seconds)}`;
}

function join(...families: readonly (string | null)[]): string {
  return families.filter((each) => each !== null).join(',');
}

/** Reasons repeat what servers said: a control character in one must not reach the terminal. */
function withoutControls(text: string): string {
  return text.replace(/\p{Cc}/gu, '?');
}
