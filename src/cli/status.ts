import { type AgentStatus, readStatus } from '../index.js';
import { showEachDaemon, type ShowOptions } from './each_daemon.js';
import { ExitCode } from './exit_code.js';
import { statusText } from './status_text.js';

/**
 * `selvage status`: prints the state of one daemon, or of each on this host.
 *
 * @param out takes text to print
 * @returns the exit code: 1 when one is failing
 * @throws SelvageError ERR_NO_DAEMON, ERR_CONTROL_SOCKET
 */
export async function showStatus(options: ShowOptions, out: (text: string) => void): Promise<number> {
  let first = true;
  return await showEachDaemon(options, async (path, several) => {
    const status = await readStatus(path);
    if (options.json) out(`${JSON.stringify(status)}\n`);
    else out(`${first ? '' : '\n'}${several ? `${path}\n` : ''}${statusText(status, new Date())}`);
    first = false;
    return exitCodeOf(status);
  });
}

/** Degraded is ok, as for probes: it carries frames. */
function exitCodeOf({ health }: AgentStatus): number {
  return health.status === 'failing' ? ExitCode.failed : ExitCode.ok;
}
