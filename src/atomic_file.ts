import { randomUUID } from 'node:crypto';
import { link, mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/**
 * Writes a whole file so that a reader, or a machine that loses power, sees the old text or the new one and nothing in
 * between: a file beside it, flushed, takes its name (rename(2)). A missing directory is made, 0755.
 *
 * @param mode permissions of the file, whatever the process's umask
 * @throws the system's error; the file is as it was
 */
export async function writeFileAtomically(path: string, text: string, mode: number): Promise<void> {
  const directory = dirname(path);
  await mkdir(directory, { recursive: true, mode: 0o755 });
  // flanneld's name for it as well. One name and not a new one each time: what a crash leaves, the next write removes.
  const temporary = join(directory, `.${basename(path)}`);
  await rm(temporary, { force: true });
  try {
    await writeFlushed(temporary, text, mode);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await flushDirectory(directory);
}

/**
 * The same for a file that is to be made once: of several who make it at a time, in one process or in several, one does
 * (link(2) replaces nothing).
 *
 * @returns whether it was made; false when there is one, which is left alone
 * @throws the system's error
 */
export async function createFileAtomically(path: string, text: string, mode: number): Promise<boolean> {
  const directory = dirname(path);
  await mkdir(directory, { recursive: true, mode: 0o755 });
  const temporary = join(directory, `.${basename(path)}.${randomUUID()}`); // the others have theirs
  try {
    await writeFlushed(temporary, text, mode);
    await link(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
  await flushDirectory(directory);
  return true;
}

async function writeFlushed(path: string, text: string, mode: number): Promise<void> {
  const file = await open(path, 'wx', mode);
  try {
    await file.chmod(mode);
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The new name is on disk only when the directory is. */
async function flushDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
