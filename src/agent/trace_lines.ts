/**
 * How a trace goes over the control socket: the options in the query of `GET /trace`, the answer as lines of JSON.
 *
 * ```text
 * {"start":{"device":"flannel0","lanes":2}}
 * {"record":{...}}                            the frame's head in base64, its time in ISO 8601
 * {"totals":{...}}                            after the records they count, and once a second
 * {"end":true}                                the daemon ended it
 * ```
 */
import { Buffer } from 'node:buffer';

import { SelvageError } from '../errors.js';
import type { TraceOptions } from '../workers/trace_filter.js';
import type { TraceRecord, TraceTotals } from '../workers/trace_record.js';

/** What a trace begins with. */
export interface TraceStart {
  /** Name of the TUN device. */
  readonly device: string;
  readonly lanes: number;
}

/** One line of the answer. */
export type TraceMessage =
  | { readonly start: TraceStart }
  | { readonly record: TraceRecord }
  | { readonly totals: TraceTotals }
  | { readonly end: true };

const TEXTS = ['host', 'source', 'destination', 'direction', 'verdict', 'reason', 'peer'] as const;
const NUMBERS = ['protocol', 'port', 'sourcePort', 'destinationPort', 'recordsPerSecond'] as const;

/** The query, with its question mark when there is one. */
export function queryOf(options: TraceOptions, segment?: string): string {
  const query = new URLSearchParams();
  for (const name of [...TEXTS, ...NUMBERS]) {
    const value = options[name];
    if (value !== undefined) query.set(name, String(value));
  }
  if (segment !== undefined) query.set('segment', segment);
  return query.size === 0 ? '' : `?${query.toString()}`;
}

/**
 * Reads a query. What its values mean is checked where they are used.
 *
 * @throws SelvageError ERR_TRACE_FILTER for a name that is not known: a filter passed over would show too much
 */
export function optionsOf(query: Iterable<[string, string]>): TraceOptions {
  const options: Record<string, string | number> = {};
  for (const [name, value] of query) {
    if ((TEXTS as readonly string[]).includes(name)) options[name] = value;
    else if ((NUMBERS as readonly string[]).includes(name))
      options[name] = /^\d+$/.test(value) ? +value : NaN;
    else throw new SelvageError('ERR_TRACE_FILTER', `${JSON.stringify(name.slice(0, 60))} is not a filter`);
  }
  return options;
}

/** One line, with its end. */
export function lineOf(message: TraceMessage): string {
  return `${JSON.stringify('record' in message ? { record: plainOf(message.record) } : message)}\n`;
}

/** A record as JSON has it. */
export function plainOf(record: TraceRecord): object {
  return { ...record, head: Buffer.from(record.head).toString('base64') };
}

/** @returns undefined for a line that {@link lineOf} does not write */
export function messageOfLine(line: string): TraceMessage | undefined {
  try {
    const message = JSON.parse(line) as TraceMessage;
    if (!('record' in message)) return message;
    const { time, head, ...rest } = message.record;
    const bytes = Uint8Array.from(Buffer.from(head as unknown as string, 'base64'));
    return { record: { ...rest, time: new Date(time), head: bytes } };
  } catch {
    return undefined;
  }
}
