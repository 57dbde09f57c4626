import { messageOf } from '../../src/errors.js';
import { endedBySignal } from '../../test/netns/open_labs.js';
import type { BenchPath } from './bench_path.js';
import { LOADS, type LoadName, type Matrix, type Step, stepsOf } from './matrix.js';
import { measure, type Measurement } from './measure.js';
import type { Progress } from './progress.js';
import { Results } from './results.js';

/** A measurement that did not come about. */
export interface Failure {
  readonly step: Step;
  readonly reason: string;
}

export interface MatrixOutcome {
  readonly results: Results;
  readonly failures: readonly Failure[];
}

/**
 * Measures everything, one thing at a time. A failed measurement is reported, its path set up anew, and the rest goes on.
 *
 * @throws Error when a signal is ending this process: labs are then being removed
 */
export async function runMatrix(
  matrix: Matrix,
  paths: readonly BenchPath[],
  progress: Progress,
): Promise<MatrixOutcome> {
  const results = new Results();
  const failures: Failure[] = [];
  let scenario: string | undefined;
  for (const step of stepsOf(matrix)) {
    const path = paths.find(({ name }) => name === step.path);
    if (path === undefined) continue;
    if (step.scenario !== scenario) {
      scenario = step.scenario;
      await Promise.all(paths.map((each) => each.setScenario(step.scenario)));
    }
    progress.begin(step);
    try {
      const measurement = await measure(step.run, path.lab, path.overlay, matrix.seconds);
      const values = [...measurement.values].filter(([load]) => matrix.loads.includes(load));
      for (const [load, value] of values) results.add(step.scenario, step.path, load, value);
      progress.end(describe(values, measurement));
    } catch (error) {
      if (endedBySignal()) throw error;
      failures.push({ step, reason: `${messageOf(error)}\n${path.overlay.output()}`.trimEnd() });
      progress.end(`FAILED: ${messageOf(error).split('\n')[0]}`);
      await recover(path, step, failures);
    }
  }
  return { results, failures };
}

/** A path that does not come up again fails at each of its further steps; the others are not its concern. */
async function recover(path: BenchPath, step: Step, failures: Failure[]): Promise<void> {
  try {
    await path.restart();
  } catch (error) {
    failures.push({ step, reason: `and it did not start again: ${messageOf(error)}` });
  }
}

function describe(values: readonly [LoadName, number][], { remark }: Measurement): string {
  const figures = values.map(([load, value]) => `${value.toPrecision(3)} ${LOADS[load].unit}`);
  return [...figures, ...(remark === undefined ? [] : [remark])].join(', ');
}
