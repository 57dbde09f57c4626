/** Whether a trace shows a frame, told plainly: the frame is given as what it was built from, and nothing is parsed. */

import { DROP_REASONS } from '../../src/encap/drop_reason.js';
import { contains, type Prefix, parsePrefix } from '../../src/prefix.js';
import type { TraceFilter } from '../../src/workers/trace_filter.js';

export interface PlainFrame {
  readonly direction: 'outbound' | 'inbound';
  /** Undefined for bytes that are no IP header. */
  readonly flow:
    | {
        readonly source: string;
        readonly destination: string;
        readonly protocol: number;
        /** Undefined where there are none. */
        readonly ports: readonly [number, number] | undefined;
      }
    | undefined;
  readonly reason: number;
  /** Address of the next hop, outbound, or of the sender, inbound; undefined for an outbound frame that went nowhere. */
  readonly peer: string | undefined;
}

export function referenceMatch(filter: TraceFilter, frame: PlainFrame): boolean {
  const { flow } = frame;
  const name = DROP_REASONS.find(({ code }) => code === frame.reason)?.name;
  const checks: (boolean | undefined)[] = [
    filter.direction && filter.direction === frame.direction,
    filter.verdict && (filter.verdict === 'dropped') === frame.reason > 0,
    filter.reason && filter.reason === name,
    filter.peer === undefined ? undefined : filter.peer === frame.peer,
    filter.protocol === undefined ? undefined : filter.protocol === flow?.protocol,
    filter.port === undefined ? undefined : !!flow?.ports?.includes(filter.port),
    filter.sourcePort === undefined ? undefined : flow?.ports?.[0] === filter.sourcePort,
    filter.destinationPort === undefined ? undefined : flow?.ports?.[1] === filter.destinationPort,
    filter.host && (isIn(filter.host, flow?.source) || isIn(filter.host, flow?.destination)),
    filter.source && isIn(filter.source, flow?.source),
    filter.destination && isIn(filter.destination, flow?.destination),
  ].map((check) => (check === '' ? undefined : check));
  return checks.every((check) => check !== false);
}

function isIn(text: string, address: string | undefined): boolean {
  return address !== undefined && contains(wide(text), wide(address));
}

function wide(text: string): Prefix {
  if (text.includes('/')) return parsePrefix(text);
  return parsePrefix(`${text}/${text.includes(':') ? 128 : 32}`);
}
