import { type AgentRoute, readAgentRoutes } from '../index.js';
import { showEachDaemon, type ShowOptions } from './each_daemon.js';
import { ExitCode } from './exit_code.js';
import { formatCount } from './figures.js';
import { textTable } from './text_table.js';

/**
 * `selvage routes`: prints the routes in force of one daemon, or of each on this host.
 *
 * @param out takes text to print
 * @returns the exit code
 * @throws SelvageError ERR_NO_DAEMON, ERR_CONTROL_SOCKET
 */
export async function showRoutes(options: ShowOptions, out: (text: string) => void): Promise<number> {
  let first = true;
  return await showEachDaemon(options, async (path, several) => {
    const routes = await readAgentRoutes(path);
    if (options.json) out(`${JSON.stringify(routes)}\n`);
    else out(`${first ? '' : '\n'}${several ? `${path}\n` : ''}${routesText(routes)}`);
    first = false;
    return ExitCode.ok;
  });
}

/** Numbers by value: 10.1.9.0/24 before 10.1.10.0/24. */
const { compare } = new Intl.Collator('en', { numeric: true });

/** In order of address, so that two outputs can be compared. */
export function routesText(routes: readonly AgentRoute[]): string {
  const rows = [...routes]
    .sort((a, b) => compare(a.prefix, b.prefix))
    .map(({ prefix, nextHop, port, framesOut, framesIn }) => {
      return [prefix, `${nextHop}:${port}`, formatCount(framesOut), formatCount(framesIn)];
    });
  return `${textTable([['prefix', 'next hop', 'frames out', 'frames in'], ...rows], 2).join('\n')}\n`;
}
