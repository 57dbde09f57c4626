import { Lab } from '../../test/netns/lab.js';
import { tcp, udpFlood } from '../../test/netns/loads.js';
import { ensurePackages, LAB_PACKAGES } from '../../test/netns/packages.js';
import type { SelvageDaemon } from '../../test/netns/selvage.js';
import { textTable } from '../text_table.js';
import { residentMebibytes } from './resident_memory.js';
import { median } from '../samples.js';

export interface SoakOptions {
  /** How long, above 0. */
  readonly minutes: number;
  /** Worker threads of each daemon. */
  readonly lanes: number;
}

const SAMPLE_SECONDS = 10;
/** TCP and UDP take turns of this length. */
const TURN_SECONDS = 10;
/** Outer and inner header, IPv4 and UDP. */
const OVERHEAD_BYTES = 28;
/** What `selvage run` with 2 lanes may use. */
const MOST_MEBIBYTES = 160;
/** Memory counts as flat when the median of the last quarter is less than this above the median of the first. */
const FLAT_PERCENT = 5;

/** Resident memory of both daemons, in MiB, one value per sample. */
type Samples = readonly [number[], number[]];

/**
 * Two `selvage run` under full load, TCP with 4 streams and 64-byte UDP in turns, while their resident memory is watched.
 *
 * @throws Error when a daemon or a load fails
 */
export async function soak({ minutes, lanes }: SoakOptions): Promise<void> {
  ensurePackages([...LAB_PACKAGES, 'iperf3']);
  const lab = await Lab.create();
  try {
    const options = { extraArgs: ['--lanes', String(lanes)] };
    const daemons = [await lab.startSelvage(0, options), await lab.startSelvage(1, options)] as const;
    await lab.setPodMtu(lab.underlayMtu - OVERHEAD_BYTES);
    print(
      `selvage with ${lanes} lanes, ${minutes} min of 4 TCP streams and 64-byte UDP in turns; resident memory:`,
    );
    const samples = await underLoad(lab, daemons, minutes * 60);
    print(verdict(samples).join('\n'));
    const deaths = daemons.flatMap(({ log }) => log.filter(({ msg }) => msg.startsWith('a lane died')));
    print(
      deaths.length === 0
        ? 'no lane died'
        : `LANES DIED: ${deaths.map((line) => JSON.stringify(line)).join('\n')}`,
    );
  } finally {
    await lab.close();
  }
}

async function underLoad(
  lab: Lab,
  daemons: readonly [SelvageDaemon, SelvageDaemon],
  seconds: number,
): Promise<Samples> {
  const samples: Samples = [[], []];
  const startedAt = performance.now();
  const elapsed = (): number => (performance.now() - startedAt) / 1000;
  let activity = 'starting';
  const sample = (): void => {
    if (daemons.some(({ child }) => !child.running)) return; // the load that runs will fail and say so
    daemons.forEach(({ pid }, i) => samples[i]?.push(residentMebibytes(pid)));
    const now = samples.map((list) => `${list.at(-1)?.toFixed(1)} MiB`).join(', ');
    print(`  ${clock(elapsed())}  ${now}  ${activity}`);
  };
  const timer = setInterval(sample, Math.min(SAMPLE_SECONDS, seconds / 8) * 1000);
  try {
    for (let turn = 0; elapsed() < seconds; turn++) {
      const turnSeconds = Math.max(1, Math.min(TURN_SECONDS, Math.round(seconds - elapsed())));
      activity = await oneTurn(lab, turn, turnSeconds);
    }
  } finally {
    clearInterval(timer);
  }
  return samples;
}

/** @returns what it carried, for the next line of the report */
async function oneTurn(lab: Lab, turn: number, seconds: number): Promise<string> {
  if (turn % 2 === 0) {
    const { gbitPerSecond } = await tcp(lab, { seconds, streams: 4 });
    return `(last turn: TCP, ${gbitPerSecond.toFixed(2)} Gbit/s)`;
  }
  const { packetsPerSecond } = await udpFlood(lab, { seconds, bytes: 64 });
  return `(last turn: UDP, ${(packetsPerSecond / 1000).toFixed(0)} kpps)`;
}

/** Minimum, median and maximum of the first and the last quarter, and what follows from them. */
export function verdict(samples: readonly (readonly number[])[]): string[] {
  const rows: string[][] = [];
  const growths: number[] = [];
  samples.forEach((list, i) => {
    const quarter = Math.max(1, Math.floor(list.length / 4));
    const [first, last] = [list.slice(0, quarter), list.slice(-quarter)];
    growths.push(100 * (median(last) / median(first) - 1));
    rows.push(
      [`host${i + 1}, first quarter`, ...extent(first)],
      [`host${i + 1}, last quarter`, ...extent(last)],
    );
  });
  const most = Math.max(...samples.flat());
  const growth = Math.max(...growths);
  return [
    '',
    ...textTable([['resident memory, MiB', 'min', 'median', 'max'], ...rows]),
    '',
    `at most ${MOST_MEBIBYTES} MiB: ${most <= MOST_MEBIBYTES ? 'yes' : 'NO'} (most: ${most.toFixed(1)} MiB)`,
    `flat: ${growth < FLAT_PERCENT ? 'yes' : 'NO'} (median of the last quarter over the first: ${growths.map(signed).join(', ')}; ` +
      `flat is less than +${FLAT_PERCENT} %)`,
  ];
}

function extent(values: readonly number[]): string[] {
  return [Math.min(...values), median(values), Math.max(...values)].map((value) => value.toFixed(1));
}

function signed(percent: number): string {
  return `${percent < 0 ? '' : '+'}${percent.toFixed(1)} %`;
}

function clock(seconds: number): string {
  const whole = Math.round(seconds);
  return `${String(Math.floor(whole / 60)).padStart(2, '0')}:${String(whole % 60).padStart(2, '0')}`;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
