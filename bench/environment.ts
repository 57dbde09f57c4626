import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release } from 'node:os';
import { fileURLToPath } from 'node:url';

/** The conditions a figure was measured under. */
export interface Environment {
  /** When it began, ISO 8601. */
  readonly startedAt: string;
  /** Commit of the sources, `-dirty` when they were changed; "unknown" outside a git checkout. */
  readonly commit: string;
  readonly cpu: string;
  readonly cpus: number;
  /** Frequency governor of the first core; "none" where the kernel does not scale it. */
  readonly governor: string;
  readonly kernel: string;
  readonly node: string;
  /** Mean number of runnable tasks over the minute before. */
  readonly loadAverage: number;
}

/** Above this something else is running, and takes its share of every figure. */
const MOST_LOAD_AVERAGE = 0.3;

/** Reads the conditions; call it before the first load, which would count in the load average. */
export function readEnvironment(): Environment {
  return {
    startedAt: new Date().toISOString(),
    commit: readCommit(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cpus: cpus().length,
    governor: readGovernor(),
    kernel: release(),
    node: process.version,
    loadAverage: loadavg()[0] ?? NaN,
  };
}

/** One condition per line. */
export function environmentLines(environment: Environment): string[] {
  const { commit, cpu, kernel, node, governor, loadAverage, startedAt } = environment;
  return [
    `commit        ${commit}`,
    `processor     ${cpu}, ${environment.cpus} cores, frequency governor ${governor}`,
    `system        Linux ${kernel}, Node ${node}`,
    `load average  ${loadAverage.toFixed(2)} at the start, ${startedAt}`,
  ];
}

/** A warning when the machine was not idle, otherwise nothing. */
export function busyWarning({ loadAverage }: Environment): string | undefined {
  if (loadAverage <= MOST_LOAD_AVERAGE) return undefined;
  return (
    `THE MACHINE IS BUSY: the load average was ${loadAverage.toFixed(2)}, above ${MOST_LOAD_AVERAGE}, before anything was measured. ` +
    'Absolute figures are too low and ratios uncertain: run it again on an idle machine.'
  );
}

function readCommit(): string {
  const cwd = fileURLToPath(new URL('.', import.meta.url));
  const git = (...args: string[]): string | undefined => {
    const { status, stdout } = spawnSync('git', args, { cwd, encoding: 'utf8' });
    return status === 0 ? stdout.trim() : undefined;
  };
  const commit = git('rev-parse', '--short=12', 'HEAD');
  if (commit === undefined) return 'unknown';
  return git('status', '--porcelain', '--untracked-files=no') === '' ? commit : `${commit}-dirty`;
}

function readGovernor(): string {
  try {
    return readFileSync('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor', 'utf8').trim();
  } catch {
    return 'none';
  }
}
