import { once } from 'node:events';
import { chmod, lstat, mkdir, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';

import { messageOf, SelvageError } from '../errors.js';
import { isSegments, readDaemonStatus } from './control_client.js';

/** A local connect ends at once; only a full backlog of a process that hangs takes longer. */
const CONNECT_MILLIS = 1000;
/** Linux `struct sockaddr_un`: 108 bytes with the NUL at the end (unix(7)); Node cuts longer paths without a word. */
const MAX_PATH_BYTES = 107;

/**
 * Makes a path ready to be bound: makes its directory (0755) and removes the socket of a daemon that is gone.
 *
 * @throws SelvageError (as rejection) ERR_CONTROL_SOCKET when another process answers there, something else than a socket has
 *   the name, or the directory cannot be made
 */
export async function claimSocketPath(path: string): Promise<void> {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw socketError(path, `longer than ${MAX_PATH_BYTES} bytes; choose a shorter path`);
  }
  try {
    const directory = dirname(path);
    const made = await mkdir(directory, { recursive: true });
    if (made !== undefined) await chmod(directory, 0o755); // whatever the umask: the group of the socket must get through
    const found = await lstat(path).catch(absentIsUndefined);
    if (found === undefined) return;
    if (!found.isSocket()) {
      throw socketError(path, 'exists and is no socket; remove it or choose another path');
    }
    if (await isAnswered(path)) throw socketError(path, await describeOwner(path));
    await unlink(path).catch(absentIsUndefined);
  } catch (error) {
    throw error instanceof SelvageError ? error : socketError(path, messageOf(error), error);
  }
}

/** For anything that keeps a control socket from being used. */
export function socketError(path: string, reason: string, cause?: unknown): SelvageError {
  return new SelvageError('ERR_CONTROL_SOCKET', `control socket ${path}: ${reason}`, { cause });
}

async function isAnswered(path: string): Promise<boolean> {
  const socket = connect({ path });
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(CONNECT_MILLIS) });
    return true;
  } catch (error) {
    // All but a refusal means that somebody holds it: EAGAIN for a full backlog, a timeout, a lack of permission.
    const { code } = error as NodeJS.ErrnoException;
    return code !== 'ECONNREFUSED' && code !== 'ENOENT';
  } finally {
    socket.destroy();
  }
}

async function describeOwner(path: string): Promise<string> {
  const remedy = 'stop it, or choose another path (--control-socket)';
  try {
    const status = await readDaemonStatus(path);
    const network = isSegments(status) ? `${status.segments.length} segments` : status.networkName;
    return `selvage ${status.version} with process id ${status.pid} answers there, for ${network}; ${remedy}`;
  } catch {
    return `another process answers there; ${remedy}`;
  }
}

function absentIsUndefined(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}
