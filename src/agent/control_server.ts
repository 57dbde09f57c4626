import { once } from 'node:events';
import { chmod } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo, ListenOptions } from 'node:net';

import { messageOf, SelvageError } from '../errors.js';
import { CONTROL_PAGES, handlerOf, PROBE_PAGES, type Streams } from './control_handler.js';
import { claimSocketPath, socketError } from './control_socket.js';
import type { AgentMetrics } from './metrics.js';
import type { ProcessView } from './segment_view.js';
import { type StartTrace, traceStream } from './trace_stream.js';

/** Where probes and scrapers connect. */
export interface HealthAddress {
  /** IPv4 or IPv6 address of this host, or `0.0.0.0` or `::` for all. */
  readonly ip: string;
  /** TCP port, 0..65535; 0 takes a free one. */
  readonly port: number;
}

/** How to make a {@link ControlServer}. */
export interface ControlServerOptions {
  /** The state of the agent, or of several as segments. Called for each request, on the main thread. */
  readonly view: () => ProcessView;
  /** Unix socket with every page; none without it. */
  readonly socketPath?: string | undefined;
  /** TCP listener with the pages for probes and scrapers; none without it. */
  readonly health?: HealthAddress | undefined;
  /** Begins a trace of the forwarder; without it there is no `/trace`. */
  readonly trace?: StartTrace | undefined;
}

/** A request is a line and some headers; who takes longer has no need of an answer. */
const REQUEST_MILLIS = 5000;
/** A connection on which nothing moves: its peer neither asks nor reads. */
const IDLE_MILLIS = 10_000;
const MAX_CONNECTIONS = 64;
const MAX_HEADER_BYTES = 8192;
/** Between looks for requests that take too long. */
const LOOK_MILLIS = 1000;
/** What an answer that is under way has left when the server closes. */
const FAREWELL_MILLIS = 500;

/**
 * Tells the state of an agent over HTTP.
 *
 * | path       | answers                                           | unix socket | TCP |
 * |------------|---------------------------------------------------|-------------|-----|
 * | `/healthz` | 200 ok or degraded, 503 failing; JSON with reasons | yes | yes |
 * | `/readyz`  | 200 ready, 503 not; JSON with reasons             | yes | yes |
 * | `/metrics` | Prometheus text                                   | yes | yes |
 * | `/status`  | JSON, {@link AgentStatus}                         | yes | no  |
 * | `/routes`  | JSON, list of {@link AgentRoute}                  | yes | no  |
 * | `/trace`   | lines of JSON until the client goes away, {@link TraceRecord} | yes | no |
 *
 * With segments `?segment=NAME` asks about one of them. Without it `/status` is a {@link SegmentsStatus}, the pages for probes
 * are about all, and the others answer 404, as a name does that no segment has.
 *
 * It only tells; nothing can be changed through it. Connections, headers and times are bounded. Main thread.
 */
export class ControlServer {
  readonly #servers: readonly Server[];
  /** TCP port of the listener for probes; undefined without one. */
  readonly healthPort: number | undefined;
  #closing: Promise<void> | undefined;

  /** @internal use {@link ControlServer.open} */
  constructor(servers: readonly Server[], healthPort: number | undefined) {
    this.#servers = servers;
    this.healthPort = healthPort;
  }

  /**
   * Opens what the options name.
   *
   * @throws SelvageError (as rejection) ERR_CONTROL_SOCKET, ERR_HEALTH_PORT; nothing stays behind
   */
  static async open({ view, socketPath, health, trace }: ControlServerOptions): Promise<ControlServer> {
    const metrics = metricsOnDemand();
    const servers: Server[] = [];
    try {
      if (socketPath !== undefined) {
        const streams: Streams = trace === undefined ? {} : { '/trace': traceStream(trace) };
        servers.push(await listenOnSocket(socketPath, handlerOf(CONTROL_PAGES, view, metrics, streams)));
      }
      const probes = health && (await listenOnPort(health, handlerOf(PROBE_PAGES, view, metrics)));
      if (probes !== undefined) servers.push(probes);
      return new ControlServer(servers, (probes?.address() as AddressInfo | undefined)?.port);
    } catch (error) {
      await Promise.all(servers.map(closeServer));
      throw error;
    }
  }

  /** Ends within a second, and removes the socket. Calling it again returns the same promise. */
  close(): Promise<void> {
    this.#closing ??= Promise.all(this.#servers.map(closeServer)).then(() => undefined);
    return this.#closing;
  }
}

/** Loads prom-client for the first scrape: many daemons are never scraped. */
function metricsOnDemand(): () => Promise<AgentMetrics> {
  let metrics: Promise<AgentMetrics> | undefined;
  return () => (metrics ??= import('./metrics.js').then(({ AgentMetrics }) => new AgentMetrics()));
}

async function listenOnSocket(path: string, handler: RequestListener): Promise<Server> {
  await claimSocketPath(path);
  let server: Server | undefined;
  try {
    server = await listen({ path }, handler);
    await chmod(path, 0o660);
    return server;
  } catch (error) {
    if (server !== undefined) await closeServer(server);
    throw socketError(path, messageOf(error), error);
  }
}

async function listenOnPort({ ip, port }: HealthAddress, handler: RequestListener): Promise<Server> {
  try {
    return await listen({ host: ip, port }, handler);
  } catch (error) {
    const where = `health server on ${ip} port ${port}`;
    const { code } = error as NodeJS.ErrnoException;
    throw new SelvageError('ERR_HEALTH_PORT', `${where}: ${portRemedy(code) ?? messageOf(error)}`, {
      cause: error,
    });
  }
}

function portRemedy(code: string | undefined): string | undefined {
  switch (code) {
    case 'EADDRINUSE':
      return 'the port is taken; stop the other process, or choose another port (--healthz-port)';
    case 'EADDRNOTAVAIL':
      return 'no interface has the address; choose another one (--healthz-ip)';
    case 'EACCES':
      return 'not permitted; grant CAP_NET_BIND_SERVICE, or choose a port above 1023 (--healthz-port)';
    default:
      return undefined;
  }
}

async function listen(where: ListenOptions, handler: RequestListener): Promise<Server> {
  const server = createServer(
    {
      headersTimeout: REQUEST_MILLIS,
      requestTimeout: REQUEST_MILLIS,
      connectionsCheckingInterval: LOOK_MILLIS,
      maxHeaderSize: MAX_HEADER_BYTES,
    },
    handler,
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.setTimeout(IDLE_MILLIS);
  server.listen(where);
  await once(server, 'listening');
  // A connection that could not be accepted (EMFILE) is that peer's loss, not the end of the daemon.
  server.on('error', () => undefined);
  return server;
}

/** Node removes the path of a unix socket by itself. */
async function closeServer(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  const farewell = setTimeout(() => server.closeAllConnections(), FAREWELL_MILLIS);
  await closed;
  clearTimeout(farewell);
}
