import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';

import { messageOf } from '../errors.js';
import { agentRoutesOf, statusOf } from './agent_status.js';
import type { AgentView } from './agent_view.js';
import { type Health, healthOf, type Readiness, readinessOf } from './health.js';
import type { AgentMetrics } from './metrics.js';
import { hasSegments, type ProcessView, type SegmentsView } from './segment_view.js';
import { segmentsHealthOf, segmentsReadinessOf, segmentsStatusOf } from './segments_status.js';

/** What one path answers. */
interface Answer {
  readonly code: number;
  readonly type: string;
  readonly body: string;
  /** Methods that the path takes, for 405. */
  readonly allow?: string | undefined;
}

type PageOf<View> = (view: View, metrics: () => Promise<AgentMetrics>) => Answer | Promise<Answer>;

type Page = PageOf<AgentView>;

/** Paths for probes and scrapers; they tell nothing about other hosts but their addresses and counts. */
export const PROBE_PAGES: Readonly<Record<string, Page>> = {
  // Degraded is 200: a liveness probe must not end a forwarder because etcd is away.
  '/healthz': (view) => healthPage(healthOf(view)),
  '/readyz': (view) => readinessPage(readinessOf(view)),
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

/** The pages of a process with segments that are about all of them. */
const SEGMENTS_PAGES: Readonly<Record<string, PageOf<SegmentsView>>> = {
  '/healthz': (view) => healthPage(segmentsHealthOf(view)),
  '/readyz': (view) => readinessPage(segmentsReadinessOf(view)),
  '/metrics': async (view, metrics) => {
    const agentMetrics = await metrics();
    return { code: 200, type: agentMetrics.contentType, body: await agentMetrics.renderSegments(view) };
  },
  '/status': (view) => json(200, segmentsStatusOf(view)),
};

/** Of an answer about a segment that is not there, so that a client can tell it from a server that is no selvage. */
export const NO_SUCH_SEGMENT = 'ERR_SEGMENT';
/** @internal to who names one where there are none. */
export const ONE_NETWORK = 'this selvage runs one network, without segments; leave --segment out';

/** Answers GET and HEAD for the given pages, 404 for other paths and 405 for other methods; 500 when a page throws. */
export function handlerOf(
  pages: Readonly<Record<string, Page>>,
  view: () => ProcessView,
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
  view: () => ProcessView,
  metrics: () => Promise<AgentMetrics>,
  streams: readonly string[],
): Promise<Answer> {
  const [path = '', query = ''] = request.url?.split('?', 2) ?? [];
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
  const shown = view();
  const name = new URLSearchParams(query).get('segment');
  if (!hasSegments(shown)) {
    return name === null ? await page(shown, metrics) : noSuchSegment(ONE_NETWORK);
  }
  const ofAll = SEGMENTS_PAGES[path];
  if (name === null && ofAll !== undefined) return await ofAll(shown, metrics);
  const segment = shown.segments.find((each) => each.name === name);
  if (segment !== undefined) return await page(segment.agent, metrics);
  const names = shown.segments.map((each) => each.name).join(', ');
  return noSuchSegment(`${wrongSegment(name)}; there are ${names}; name one with --segment`);
}

function wrongSegment(name: string | null): string {
  return name === null
    ? 'several segments run here, and none was named'
    : `no segment here is named "${name.slice(0, 60)}"`;
}

function noSuchSegment(error: string): Answer {
  return json(404, { error, code: NO_SUCH_SEGMENT });
}

function healthPage(health: Health): Answer {
  return json(health.status === 'failing' ? 503 : 200, health);
}

function readinessPage(readiness: Readiness): Answer {
  return json(readiness.ready ? 200 : 503, readiness);
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
