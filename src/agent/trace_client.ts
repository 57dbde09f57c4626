import { get, type IncomingMessage } from 'node:http';

import { SelvageError } from '../errors.js';
import type { TraceOptions } from '../workers/trace_filter.js';
import type { TraceRecord, TraceTotals } from '../workers/trace_record.js';
import { clientError, notSelvage, PATIENCE_MILLIS, silent } from './control_client.js';
import { messageOfLine, queryOf, type TraceMessage, type TraceStart } from './trace_lines.js';

/** Who is shown the trace of a daemon. */
export interface TraceClientListener {
  /** The trace is on; once, before everything else. */
  onStart(start: TraceStart): void;
  onRecord(record: TraceRecord): void;
  /** After the records that they count; `shown` counts those as well. */
  onTotals(totals: TraceTotals): void;
}

/** What goes with a trace beside its filters. */
export interface TraceFramesOptions {
  /** Name of the network of a daemon that runs several as segments. */
  readonly segment?: string | undefined;
  /** Ends the trace. */
  readonly signal?: AbortSignal | undefined;
}

/** A record's line has some 600. */
const MAX_LINE_CHARS = 8192;
const MAX_REFUSAL_CHARS = 8192;

/**
 * Shows frames that a running daemon forwards or drops, until the signal ends it.
 *
 * @param socketPath its control socket
 * @throws SelvageError (as rejection) ERR_TRACE_FILTER, ERR_TRACE_BUSY, ERR_TRACE_NOT_READY; ERR_TRACE_ENDED when the daemon
 *   ended it; ERR_NO_DAEMON, ERR_CONTROL_SOCKET as readStatus. What the listener throws ends the trace, too.
 */
export async function traceFrames(
  socketPath: string,
  options: TraceOptions,
  listener: TraceClientListener,
  { signal, segment }: TraceFramesOptions = {},
): Promise<void> {
  if (signal?.aborted) return;
  try {
    const response = await ask(socketPath, `/trace${queryOf(options, segment)}`, signal);
    if (response.statusCode !== 200) throw await refusal(response, socketPath);
    await readLines(response, socketPath, listener);
  } catch (error) {
    if (signal?.aborted) return;
    throw error instanceof ListenerError ? error.cause : clientError(socketPath, error);
  }
  throw new SelvageError(
    'ERR_TRACE_ENDED',
    `${socketPath}: the daemon ended the trace, as it stopped or moved to another subnet: trace again`,
  );
}

/** Apart from an error of the connection. */
class ListenerError extends Error {}

function ask(socketPath: string, path: string, signal: AbortSignal | undefined): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = get(
      { socketPath, path, agent: false, ...(signal === undefined ? {} : { signal }) },
      resolve,
    );
    request.on('error', reject);
    // The daemon sends something every second.
    request.setTimeout(PATIENCE_MILLIS, () => request.destroy(silent(socketPath)));
  });
}

async function readLines(
  response: IncomingMessage,
  socketPath: string,
  listener: TraceClientListener,
): Promise<void> {
  let rest = '';
  for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    if (rest.length > MAX_LINE_CHARS) throw notSelvage(socketPath);
    for (const line of lines) {
      const message = messageOfLine(line);
      if (message === undefined) throw notSelvage(socketPath);
      tell(listener, message);
    }
  }
}

function tell(listener: TraceClientListener, message: TraceMessage): void {
  try {
    if ('record' in message) listener.onRecord(message.record);
    else if ('totals' in message) listener.onTotals(message.totals);
    else if ('start' in message) listener.onStart(message.start);
  } catch (error) {
    throw new ListenerError('listener', { cause: error });
  }
}

/** Why the daemon does not trace; one that is older has no such path. */
async function refusal(response: IncomingMessage, socketPath: string): Promise<SelvageError> {
  let text = '';
  for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
    text += chunk;
    if (text.length > MAX_REFUSAL_CHARS) return notSelvage(socketPath);
  }
  try {
    const { code, error } = JSON.parse(text) as { code?: unknown; error?: unknown };
    if (response.statusCode === 404 && code !== 'ERR_SEGMENT') return tooOld(socketPath);
    if (typeof code !== 'string' || typeof error !== 'string') return notSelvage(socketPath);
    return new SelvageError(code, `${socketPath}: ${error}`);
  } catch {
    return notSelvage(socketPath);
  }
}

function tooOld(socketPath: string): SelvageError {
  return new SelvageError(
    'ERR_CONTROL_SOCKET',
    `${socketPath}: the daemon is of a version without traces: restart it with this one`,
  );
}
