import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Lab, LabHost, LabPod } from './lab.js';
import type { Namespace } from './namespace.js';
import { reportOf, startTool } from './tool.js';

/** Bytes to send. */
export interface SentRecord {
  readonly bytes: Uint8Array;
  /** Above 0: the kernel cuts `bytes` into datagrams of so many, of which the last may be shorter (UDP_SEGMENT). */
  readonly segmentBytes?: number;
}

/** What became of the records: those that left, and the others by the name of their errno. */
export interface ReplayReport {
  readonly sent: number;
  readonly refused: Readonly<Record<string, number>>;
}

let filesWritten = 0;

/** Sends each record as a UDP datagram of either family, or a superframe of them; the kernel chooses the source port. */
export function sendDatagrams(
  lab: Lab,
  from: Namespace,
  records: readonly SentRecord[],
  to: { readonly address: string; readonly port: number },
): Promise<ReplayReport> {
  return reportOf(startTool(from, 'replay', 'datagrams', recordsFile(lab, records), to.address, to.port));
}

/**
 * Puts each record into the sending queue of an interface as it is, past the IP stack. A queue that is full drops without a
 * word, so send no more than the queue holds.
 */
export function sendFrames(
  lab: Lab,
  from: LabHost,
  frames: readonly Uint8Array[],
  device: string,
): Promise<ReplayReport> {
  const records = frames.map((bytes) => ({ bytes }));
  return reportOf(startTool(from, 'replay', 'frames', recordsFile(lab, records), device));
}

/** Sends each packet out of a pod's `eth0` to its host as it is, past the IP stack, whatever its family. */
export async function sendPackets(
  lab: Lab,
  from: LabPod,
  packets: readonly Uint8Array[],
): Promise<ReplayReport> {
  const records = packets.map((bytes) => ({ bytes }));
  const mac = await bridgeMac(lab, from);
  return await reportOf(startTool(from, 'replay', 'packets', recordsFile(lab, records), 'eth0', mac));
}

/** Where a pod sends what is not for its own subnet: the MAC address of its host's bridge. */
export async function bridgeMac(lab: Lab, pod: LabPod): Promise<string> {
  const { stdout } = await lab.host(pod.number - 1).exec('ip', ['-json', 'link', 'show', 'cni0']);
  const [{ address } = { address: '' }] = JSON.parse(stdout) as { address: string }[];
  return address;
}

/** As {@link sendFrames}, each frame with a virtio-net header of 10 bytes before it, which the kernel believes in part. */
export function sendOffloads(
  lab: Lab,
  from: LabHost,
  frames: readonly Uint8Array[],
  device: string,
): Promise<ReplayReport> {
  const records = frames.map((bytes) => ({ bytes }));
  return reportOf(startTool(from, 'replay', 'offloads', recordsFile(lab, records), device));
}

function recordsFile(lab: Lab, records: readonly SentRecord[]): string {
  const parts: Uint8Array[] = [];
  for (const { bytes, segmentBytes = 0 } of records) {
    const header = Buffer.alloc(6);
    header.writeUInt32BE(bytes.length, 0);
    header.writeUInt16BE(segmentBytes, 4);
    parts.push(header, bytes);
  }
  const file = join(lab.directory, `records-${++filesWritten}`);
  writeFileSync(file, Buffer.concat(parts));
  return file;
}
