import { readdirSync, readFileSync } from 'node:fs';

/** CPU time of one thread. */
export interface ThreadTime {
  readonly tid: number;
  readonly userSeconds: number;
  readonly systemSeconds: number;
}

/** Clock ticks per second of /proc: USER_HZ, 100 on every Linux that Node runs on. */
const USER_HZ = 100;

/**
 * CPU time of every thread that process `pid` has now, in steps of 0.01 s.
 *
 * @throws Error ENOENT when it has gone
 * @see proc_pid_task(5), proc_pid_stat(5) fields 14 and 15
 */
export function threadTimes(pid: number): ThreadTime[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((tid) => {
    const stat = readStat(`/proc/${pid}/task/${tid}/stat`);
    if (stat === undefined) return [];
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' '); // the name before it may hold blanks; field 3 comes first
    const seconds = (field: number): number => Number(fields[field - 3]) / USER_HZ;
    return [{ tid: Number(tid), userSeconds: seconds(14), systemSeconds: seconds(15) }];
  });
}

/** What the busiest thread but the main one used between two readings: with one lane, that is the lane's. */
export function busiestThread(
  pid: number,
  before: readonly ThreadTime[],
  after: readonly ThreadTime[],
): ThreadTime {
  const used = after
    .filter(({ tid }) => tid !== pid)
    .map(({ tid, userSeconds, systemSeconds }) => {
      const start = before.find((thread) => thread.tid === tid);
      return {
        tid,
        userSeconds: userSeconds - (start?.userSeconds ?? 0),
        systemSeconds: systemSeconds - (start?.systemSeconds ?? 0),
      };
    })
    .sort((a, b) => b.userSeconds + b.systemSeconds - (a.userSeconds + a.systemSeconds));
  const first = used[0];
  if (first === undefined) throw new Error(`process ${pid} has one thread only`);
  return first;
}

function readStat(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // the thread has just ended
  }
}
