import { readdir } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';

import { messageOf, SelvageError } from '../errors.js';
import type { AgentRoute, AgentStatus } from './agent_status.js';
import { NO_SUCH_SEGMENT } from './control_handler.js';
import type { SegmentsStatus } from './segments_status.js';

/** Where daemons have their control sockets, one for each TUN device: `/run/selvage/flannel0.sock`. */
export const CONTROL_DIRECTORY = '/run/selvage';

/** What a daemon has answered by now, or it hangs. */
export const PATIENCE_MILLIS = 5000;
/** Far above 65,536 routes or peers. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/**
 * Reads the status of a running daemon, or of one of its segments.
 *
 * @param socketPath its control socket
 * @param segment name of the segment; needed for a daemon with segments, and for no other
 * @throws SelvageError (as rejection) ERR_NO_DAEMON when none answers there, ERR_CONTROL_SOCKET when the socket may not be
 *   used or does not speak for a selvage, ERR_SEGMENT when there is no such segment, or several and none is named
 */
export async function readStatus(socketPath: string, segment?: string): Promise<AgentStatus> {
  const answer = await readAnyStatus(socketPath, pageOf('/status', segment));
  if (!isSegments(answer)) return answer;
  const names = answer.segments.map(({ name }) => name).join(', ');
  throw segmentError(
    socketPath,
    `several segments run here, and none was named; there are ${names}; name one with --segment`,
  );
}

/**
 * Reads the status of a running daemon, whether it has one network or segments.
 *
 * @throws SelvageError (as rejection) ERR_NO_DAEMON, ERR_CONTROL_SOCKET
 */
export async function readDaemonStatus(socketPath: string): Promise<AgentStatus | SegmentsStatus> {
  return await readAnyStatus(socketPath, '/status');
}

/** Whether it is the status of a daemon with segments. */
export function isSegments(status: AgentStatus | SegmentsStatus): status is SegmentsStatus {
  return 'segments' in status;
}

async function readAnyStatus(socketPath: string, path: string): Promise<AgentStatus | SegmentsStatus> {
  const answer = await readJson(socketPath, path);
  if (isObject(answer) && typeof answer['version'] === 'string' && isObject(answer['health'])) {
    return answer as unknown as AgentStatus | SegmentsStatus;
  }
  throw notSelvage(socketPath);
}

/** A page, of one segment if one is named. */
function pageOf(path: string, segment: string | undefined): string {
  return segment === undefined ? path : `${path}?${new URLSearchParams({ segment }).toString()}`;
}

/**
 * Reads the routes of a running daemon and what their next hops counted.
 *
 * @throws SelvageError (as rejection) as {@link readStatus}
 */
export async function readAgentRoutes(socketPath: string, segment?: string): Promise<AgentRoute[]> {
  const answer = await readJson(socketPath, pageOf('/routes', segment));
  if (Array.isArray(answer)) return answer as AgentRoute[];
  throw notSelvage(socketPath);
}

/**
 * The control sockets in a directory, whether or not a daemon still answers there, in order of name. Empty when the
 * directory does not exist.
 *
 * @throws a system error (as rejection) when the directory may not be read
 */
export async function listControlSockets(directory: string = CONTROL_DIRECTORY): Promise<string[]> {
  try {
    const entries = await readdir(directory, { withFileTypes: true });
    const sockets = entries.filter((entry) => entry.isSocket() && entry.name.endsWith('.sock'));
    return sockets.map(({ name }) => join(directory, name)).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

async function readJson(socketPath: string, path: string): Promise<unknown> {
  const text = await request(socketPath, path);
  try {
    return JSON.parse(text);
  } catch {
    throw notSelvage(socketPath);
  }
}

/** One bounded request. */
async function request(socketPath: string, path: string): Promise<string> {
  const signal = AbortSignal.timeout(PATIENCE_MILLIS);
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      get({ socketPath, path, signal, agent: false }, resolve).on('error', reject);
    });
    const body = await readBody(response, socketPath);
    if (response.statusCode === 200) return body;
    refuseSegment(socketPath, body);
  } catch (error) {
    throw signal.aborted ? silent(socketPath) : clientError(socketPath, error);
  }
  throw notSelvage(socketPath);
}

async function readBody(response: IncomingMessage, socketPath: string): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) throw notSelvage(socketPath);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** @throws SelvageError ERR_SEGMENT when the answer says so */
function refuseSegment(socketPath: string, body: string): void {
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch {
    return; // no selvage
  }
  if (!isObject(answer) || answer['code'] !== NO_SUCH_SEGMENT) return;
  throw segmentError(socketPath, String(answer['error']));
}

function segmentError(socketPath: string, why: string): SelvageError {
  return new SelvageError('ERR_SEGMENT', `${socketPath}: ${why}`);
}

/** @internal for whatever keeps a request from being answered. */
export function clientError(socketPath: string, error: unknown): SelvageError {
  if (error instanceof SelvageError) return error;
  switch ((error as NodeJS.ErrnoException).code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
      return new SelvageError(
        'ERR_NO_DAEMON',
        `${socketPath}: no selvage runs there; start it with 'selvage run', or name its socket with --socket`,
        { cause: error },
      );
    case 'EACCES':
      return new SelvageError(
        'ERR_CONTROL_SOCKET',
        `${socketPath}: permission denied; run as root, or as a member of the socket's group`,
        { cause: error },
      );
    default:
      return new SelvageError('ERR_CONTROL_SOCKET', `${socketPath}: ${messageOf(error)}`, { cause: error });
  }
}

/** @internal for a daemon that said nothing for {@link PATIENCE_MILLIS}. */
export function silent(socketPath: string): SelvageError {
  return new SelvageError(
    'ERR_CONTROL_SOCKET',
    `${socketPath}: no answer within ${PATIENCE_MILLIS / 1000} s; the daemon hangs: look into its log, or restart it`,
  );
}

/** @internal for an answer that is none of ours. */
export function notSelvage(socketPath: string): SelvageError {
  return new SelvageError(
    'ERR_CONTROL_SOCKET',
    `${socketPath}: what answers there is no selvage; name the socket of a daemon with --socket`,
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
