import { readdirSync } from 'node:fs';
import { join } from 'node:path';

import { Lab } from '../../test/netns/lab.js';
import { tcp } from '../../test/netns/loads.js';
import { createPath } from '../../test/netns/peers.js';
import type { ScenarioName } from '../netns/matrix.js';
import { type LaneSamples, readLaneProfile } from './lane_profile.js';
import { busiestThread, threadTimes } from './thread_times.js';

/** One lane in one run. */
export interface LaneReport {
  /** What its host did. */
  readonly side: 'sending' | 'receiving';
  /** CPU time of its thread while the load ran. */
  readonly userSeconds: number;
  readonly systemSeconds: number;
  readonly samples: LaneSamples;
}

export interface ProfiledRun {
  readonly scenario: ScenarioName;
  readonly streams: number;
  readonly gbitPerSecond: number;
  /** How long the load ran. */
  readonly seconds: number;
  readonly lanes: readonly LaneReport[];
}

export interface ProfileOptions {
  readonly scenario: ScenarioName;
  readonly streams: number;
  readonly seconds: number;
  /** Microseconds between samples. */
  readonly intervalMicros: number;
}

/**
 * Runs TCP through two `selvage run` with one lane each, under V8's sampling profiler.
 *
 * @throws Error when the load fails, or a thread left no profile
 */
export async function profileRun(options: ProfileOptions): Promise<ProfiledRun> {
  const { scenario, streams, seconds, intervalMicros } = options;
  const lab = await Lab.create();
  try {
    await lab.offload(scenario);
    const nodeArgs = [
      '--cpu-prof',
      `--cpu-prof-dir=${lab.directory}`,
      `--cpu-prof-interval=${intervalMicros}`,
    ];
    const path = createPath(lab, 'selvage', { selvage: { nodeArgs } });
    await path.start();
    const pids = path.pids();
    const before = pids.map(threadTimes);
    const load = await tcp(lab, { seconds, streams });
    const times = pids.map((pid, i) => busiestThread(pid, before[i] ?? [], threadTimes(pid)));
    await path.stop(); // Node writes the profiles when its threads end
    const lanes = times.map(({ userSeconds, systemSeconds }, i): LaneReport => {
      const samples = laneSamples(lab.directory, pids[i] ?? -1);
      return { side: i === 0 ? 'sending' : 'receiving', userSeconds, systemSeconds, samples };
    });
    return { scenario, streams, seconds: load.seconds, gbitPerSecond: load.gbitPerSecond, lanes };
  } finally {
    await lab.close();
  }
}

/** Node names profiles `CPU.date.time.pid.thread.count.cpuprofile`. */
function laneSamples(directory: string, pid: number): LaneSamples {
  const files = readdirSync(directory).filter(
    (name) => name.endsWith('.cpuprofile') && name.split('.')[3] === String(pid),
  );
  for (const file of files) {
    const samples = readLaneProfile(join(directory, file));
    if (samples !== undefined) return samples;
  }
  throw new Error(`process ${pid} left no profile of a lane, but ${files.join(', ') || 'nothing'}`);
}
