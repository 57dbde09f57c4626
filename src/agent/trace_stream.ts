import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';

import { messageOf, SelvageError } from '../errors.js';
import type { TraceOptions } from '../workers/trace_filter.js';
import type { TraceListener, TraceRecord, TraceTotals } from '../workers/trace_record.js';
import type { TraceSession } from '../workers/trace_session.js';
import { lineOf, optionsOf } from './trace_lines.js';

/**
 * Begins a trace.
 *
 * @param segment name of the one to trace; undefined when none was named
 * @throws SelvageError ERR_TRACE_FILTER, ERR_TRACE_BUSY, ERR_TRACE_NOT_READY, ERR_SEGMENT
 */
export type StartTrace = (
  options: TraceOptions,
  listener: TraceListener,
  segment: string | undefined,
) => TraceSession;

/** What waits for a client that reads slowly; records beyond it are counted and gone. */
const MOST_WAITING_BYTES = 256 * 1024;
/** So that the server's idle timeout ends only clients that do not read, and the client knows that the daemon lives. */
const HEARTBEAT_MILLIS = 1000;

/** Answers with the lines of a trace, see trace_lines.ts, until the client goes away or the forwarder closes. */
export function traceStream(startTrace: StartTrace): RequestListener {
  return (request, response) => {
    try {
      new TraceStream(response).run(queryIn(request), startTrace);
    } catch (error) {
      refuse(response, error);
    }
  };
}

/** For a daemon without a forwarder. */
export function traceNotReady(): SelvageError {
  return new SelvageError(
    'ERR_TRACE_NOT_READY',
    "the daemon does not forward yet: 'selvage status' tells what it waits for",
  );
}

/** One client's trace. */
class TraceStream implements TraceListener {
  readonly #response: ServerResponse;
  #session: TraceSession | undefined;
  #lines: string[] = [];
  /** Characters in `#lines`; they are bytes, as all that we write is ASCII. */
  #lineBytes = 0;
  #unsent = 0;
  #heartbeat: NodeJS.Timeout | undefined;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  run(query: string, startTrace: StartTrace): void {
    const response = this.#response;
    const filters = new URLSearchParams(query);
    const segment = filters.get('segment') ?? undefined;
    filters.delete('segment');
    const session = startTrace(optionsOf(filters), this, segment);
    this.#session = session;
    response.on('close', () => void session.close());
    response.on('error', () => undefined); // the client went away; 'close' follows
    response.writeHead(200, {
      'content-type': 'application/jsonl; charset=utf-8',
      'cache-control': 'no-store',
    });
    response.write(lineOf({ start: { device: session.device, lanes: session.lanes } }));
    this.#heartbeat = setInterval(() => this.onTotals(session.totals()), HEARTBEAT_MILLIS);
    this.#heartbeat.unref();
  }

  onRecord(record: TraceRecord): void {
    if (this.#isLate) this.#unsent++;
    else this.#add(lineOf({ record }));
  }

  onTotals(totals: TraceTotals): void {
    // Later totals hold everything that these do. What was accepted before is sent in any case.
    if (!this.#isLate) this.#add(this.#totalsLine(totals));
    this.#flush();
  }

  onEnd(): void {
    clearInterval(this.#heartbeat);
    if (this.#session !== undefined) this.#add(this.#totalsLine(this.#session.totals()));
    this.#add(lineOf({ end: true }));
    this.#flush();
    this.#response.end();
  }

  get #isLate(): boolean {
    return this.#response.writableLength + this.#lineBytes > MOST_WAITING_BYTES;
  }

  #totalsLine(totals: TraceTotals): string {
    const unsent = this.#unsent;
    return lineOf({ totals: { ...totals, shown: totals.shown - unsent, unsent } });
  }

  #add(line: string): void {
    this.#lines.push(line);
    this.#lineBytes += line.length;
  }

  #flush(): void {
    if (this.#lines.length > 0 && !this.#response.destroyed) this.#response.write(this.#lines.join(''));
    this.#lines = [];
    this.#lineBytes = 0;
  }
}

function queryIn({ url = '' }: IncomingMessage): string {
  const mark = url.indexOf('?');
  return mark < 0 ? '' : url.slice(mark + 1);
}

const STATUS: Readonly<Record<string, number>> = {
  ERR_TRACE_FILTER: 400,
  ERR_SEGMENT: 404,
  ERR_TRACE_BUSY: 409,
  ERR_TRACE_NOT_READY: 503,
};

function refuse(response: ServerResponse, error: unknown): void {
  const code = error instanceof SelvageError ? error.code : 'ERR_INTERNAL';
  response.writeHead(STATUS[code] ?? 500, { 'content-type': 'application/json; charset=utf-8' });
  response.end(`${JSON.stringify({ code, error: messageOf(error) })}\n`);
}
