/**
 * Blocks of a pcapng file (draft-ietf-opsawg-pcapng, sections 3 and 4), little-endian, with times in nanoseconds.
 *
 * ```text
 * +---------------------------+
 * | block type                |  every block is a multiple of 4 bytes
 * | total length, bytes       |
 * | body ...                  |
 * | options ...               |  code, length, value padded to 4 bytes; ended by code 0
 * | total length, bytes       |
 * +---------------------------+
 * ```
 *
 * A file is one section header, then the descriptions of its interfaces, whose numbers count from 0, and packets. It is
 * complete after each block.
 */
import { Buffer } from 'node:buffer';

const BLOCK_SECTION_HEADER = 0x0a0d0d0a;
const BLOCK_INTERFACE = 1;
const BLOCK_ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const SECTION_LENGTH_UNKNOWN = -1n;

const OPTION_END = 0;
const OPTION_COMMENT = 1;
const OPTION_SECTION_APPLICATION = 4;
const OPTION_INTERFACE_NAME = 2;
const OPTION_INTERFACE_TIME_RESOLUTION = 9;
const OPTION_PACKET_FLAGS = 2;

/** LINKTYPE_RAW: packets begin with an IPv4 or IPv6 header. */
export const LINKTYPE_RAW = 101;
/** Times count units of 10^-9 seconds. */
const NANOSECONDS = 9;
const NANOS_PER_MILLI = 1_000_000n;
const NO_SNAP_LENGTH = 0;
const MOST_OPTION_BYTES = 65_535;

/** Bits 0 and 1 of the packet flags. */
const FLAG_INBOUND = 1;
const FLAG_OUTBOUND = 2;

/** One packet of a file. */
export interface PcapngPacket {
  /** Interfaces count from 0 in order of their blocks. */
  readonly interfaceNumber: number;
  readonly time: Date;
  /** What was kept of it, from its IP header on. */
  readonly bytes: Uint8Array;
  /** Bytes it had. */
  readonly originalBytes: number;
  readonly outbound: boolean;
  readonly comment: string;
}

/** The block that a file begins with. @param application that wrote it */
export function pcapngSectionHeader(application: string): Buffer {
  const body = Buffer.alloc(16);
  body.writeUInt32LE(BYTE_ORDER_MAGIC, 0);
  body.writeUInt16LE(1, 4); // version 1.0
  body.writeBigInt64LE(SECTION_LENGTH_UNKNOWN, 8);
  return block(BLOCK_SECTION_HEADER, body, [textOption(OPTION_SECTION_APPLICATION, application)]);
}

/** The block of an interface whose packets are IP packets. */
export function pcapngInterface(name: string): Buffer {
  const body = Buffer.alloc(8);
  body.writeUInt16LE(LINKTYPE_RAW, 0);
  body.writeUInt32LE(NO_SNAP_LENGTH, 4);
  return block(BLOCK_INTERFACE, body, [
    textOption(OPTION_INTERFACE_NAME, name),
    option(OPTION_INTERFACE_TIME_RESOLUTION, Buffer.from([NANOSECONDS])),
  ]);
}

/** The block of one packet. */
export function pcapngPacket(packet: PcapngPacket): Buffer {
  const { interfaceNumber, time, bytes, originalBytes, outbound, comment } = packet;
  const nanos = BigInt(time.getTime()) * NANOS_PER_MILLI;
  const body = Buffer.alloc(20 + padded(bytes.length));
  body.writeUInt32LE(interfaceNumber, 0);
  body.writeUInt32LE(Number(nanos >> 32n), 4);
  body.writeUInt32LE(Number(nanos & 0xffff_ffffn), 8);
  body.writeUInt32LE(bytes.length, 12);
  body.writeUInt32LE(originalBytes, 16);
  body.set(bytes, 20);
  const flags = Buffer.alloc(4);
  flags.writeUInt32LE(outbound ? FLAG_OUTBOUND : FLAG_INBOUND);
  return block(BLOCK_ENHANCED_PACKET, body, [
    textOption(OPTION_COMMENT, comment),
    option(OPTION_PACKET_FLAGS, flags),
  ]);
}

function block(type: number, body: Buffer, options: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(8);
  const tail = Buffer.alloc(4);
  const parts = [head, body, ...options, option(OPTION_END, Buffer.alloc(0)), tail];
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  head.writeUInt32LE(type, 0);
  head.writeUInt32LE(length, 4);
  tail.writeUInt32LE(length, 0);
  return Buffer.concat(parts);
}

function textOption(code: number, text: string): Buffer {
  return option(code, Buffer.from(text, 'utf8').subarray(0, MOST_OPTION_BYTES));
}

function option(code: number, value: Buffer): Buffer {
  const bytes = Buffer.alloc(4 + padded(value.length));
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt16LE(value.length, 2);
  bytes.set(value, 4);
  return bytes;
}

/** Rounded up to a multiple of 4. */
function padded(bytes: number): number {
  return (bytes + 3) & ~3;
}
