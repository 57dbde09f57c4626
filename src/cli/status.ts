import { type AgentStatus, isSegments, readDaemonStatus, readStatus, type SegmentsStatus } from '../index.js';
import { showEachDaemon, type ShowOptions } from './each_daemon.js';
import { ExitCode } from './exit_code.js';
import { segmentsText } from './segments_text.js';
import { statusText } from './status_text.js';

/**
 * `selvage status`: prints the state of one daemon, or of each on this host; of one with segments a list of them, or all about
 * one of them.
 *
 * @param out takes text to print
 * @returns the exit code: 1 when one is failing
 * @throws SelvageError ERR_NO_DAEMON, ERR_CONTROL_SOCKET, ERR_SEGMENT
 */
export async function showStatus(options: ShowOptions, out: (text: string) => void): Promise<number> {
  const { segment, json } = options;
  let first = true;
  return await showEachDaemon(options, async (path, several) => {
    const status = segment === undefined ? await readDaemonStatus(path) : await readStatus(path, segment);
    if (json) out(`${JSON.stringify(status)}\n`);
    else out(`${first ? '' : '\n'}${several ? `${path}\n` : ''}${textOf(status, new Date())}`);
    first = false;
    return exitCodeOf(status);
  });
}

function textOf(status: AgentStatus | SegmentsStatus, now: Date): string {
  return isSegments(status) ? segmentsText(status, now) : statusText(status, now);
}

/** Degraded is ok, as for probes: it carries frames. */
function exitCodeOf({ health }: AgentStatus | SegmentsStatus): number {
  return health.status === 'failing' ? ExitCode.failed : ExitCode.ok;
}
