import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

import t from 'tap';

import { TraceReader } from '../../src/workers/trace_reader.js';
import type { TraceRecord } from '../../src/workers/trace_record.js';
import { TraceRing } from '../../src/workers/trace_ring.js';

const TITLE =
  'while a lane records on its own thread, no record is torn, and none comes once the reader is idle';

t.test(TITLE, async (t) => {
  const buffer = TraceRing.allocate();
  /** 1 ends the lane. */
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const file = new URL('./trace_thread.js', import.meta.url);
  const worker = new Worker(file, { workerData: { buffer, stop } });
  const nextHops = { endpointOf: () => undefined, idsOf: () => [] };
  const reader = new TraceReader({ buffers: [buffer], underlay: 4, nextHops });
  let shown = 0;
  let torn = 0;
  let last = -1;
  const check = ({ lengthBytes, wireBytes, segments, head }: TraceRecord): void => {
    shown++;
    const same = head.every((byte, i) => byte === ((wireBytes + i) & 255));
    if (!same || lengthBytes !== 120 || segments !== (wireBytes & 31) + 1 || wireBytes <= last) torn++;
    last = wireBytes;
  };
  for (let trace = 1; trace <= 20; trace++) {
    reader.start({ recordsPerSecond: 10_000 });
    for (const before = shown; shown < before + 20; await turn()) reader.read(check);
    reader.stop();
    while (!reader.idle) await turn();
    reader.read(check);
    const totals = reader.totals();
    await turn();
    reader.read(check);
    t.strictSame(reader.totals(), totals);
  }
  Atomics.store(stop, 0, 1);
  await once(worker, 'exit');
  t.equal(torn, 0);
});
