import { readFileSync } from 'node:fs';

/** Clock ticks per second of /proc: USER_HZ, 100 on every Linux that Node runs on. */
const USER_HZ = 100;

/**
 * User plus system CPU seconds that these processes have used, threads that ended included; in steps of 0.01.
 *
 * @throws Error ENOENT when one of them has gone
 * @see proc_pid_stat(5), fields 14 and 15
 */
export function cpuSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + ticksOf(pid), 0) / USER_HZ;
}

function ticksOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' '); // the name before it may hold blanks; field 3 comes first
  return Number(fields[11]) + Number(fields[12]);
}
