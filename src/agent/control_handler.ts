import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';

import { messageOf } from '../errors.js';
import { agentRoutesOf, statusOf } from './agent_status.js';
import type { AgentView } from './agent_view.js';
import { healthOf, readinessOf } from './health.js';
import type { AgentMetrics } from './metrics.js';

/** What one path answers. */
interface Answer {
  readonly code: number;
  readonly type: string;
  readonly body: string;
  /** Methods that the path takes, for 405. */
  readonly allow?: string | undefined;
}

type Page = (view: AgentView, metrics: () => Promise<AgentMetrics>) => Answer | Promise<Answer>;

/** Paths for probes and scrapers; they tell nothing about other hosts but their addresses and counts. */
export const PROBE_PAGES: Readonly<Record<string, Page>> = {
  // Degraded is 200: a liveness probe must not end a forwarder because etcd is away.
  '/healthz': (view) => {
    const health = healthOf(view);
    return json(health.status === 'failing' ? 503 : 200, health);
  },
  '/readyz': (view) => {
    const readiness = readinessOf(view);
    return json(readiness.ready ? 200 : 503, readiness);
  },
  '/metrics': async (view, metrics) => {
    const agentMetrics = await metrics();
    return { code: 200, type: agentMetrics.contentType, body: await agentMetrics.render(view) };
  },
};

/** The paths of the control socket: those of probes, and what `selvage status` and `selvage routes` read. */
export const CONTROL_PAGES: Readonly<Record<string, Page>> = {
  ...PROBE_PAGES,
  '/status': (view) => json(200, statusOf(view)),
  '/routes': (view) => json(200, agentRoutesOf(view)),
};

/** Paths whose answer goes on until one side ends it; for GET. They answer errors by themselves. */
export type Streams = Readonly<Record<string, RequestListener>>;

/** Answers GET and HEAD for the given pages, 404 for other paths and 405 for other methods; 500 when a page throws. */
export function handlerOf(
  pages: Readonly<Record<string, Page>>,
  view: () => AgentView,
  metrics: () => Promise<AgentMetrics>,
  streams: Streams = {},
): RequestListener {
  return (request, response) => {
    const path = pathOf(request);
    const stream = Object.hasOwn(streams, path) ? streams[path] : undefined;
    if (stream !== undefined && request.method === 'GET') {
      stream(request, response);
      return;
    }
    answer(request, pages, view, metrics, Object.keys(streams))
      .catch((error: unknown) => json(500, { error: messageOf(error) }))
      .then((answered) => send(response, answered))
      .catch(() => response.destroy());
  };
}

async function answer(
  request: IncomingMessage,
  pages: Readonly<Record<string, Page>>,
  view: () => AgentView,
  metrics: () => Promise<AgentMetrics>,
  streams: readonly string[],
): Promise<Answer> {
  const path = pathOf(request);
  if (streams.includes(path)) return json(405, { error: `${path} is for GET` }, 'GET');
  const page = Object.hasOwn(pages, path) ? pages[path] : undefined;
  if (page === undefined) {
    return json(404, {
      error: `there is no ${path}; there are ${[...Object.keys(pages), ...streams].join(', ')}`,
    });
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return json(405, { error: `${path} is for GET and HEAD` }, 'GET, HEAD');
  }
  return await page(view(), metrics);
}

/** For HEAD, Node leaves out the body by itself. */
function send(response: ServerResponse, { code, type, body, allow }: Answer): void {
  response.writeHead(code, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    ...(allow === undefined ? {} : { allow }),
  });
  response.end(body);
}

function pathOf(request: IncomingMessage): string {
  return request.url?.split('?', 1)[0] ?? '';
}

function json(code: number, value: unknown, allow?: string): Answer {
  return { code, type: 'application/json; charset=utf-8', body: `${JSON.stringify(value)}\n`, allow };
}
