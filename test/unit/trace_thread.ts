/** A lane's thread for trace_threads.test.ts: records frames with numbers as fast as it can. */

import { workerData } from 'node:worker_threads';

import { INBOUND } from '../../src/workers/counters.js';
import { Tracer } from '../../src/workers/tracer.js';
import { tracedBurst } from './trace_fixture.js';

const ROWS = 8;
const { buffer, words } = workerData as { buffer: SharedArrayBuffer; words: SharedArrayBuffer };
const shared = new Int32Array(words);
const tracer = new Tracer(buffer);
const burst = tracedBurst(Array.from({ length: ROWS }, () => ({ frame: new Uint8Array(120) })));
let number = 0;
let nowMillis = 0;
let wasOn = false;

while (Atomics.load(shared, 0) === 0) {
  const isOn = tracer.enabled;
  if (isOn) {
    for (let i = 0; i < ROWS; i++, number++) {
      for (let byte = 0; byte < 120; byte++) burst.slab[burst.offset[i]! + byte] = number + byte;
      burst.wireBytes[i] = number;
      burst.segments[i] = (number & 31) + 1;
    }
    tracer.record(INBOUND, burst, ROWS, nowMillis++, false);
    if (!wasOn) Atomics.add(shared, 2, 1);
  }
  wasOn = isOn;
}
