import type { OffloadScenario } from '../../test/netns/offload.js';
import type { PathName } from '../../test/netns/peers.js';

export type ScenarioName = OffloadScenario;

/** Every state of the link between the hosts, friendliest first. */
export const SCENARIO_NAMES: readonly ScenarioName[] = ['veth', 'wire', 'wire-nogro'];

/** What is shown of a scenario as its heading. */
export const SCENARIO_TITLES: Readonly<Record<ScenarioName, string>> = {
  veth: 'veth: superframes cross the link whole',
  wire: 'wire: the sender cuts superframes to MTU size, the receiver joins them',
  'wire-nogro': 'wire-nogro: the sender cuts superframes to MTU size, the receiver does not join them',
};

/** One thing that is measured. */
interface LoadKind {
  readonly unit: string;
  /** Whether a larger figure is the better one. */
  readonly moreIsBetter: boolean;
  readonly title: string;
  /** The run that yields it. */
  readonly run: RunName;
}

/** What is done to a path; one run may yield several figures. */
export const RUN_NAMES = ['tcp1', 'tcp4', 'udp64', 'rtt-idle', 'rtt-load'] as const;
export type RunName = (typeof RUN_NAMES)[number];

const MILLIS = { unit: 'ms', moreIsBetter: false } as const;

export const LOADS = {
  tcp1: { unit: 'Gbit/s', moreIsBetter: true, title: 'TCP, 1 stream', run: 'tcp1' },
  tcp4: { unit: 'Gbit/s', moreIsBetter: true, title: 'TCP, 4 streams', run: 'tcp4' },
  udp64: { unit: 'kpps', moreIsBetter: true, title: '64-byte UDP, delivered', run: 'udp64' },
  'rtt-idle-p50': { ...MILLIS, title: 'round trip, idle, median', run: 'rtt-idle' },
  'rtt-idle-p99': { ...MILLIS, title: 'round trip, idle, 99th percentile', run: 'rtt-idle' },
  'rtt-load-p99': { ...MILLIS, title: 'round trip beside TCP, 99th percentile', run: 'rtt-load' },
  'cpu-per-gib': {
    unit: 'CPU-s/GiB',
    moreIsBetter: false,
    title: 'CPU time of both forwarders per GiB, TCP, 1 stream',
    run: 'tcp1',
  },
} as const satisfies Record<string, LoadKind>;

export type LoadName = keyof typeof LOADS;

export const LOAD_NAMES = Object.keys(LOADS) as readonly LoadName[];

/** Paths that the kernel forwards itself: there is no process whose CPU time could be read. */
export const KERNEL_PATHS: readonly PathName[] = ['host-gw', 'vxlan'];

/** Whether `path` has the figure `load` at all. */
export function isMeasurable(path: PathName, load: LoadName): boolean {
  return load !== 'cpu-per-gib' || !KERNEL_PATHS.includes(path);
}

/** What to measure. */
export interface Matrix {
  readonly paths: readonly PathName[];
  readonly scenarios: readonly ScenarioName[];
  readonly loads: readonly LoadName[];
  readonly rounds: number;
  /** How long each run takes. */
  readonly seconds: number;
}

/** What the figures are, e.g. `medians of 3 interleaved rounds of 5 s`. */
export function basisOf({ rounds, seconds }: Matrix): string {
  return rounds === 1
    ? `one round of ${seconds} s`
    : `medians of ${rounds} interleaved rounds of ${seconds} s`;
}

/** One measurement to be made. */
export interface Step {
  /** 1 for the first. */
  readonly round: number;
  readonly scenario: ScenarioName;
  readonly run: RunName;
  readonly path: PathName;
}

/**
 * Everything to measure, in the order it is done: round, scenario, run, path. The paths take turns under each load, so
 * that a drift of the machine hits all alike; who begins changes with the round, so that no path always follows another.
 */
export function stepsOf(matrix: Matrix): Step[] {
  const { paths, scenarios, loads, rounds } = matrix;
  const steps: Step[] = [];
  for (let round = 1; round <= rounds; round++) {
    const turn = rotated(paths, round - 1);
    for (const scenario of scenarios) {
      for (const run of RUN_NAMES) {
        const wanted = loads.filter((load) => LOADS[load].run === run);
        for (const path of turn) {
          if (wanted.some((load) => isMeasurable(path, load))) steps.push({ round, scenario, run, path });
        }
      }
    }
  }
  return steps;
}

function rotated<T>(list: readonly T[], by: number): T[] {
  const at = list.length === 0 ? 0 : by % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}
