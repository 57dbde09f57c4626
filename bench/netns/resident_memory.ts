import { readFileSync } from 'node:fs';

/**
 * Resident memory of a process in MiB, shared pages included: VmRSS.
 *
 * @throws Error ENOENT when it has gone
 * @see proc_pid_status(5)
 */
export function residentMebibytes(pid: number): number {
  const kibibytes = /^VmRSS:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  if (kibibytes === undefined) throw new Error(`process ${pid} has ended`); // a zombie has no memory to speak of
  return Number(kibibytes) / 1024;
}
