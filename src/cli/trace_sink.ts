import { closeSync, openSync, writeSync } from 'node:fs';

import {
  pcapngInterface,
  pcapngPacket,
  pcapngSectionHeader,
  plainOf,
  SelvageError,
  type TraceRecord,
  VERSION,
} from '../index.js';
import { commentText, recordText } from './trace_text.js';

/** Where traced frames go. */
export interface TraceSink {
  /** A daemon's trace is on. @returns takes its frames */
  begin(device: string): (record: TraceRecord) => void;
  /** Everything was written; nothing follows. */
  close(): void;
}

/** Lines for people, or of JSON for programs. @param several whether lines say which device they are of */
export function lineSink(json: boolean, several: boolean, out: (text: string) => void): TraceSink {
  const lineOf = (device: string, record: TraceRecord): string =>
    json ? JSON.stringify({ device, ...plainOf(record) }) : recordText(record, several ? device : undefined);
  return {
    begin: (device) => (record) => out(`${lineOf(device, record)}\n`),
    close: () => undefined,
  };
}

/**
 * A pcapng file with an interface for each device. It is complete after each frame.
 *
 * @param out where `-` leads
 * @throws SelvageError ERR_TRACE_FILE, also from what it returns
 */
export function pcapSink(path: string, out: (bytes: Uint8Array) => void): TraceSink {
  const fd = path === '-' ? undefined : writing(path, () => openSync(path, 'w'));
  const write = (bytes: Uint8Array): void => {
    if (fd === undefined) out(bytes);
    else writing(path, () => writeAll(fd, bytes));
  };
  let interfaces = 0;
  write(pcapngSectionHeader(`selvage ${VERSION}`));
  return {
    begin: (device) => {
      const interfaceNumber = interfaces++;
      write(pcapngInterface(device));
      return (record) => write(packetOf(interfaceNumber, record));
    },
    close: () => {
      if (fd !== undefined) writing(path, () => closeSync(fd));
    },
  };
}

function packetOf(interfaceNumber: number, record: TraceRecord): Uint8Array {
  return pcapngPacket({
    interfaceNumber,
    time: record.time,
    bytes: record.head,
    originalBytes: record.lengthBytes,
    outbound: record.direction === 'outbound',
    comment: commentText(record),
  });
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
}

function writing<T>(path: string, write: () => T): T {
  try {
    return write();
  } catch (error) {
    const { code = 'failed' } = error as NodeJS.ErrnoException;
    throw new SelvageError(
      'ERR_TRACE_FILE',
      `--pcap ${path}: it cannot be written (${code}); choose a file in a directory that can be written and has room`,
      { cause: error },
    );
  }
}
