import { type AgentRoute, formatEndpoint, isSegments, readAgentRoutes, readDaemonStatus } from '../index.js';
import { showEachDaemon, type ShowOptions } from './each_daemon.js';
import { ExitCode } from './exit_code.js';
import { formatCount } from './figures.js';
import { textTable } from './text_table.js';

/**
 * `selvage routes`: prints the routes in force of one daemon, or of each on this host.
 *
 * @param out takes text to print
 * @returns the exit code
 * @throws SelvageError ERR_NO_DAEMON, ERR_CONTROL_SOCKET, ERR_SEGMENT
 */
export async function showRoutes(options: ShowOptions, out: (text: string) => void): Promise<number> {
  let first = true;
  return await showEachDaemon(options, async (path, several) => {
    const shown = await readRoutes(path, options.segment);
    const heading = `${first ? '' : '\n'}${several ? `${path}\n` : ''}`;
    if (options.json) out(`${JSON.stringify(shown)}\n`);
    else out(`${heading}${Array.isArray(shown) ? routesText(shown) : segmentsRoutesText(shown)}`);
    first = false;
    return ExitCode.ok;
  });
}

/** Of a daemon with segments, when none is named. */
interface SegmentsRoutes {
  readonly segments: readonly { readonly name: string; readonly routes: AgentRoute[] }[];
}

async function readRoutes(path: string, segment: string | undefined): Promise<AgentRoute[] | SegmentsRoutes> {
  if (segment !== undefined) return await readAgentRoutes(path, segment);
  const status = await readDaemonStatus(path);
  if (!isSegments(status)) return await readAgentRoutes(path);
  const each = status.segments.map(async ({ name }) => ({ name, routes: await readAgentRoutes(path, name) }));
  return { segments: await Promise.all(each) };
}

function segmentsRoutesText({ segments }: SegmentsRoutes): string {
  return segments.map(({ name, routes }) => `segment ${name}\n${routesText(routes)}`).join('\n');
}

/** Numbers by value: 10.1.9.0/24 before 10.1.10.0/24. */
const { compare } = new Intl.Collator('en', { numeric: true });

/** In order of address, so that two outputs can be compared. */
export function routesText(routes: readonly AgentRoute[]): string {
  const isAnyNarrow = routes.some(({ pathMtuBytes }) => pathMtuBytes !== null);
  const heading = ['prefix', 'next hop', 'frames out', 'frames in', ...(isAnyNarrow ? ['path MTU'] : [])];
  const rows = [...routes]
    .sort((a, b) => compare(a.prefix, b.prefix))
    .map(({ prefix, nextHop, port, framesOut, framesIn, pathMtuBytes }) => [
      prefix,
      formatEndpoint(nextHop, port),
      formatCount(framesOut),
      formatCount(framesIn),
      ...(isAnyNarrow ? [pathMtuBytes === null ? '' : `${pathMtuBytes}`] : []),
    ]);
  return `${textTable([heading, ...rows], 2).join('\n')}\n`;
}
