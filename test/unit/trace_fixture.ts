/** A burst of given rows as a lane has it after the send, and the two ends of a trace over one block a lane. */

import { parseAddress } from '../../src/ip_address.js';
import type { Burst } from '../../src/tun/burst.js';
import { createBurst } from '../../src/tun/create_burst.js';
import { TraceReader } from '../../src/workers/trace_reader.js';
import type { TraceListener, TraceRecord } from '../../src/workers/trace_record.js';
import type { TraceOptions } from '../../src/workers/trace_filter.js';
import { TraceRing } from '../../src/workers/trace_ring.js';
import { TraceSession } from '../../src/workers/trace_session.js';
import { Tracer } from '../../src/workers/tracer.js';
import { innerFrame } from './inner_frame.js';

export interface TracedRow {
  readonly frame: Uint8Array;
  /** Default 0. */
  readonly fate?: number;
  readonly segments?: number;
  /** Bytes of the row; default the frame's. */
  readonly length?: number;
  readonly wireBytes?: number;
  readonly outerSource?: string;
  readonly lost?: number;
  readonly lostErrno?: number;
}

/** Rows one behind the other at odd offsets, with other bytes between them. */
export function tracedBurst(rows: readonly TracedRow[], filler = 0x45): Burst {
  const slabBytes = rows.reduce((sum, { frame }) => sum + frame.length + 131, 131);
  const burst = createBurst({ rows: Math.max(1, rows.length), slabBytes });
  burst.slab.fill(filler);
  let at = 131;
  rows.forEach((row, i) => {
    const { frame, segments = 1, length = frame.length, wireBytes = length } = row;
    burst.slab.set(frame, at);
    burst.offset[i] = at;
    burst.length[i] = length;
    burst.segments[i] = segments;
    burst.wireBytes[i] = wireBytes;
    burst.fate[i] = row.fate ?? 0;
    burst.lost[i] = row.lost ?? 0;
    burst.lostErrno[i] = row.lostErrno ?? 0;
    burst.source.set(parseAddress(row.outerSource ?? '192.0.2.2').words, 4 * i);
    at += frame.length + 131;
  });
  return burst;
}

/** TCP or UDP ports at the start of a payload. */
export function ports(source: number, destination: number, bytes = 20): Uint8Array {
  const payload = new Uint8Array(bytes);
  payload.set([source >> 8, source & 255, destination >> 8, destination & 255]);
  return payload;
}

/** A frame with its number in the identification field. */
export function numbered(number: number): Uint8Array {
  return innerFrame({ identification: number & 0xffff, payload: ports(40000, 80) });
}

export const NEXT_HOPS = new Map([
  [1, { address: '192.0.2.2', port: 8285 }],
  [2, { address: '192.0.2.3', port: 8285 }],
  [3, { address: '192.0.2.2', port: 8286 }],
]);

export interface Traced {
  readonly tracers: readonly Tracer[];
  readonly reader: TraceReader;
  /** What the forwarder offers. */
  start(options: TraceOptions, listener: TraceListener): TraceSession;
}

export function traced(lanes = 1): Traced {
  const buffers = Array.from({ length: lanes }, () => TraceRing.allocate());
  const reader = new TraceReader({
    buffers,
    underlay: 4,
    nextHops: {
      endpointOf: (id) => NEXT_HOPS.get(id),
      idsOf: (address) => [...NEXT_HOPS].filter(([, hop]) => hop.address === address).map(([id]) => id),
    },
    dateOf: (nowMillis) => new Date(nowMillis),
  });
  return {
    tracers: buffers.map((buffer) => new Tracer(buffer)),
    reader,
    start: (options, listener) => {
      reader.start(options);
      return new TraceSession('flannel0', reader, listener);
    },
  };
}

export function readAll(reader: TraceReader): TraceRecord[] {
  const records: TraceRecord[] = [];
  reader.read((record) => records.push(record));
  return records;
}
