import { DROP_REASONS, type TraceFlow, type TraceRecord } from '../index.js';
import { formatCount } from './figures.js';

/** Names of protocols as `--proto` takes them and lines show them (IANA protocol numbers). */
export const PROTOCOLS: Readonly<Record<string, number>> = {
  icmp: 1,
  tcp: 6,
  udp: 17,
  gre: 47,
  esp: 50,
  icmpv6: 58,
  sctp: 132,
};
const NAMES = new Map(Object.entries(PROTOCOLS).map(([name, number]) => [number, name]));

/** What became of the frames that matched, over all daemons. */
export interface TraceSummary {
  readonly matched: number;
  readonly shown: number;
  readonly limited: number;
  readonly overrun: number;
  readonly unsent: number;
}

/**
 * One frame as a line without its end: `12:34:56.789 lane0 out 10.1.1.2:40000 > 10.1.2.2:80 tcp 1448 x44 -> 192.0.2.2:8285`.
 *
 * @param device the daemon's, where there are several
 */
export function recordText(record: TraceRecord, device?: string): string {
  const { time, lane, direction, flow } = record;
  const where = `${device === undefined ? '' : `${device} `}lane${lane} ${direction === 'outbound' ? 'out' : 'in '}`;
  const parts = [timeText(time), where, flow === null ? 'no IP header' : flowText(flow), sizeText(record)];
  return [...parts, verdictText(record)].filter((part) => part !== '').join(' ');
}

/** Where the frame went or came from, and how it ended when it did; also the comment of a packet in a file. */
export function verdictText({ nextHop, outerSource, reason, segments, lostSegments }: TraceRecord): string {
  const parts: string[] = [];
  if (nextHop !== null) parts.push(`-> ${endpointText(nextHop.address, nextHop.port)}`);
  if (outerSource !== null) parts.push(`<- ${outerSource}`);
  if (reason !== null) {
    const part = lostSegments < segments ? ` ${lostSegments} of ${segments}` : '';
    const sentence = DROP_REASONS.find(({ name }) => name === reason)?.sentence;
    parts.push(`DROP${part} ${reason}${sentence === undefined ? '' : `: ${sentence}`}`);
  }
  return parts.join(' ');
}

/** What a packet in a file is remarked with. */
export function commentText(record: TraceRecord): string {
  const { lane, segments, wireBytes } = record;
  const superframe =
    segments > 1 ? `superframe of ${segments} segments, ${wireBytes} bytes each at most` : '';
  return [`lane${lane}`, superframe, verdictText(record)].filter((part) => part !== '').join(', ');
}

/** What a trace ends with: one line, without its end. */
export function summaryText({ matched, shown, limited, overrun, unsent }: TraceSummary): string {
  const others = matched - shown - limited - overrun - unsent;
  const reasons: (readonly [number, string])[] = [
    [limited, 'above --rate'],
    [overrun, 'as a ring was full'],
    [unsent, 'as they were read too slowly'],
    [others, 'behind the last one asked for'],
  ];
  const told = reasons.filter(([count]) => count > 0).map(([count, why]) => `${formatCount(count)} ${why}`);
  const text = `${formatCount(shown)} frames shown, ${formatCount(matched)} matched (a superframe counts once)`;
  return told.length === 0 ? text : `${text}; not shown: ${told.join(', ')}`;
}

function flowText({ source, destination, protocol, sourcePort, destinationPort }: TraceFlow): string {
  const name = protocol < 0 ? '' : ` ${NAMES.get(protocol) ?? `protocol ${protocol}`}`;
  return `${endpointText(source, sourcePort)} > ${endpointText(destination, destinationPort)}${name}`;
}

/** @param port -1 for none */
function endpointText(address: string, port: number): string {
  if (port < 0) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function sizeText({ segments, lengthBytes, wireBytes }: TraceRecord): string {
  return segments > 1 ? `${wireBytes} x${segments}` : String(lengthBytes);
}

/** Time of day here. */
function timeText(time: Date): string {
  const two = (number: number): string => String(number).padStart(2, '0');
  const millis = String(time.getMilliseconds()).padStart(3, '0');
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${millis}`;
}
