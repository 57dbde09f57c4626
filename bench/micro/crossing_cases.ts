import { burstColumns, native, REPORT_WORDS } from '../../src/native.js';
import { createBurst } from '../../src/tun/create_burst.js';
import { AnswerBurst } from '../../src/workers/answer_burst.js';
import type { MicroCase } from './micro_case.js';
import { prepared } from './micro_case.js';

const CALLS = 1000;
const OUTBOUND_ROWS = 128;
const OUTBOUND_SLAB_BYTES = 4 * 65_536;
const BUFFER_BYTES = 65_536;

/** What it costs to go from TypeScript into native and back, once a burst; and with a system call that finds nothing. */
export const crossingCases: readonly MicroCase[] = [
  {
    name: 'burst crossing: call that does nothing',
    unit: 'call',
    unitsPerRun: CALLS,
    bytesPerUnit: 0,
    prepare: () =>
      prepared(() => {
        let sum = 0;
        for (let i = 0; i < CALLS; i++) sum = (sum + native.crossing(i)) | 0;
        return sum;
      }),
  },
  laneCase('burst crossing: poll that finds nothing', (lane) => native.poll(lane, 0)),
  laneCase('burst crossing: receive that finds nothing', (lane) => native.udpRecv(lane)),
];

function laneCase(name: string, call: (lane: number) => number): MicroCase {
  return {
    name,
    unit: 'call',
    unitsPerRun: CALLS,
    bytesPerUnit: 0,
    prepare: () => {
      const { lane, close } = idleLane();
      if (call(lane) !== 0) throw new Error(`${name}: found something`);
      const run = (): number => {
        let sum = 0;
        for (let i = 0; i < CALLS; i++) sum = (sum + call(lane)) | 0;
        return sum;
      };
      return { run, close };
    },
  };
}

/** A lane to which nobody sends. A second socket stands in for the TUN queue, so that no privilege is needed. */
function idleLane(): { lane: number; close: () => void } {
  const open = (): number => native.openUdp('127.0.0.1', 0, false, true, BUFFER_BYTES, BUFFER_BYTES).fd;
  const fds = [open(), open(), native.openWake()] as const;
  const { inboundRows, inboundSlabBytes } = native.layout;
  const bursts = [
    createBurst({ rows: OUTBOUND_ROWS, slabBytes: OUTBOUND_SLAB_BYTES }),
    createBurst({ rows: inboundRows, slabBytes: inboundSlabBytes }),
    new AnswerBurst().burst,
  ];
  const report = new Int32Array(new SharedArrayBuffer(REPORT_WORDS * Int32Array.BYTES_PER_ELEMENT));
  const lane = native.attachLane(...fds, bursts.map(burstColumns), report, 0, true);
  const close = (): void => {
    native.detachLane(lane);
    for (const fd of fds) native.closeFd(fd);
  };
  return { lane, close };
}
