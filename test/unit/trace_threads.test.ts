import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

import t from 'tap';

import { TraceReader } from '../../src/workers/trace_reader.js';
import type { TraceRecord } from '../../src/workers/trace_record.js';
import { TraceRing } from '../../src/workers/trace_ring.js';

t.test(
  'while a lane records on its own thread, no record is torn and each frame is counted once',
  async (t) => {
    const buffer = TraceRing.allocate();
    /** [stop, unused, traces that the lane has seen] */
    const words = new Int32Array(new SharedArrayBuffer(12));
    const file = new URL('./trace_thread.js', import.meta.url);
    const worker = new Worker(file, { workerData: { buffer, words: words.buffer } });
    const nextHops = { endpointOf: () => undefined, idsOf: () => [] };
    const reader = new TraceReader({ buffers: [buffer], underlay: 4, nextHops });
    let shown = 0;
    let torn = 0;
    let last = -1;
    const check = ({ lengthBytes, wireBytes, segments, head }: TraceRecord): void => {
      shown++;
      const number = wireBytes;
      const same = head.every((byte, i) => byte === ((number + i) & 255));
      if (!same || lengthBytes !== 120 || segments !== (number & 31) + 1 || number <= last) torn++;
      last = number;
    };
    for (let trace = 1; trace <= 40; trace++) {
      reader.start({ recordsPerSecond: 10_000 });
      await turn();
      while (Atomics.load(words, 2) < trace) await turn();
      for (let look = 0; look < 5; look++) {
        reader.read(check);
        await turn();
      }
      reader.stop();
      while (!reader.idle) await turn();
      reader.read(check);
      const { matched } = reader.totals();
      await turn();
      reader.read(check);
      t.equal(reader.totals().matched, matched, 'nothing is added once it is idle');
      const { limited, overrun } = reader.totals();
      t.ok(matched > 0);
      t.equal(matched, reader.totals().shown + limited + overrun);
    }
    Atomics.store(words, 0, 1);
    await once(worker, 'exit');
    t.equal(torn, 0);
    t.ok(shown > 40, `${shown} records`);
  },
);
