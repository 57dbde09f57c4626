import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, stat } from 'node:fs/promises';

import { SelvageError } from '../../errors.js';

/** One reading of a file. */
export interface FileReading {
  readonly text: string;
  /** SHA-256 of the bytes: equal readings have equal digests. */
  readonly digest: string;
  /** What {@link statSignature} would have said at that moment; '' when a later write could leave it the same. */
  readonly signature: string;
}

/**
 * Time after a write in which another write can leave size and time stamps as they are: the kernel stamps with the clock of
 * its last tick (Linux `current_time`), 10 ms at the slowest tick rate, here with a margin for coarser file systems.
 */
const RACY_MS = 100;

/**
 * What tells one state of a file from another without reading it: device, inode, size, times. Follows symbolic links, so
 * that a link that now leads elsewhere differs.
 *
 * @returns 'absent' when there is no such file, or it cannot be seen
 */
export async function statSignature(path: string): Promise<string> {
  try {
    return signatureOf(await stat(path, { bigint: true }));
  } catch {
    return 'absent';
  }
}

/**
 * Reads a whole regular file of UTF-8 text.
 *
 * @throws SelvageError `code` when it is not a regular file, not UTF-8, or larger than `maxBytes`; file system errors as
 *   they come, with `code` ENOENT, EACCES...
 */
export async function readTextFile(path: string, maxBytes: number, code: string): Promise<FileReading> {
  // Without O_NONBLOCK, opening a FIFO waits for a writer, perhaps forever.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const before = await file.stat({ bigint: true });
    if (!before.isFile()) throw new SelvageError(code, 'not a regular file');
    if (before.size > BigInt(maxBytes)) {
      throw new SelvageError(code, `${before.size} bytes is more than the most allowed, ${maxBytes}`);
    }
    const bytes = await readAtMost(file, Number(before.size), maxBytes, code);
    const lastChangeMs = Math.max(Number(before.mtimeMs), Number(before.ctimeMs));
    return {
      text: decode(bytes, code),
      digest: createHash('sha256').update(bytes).digest('hex'),
      signature: Date.now() - lastChangeMs > RACY_MS ? signatureOf(before) : '',
    };
  } finally {
    await file.close();
  }
}

async function readAtMost(
  file: Awaited<ReturnType<typeof open>>,
  expectedBytes: number,
  maxBytes: number,
  code: string,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let total = 0;
  for (;;) {
    // One byte more than expected, so that the usual file ends in one short read.
    const chunk = new Uint8Array(Math.max(expectedBytes + 1 - total, 64 * 1024));
    const { bytesRead } = await file.read(chunk, 0, chunk.length, null);
    total += bytesRead;
    if (total > maxBytes) throw new SelvageError(code, `more bytes than the most allowed, ${maxBytes}`);
    if (bytesRead === 0) return Buffer.concat(chunks, total);
    chunks.push(chunk.subarray(0, bytesRead));
  }
}

function decode(bytes: Uint8Array, code: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new SelvageError(code, 'not UTF-8 text', { cause: error });
  }
}

interface BigStat {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

function signatureOf({ dev, ino, size, mtimeNs, ctimeNs }: BigStat): string {
  return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
}
