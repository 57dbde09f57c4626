/** Reads the blocks of a pcapng file that selvage writes, by the drawings of draft-ietf-opsawg-pcapng section 4. */

import { Buffer } from 'node:buffer';

export interface ReadPacket {
  readonly interfaceNumber: number;
  readonly nanos: bigint;
  readonly bytes: Buffer;
  readonly originalBytes: number;
  /** 1 inbound, 2 outbound. */
  readonly direction: number | undefined;
  readonly comment: string | undefined;
}

export interface ReadCapture {
  application: string | undefined;
  readonly interfaces: { name: string; linkType: number; unitsPerSecond: number }[];
  readonly packets: ReadPacket[];
}

/** @throws Error for anything that is not as it should be */
export function readPcapng(file: Buffer): ReadCapture {
  const capture: ReadCapture = { application: undefined, interfaces: [], packets: [] };
  for (let at = 0; at < file.length;) {
    const type = file.readUInt32LE(at);
    const length = file.readUInt32LE(at + 4);
    require(length % 4 === 0 && at + length <= file.length, 'block length');
    require(file.readUInt32LE(at + length - 4) === length, 'both lengths are equal');
    require((at === 0) === (type === 0x0a0d0d0a), 'one section header, at the start');
    readBlock(capture, type, file.subarray(at + 8, at + length - 4));
    at += length;
  }
  return capture;
}

function readBlock(capture: ReadCapture, type: number, body: Buffer): void {
  if (type === 0x0a0d0d0a) {
    require(body.readUInt32LE(0) === 0x1a2b3c4d && body.readUInt16LE(4) === 1, 'magic and version');
    require(body.readBigInt64LE(8) === -1n, 'section length');
    capture.application = optionsOf(body, 16).get(4)?.toString();
  } else if (type === 1) {
    const options = optionsOf(body, 8);
    capture.interfaces.push({
      name: options.get(2)!.toString(),
      linkType: body.readUInt16LE(0),
      unitsPerSecond: 10 ** options.get(9)![0]!,
    });
  } else if (type === 6) {
    capture.packets.push(packetOf(body));
  } else {
    throw new Error(`block type ${type}`);
  }
}

function packetOf(body: Buffer): ReadPacket {
  const captured = body.readUInt32LE(12);
  const options = optionsOf(body, 20 + Math.ceil(captured / 4) * 4);
  return {
    interfaceNumber: body.readUInt32LE(0),
    nanos: (BigInt(body.readUInt32LE(4)) << 32n) | BigInt(body.readUInt32LE(8)),
    bytes: Buffer.from(body.subarray(20, 20 + captured)),
    originalBytes: body.readUInt32LE(16),
    direction: options.get(2)?.readUInt32LE(0),
    comment: options.get(1)?.toString(),
  };
}

function optionsOf(body: Buffer, start: number): Map<number, Buffer> {
  const options = new Map<number, Buffer>();
  for (let at = start; ;) {
    const code = body.readUInt16LE(at);
    const length = body.readUInt16LE(at + 2);
    if (code === 0) {
      require(length === 0 && at + 4 === body.length, 'options end with the block');
      return options;
    }
    options.set(code, body.subarray(at + 4, at + 4 + length));
    at += 4 + Math.ceil(length / 4) * 4;
  }
}

function require(condition: boolean, what: string): void {
  if (!condition) throw new Error(`not a capture: ${what}`);
}
