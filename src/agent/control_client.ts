import { readdir } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';

import { messageOf, SelvageError } from '../errors.js';
import type { AgentRoute, AgentStatus } from './agent_status.js';

/** Where daemons have their control sockets, one for each TUN device: `/run/selvage/flannel0.sock`. */
export const CONTROL_DIRECTORY = '/run/selvage';

/** What a daemon has answered by now, or it hangs. */
export const PATIENCE_MILLIS = 5000;
/** Far above 65,536 routes or peers. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/**
 * Reads the status of a running daemon.
 *
 * @param socketPath its control socket
 * @throws SelvageError (as rejection) ERR_NO_DAEMON when none answers there, ERR_CONTROL_SOCKET when the socket may not be
 *   used or does not speak for a selvage
 */
export async function readStatus(socketPath: string): Promise<AgentStatus> {
  const answer = await readJson(socketPath, '/status');
  if (isObject(answer) && typeof answer['version'] === 'string' && isObject(answer['health'])) {
    return answer as unknown as AgentStatus;
  }
  throw notSelvage(socketPath);
}

/**
 * Reads the routes of a running daemon and what their next hops counted.
 *
 * @throws SelvageError (as rejection) as {@link readStatus}
 */
export async function readAgentRoutes(socketPath: string): Promise<AgentRoute[]> {
  const answer = await readJson(socketPath, '/routes');
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
