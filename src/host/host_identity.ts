import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';

import { messageOf } from '../errors.js';
import { createFileAtomically, writeFileAtomically } from '../atomic_file.js';

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
 * must not hold that file, or its copies would be one host. Segments and
 * daemons that make it at a time get the same id.
 *
 * Never rejects: a host whose disk is read-only gets an id for this run, and a warning.
 */
export async function readHostIdentity(directory: string): Promise<HostIdentity> {
  const path = join(directory, FILE_NAME);
  const name = hostname();
  const id: string = randomUUID();
  try {
    return { id: await keepId(path, id), name };
  } catch (error) {
    const warning = `${path} cannot be kept (${messageOf(error)}): this host has another id after each start`;
    return { id, name, warning };
  }
}

/** @returns the id in the file: the one that was there, or that another segment or daemon has just made, or the given one */
async function keepId(path: string, id: string): Promise<string> {
  if ((await readText(path)) === undefined && (await createFileAtomically(path, `${id}\n`, 0o600))) return id;
  const kept = await readText(path);
  if (kept !== undefined && UUID.test(kept)) return kept;
  await writeFileAtomically(path, `${id}\n`, 0o600); // it holds no id, as after a disk that was full
  return id;
}

/** @returns undefined when the file is absent */
async function readText(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
