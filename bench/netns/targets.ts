import type { PathName } from '../../test/netns/peers.js';
import { type LoadName, SCENARIO_NAMES, type ScenarioName } from './matrix.js';
import type { Results } from './results.js';

/** Something selvage promises: a bound on its median as a multiple of another path's in the same run. */
export interface Target {
  readonly scenario: ScenarioName;
  readonly load: LoadName;
  readonly bound: 'at least' | 'at most';
  readonly factor: number;
  readonly base: PathName;
}

export interface TargetVerdict {
  readonly target: Target;
  /** The multiple that was measured; undefined when either path was not. */
  readonly measured: number | undefined;
  readonly met: boolean;
}

/**
 * Fixed before the work began, from what a single-threaded C program written without care reached on two cores.
 *
 * Memory has its own run (`--soak`), the cost of decisions too (`npm run profile`), lookups theirs (`--micro`).
 */
const TARGETS: readonly Target[] = [
  atLeast(5.2, 'openvpn', 'veth', 'tcp1'),
  atLeast(5.8, 'openvpn', 'veth', 'tcp4'),
  atLeast(4, 'openvpn', 'wire', 'tcp1'),
  atLeast(0.65, 'vxlan', 'wire', 'tcp1'),
  atLeast(4.5, 'openvpn', 'wire', 'tcp4'),
  atLeast(3, 'openvpn', 'wire-nogro', 'tcp1'),
  atLeast(2.7, 'openvpn', 'veth', 'udp64'),
  atLeast(1, 'vxlan', 'veth', 'udp64'),
  atLeast(2.7, 'openvpn', 'wire', 'udp64'),
  atLeast(1, 'vxlan', 'wire', 'udp64'),
  ...SCENARIO_NAMES.map((scenario) => atMost(1.1, 'openvpn', scenario, 'rtt-idle-p50')),
  atMost(0.2, 'openvpn', 'veth', 'cpu-per-gib'),
];

/** Compares what was measured with every target. */
export function judgeTargets(results: Results): TargetVerdict[] {
  return TARGETS.map((target) => {
    const measured = results.ratio(target.scenario, target.load, 'selvage', target.base);
    const met =
      measured !== undefined &&
      (target.bound === 'at least' ? measured >= target.factor : measured <= target.factor);
    return { target, measured, met };
  });
}

function atLeast(factor: number, base: PathName, scenario: ScenarioName, load: LoadName): Target {
  return { scenario, load, bound: 'at least', factor, base };
}

function atMost(factor: number, base: PathName, scenario: ScenarioName, load: LoadName): Target {
  return { scenario, load, bound: 'at most', factor, base };
}
