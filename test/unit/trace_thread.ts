/** A lane's thread for trace_threads.test.ts: records frames with numbers as fast as it can. */

import { workerData } from 'node:worker_threads';

import { INBOUND } from '../../src/workers/counters.js';
import { Tracer } from '../../src/workers/tracer.js';
import { tracedBurst } from './trace_fixture.js';

const ROWS = 8;
const FRAME_BYTES = 120;
const { buffer, stop } = workerData as { buffer: SharedArrayBuffer; stop: Int32Array };
const tracer = new Tracer(buffer);
const burst = tracedBurst(Array.from({ length: ROWS }, () => ({ frame: new Uint8Array(FRAME_BYTES) })));
let number = 0;
let nowMillis = 0;

while (Atomics.load(stop, 0) === 0) {
  if (!tracer.enabled) continue;
  for (let i = 0; i < ROWS; i++, number++) {
    for (let byte = 0; byte < FRAME_BYTES; byte++) burst.slab[burst.offset[i]! + byte] = number + byte;
    burst.wireBytes[i] = number;
    burst.segments[i] = (number & 31) + 1;
  }
  nowMillis = (nowMillis + 1) | 0;
  tracer.record(INBOUND, burst, ROWS, nowMillis, false);
}
