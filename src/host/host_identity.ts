import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';

import { messageOf } from '../errors.js';
import { writeFileAtomically } from '../atomic_file.js';

/** Who this host is to others, whatever its addresses are. */
export interface HostIdentity {
  /** A random UUID (RFC 9562 section 5.4) in lower case. */
  readonly id: string;
  /** The host's name, for people; not unique. */
  readonly name: string;
  /** Set when the id could not be read or kept, so that the next start will have another. */
  readonly warning?: string;
}

const FILE_NAME = 'host-id';
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * Reads the id kept in `<directory>/host-id`, and makes one where there is none. It survives restarts. An image of a machine
 * must not hold that file, or its copies would be one host.
 *
 * Never rejects: a host whose disk is read-only gets an id for this run, and a warning.
 */
export async function readHostIdentity(directory: string): Promise<HostIdentity> {
  const path = join(directory, FILE_NAME);
  const name = hostname();
  const id: string = randomUUID();
  try {
    const kept = await keptId(path);
    if (kept !== undefined) return { id: kept, name };
    await writeFileAtomically(path, `${id}\n`, 0o600);
    return { id, name };
  } catch (error) {
    const warning = `${path} cannot be kept (${messageOf(error)}): this host has another id after each start`;
    return { id, name, warning };
  }
}

/** @returns undefined when the file is absent or holds no UUID, as after a disk that was full */
async function keptId(path: string): Promise<string | undefined> {
  try {
    const text = (await readFile(path, 'utf8')).trim();
    return UUID.test(text) ? text : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
