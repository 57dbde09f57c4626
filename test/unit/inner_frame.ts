/** Builds inner frames for tests: sound by default, and wrong in just the field that a test names. */

import { Buffer } from 'node:buffer';

import { ICMP_LAYOUT } from '../../src/encap/icmp_header.js';
import type { IcmpFields } from '../../src/encap/icmp_header.js';
import { IPV4_LAYOUT } from '../../src/encap/ipv4_header.js';
import type { Ipv4Fields } from '../../src/encap/ipv4_header.js';
import { parseIpv4 } from '../../src/ipv4_prefix.js';
import { referenceChecksum } from '../reference/checksum.js';

export interface InnerFrame {
  readonly source?: string;
  readonly destination?: string;
  readonly ttl?: number;
  readonly tos?: number;
  readonly protocol?: number;
  readonly identification?: number;
  /** Flags and offset. */
  readonly fragment?: number;
  /** A multiple of 4 bytes. */
  readonly options?: Uint8Array;
  readonly payload?: Uint8Array;
  /** Instead of what the frame's bytes ask for. */
  readonly versionIhl?: number;
  readonly totalBytes?: number;
  /** Instead of the right one. */
  readonly checksum?: number;
}

export const PROTOCOL_UDP = 17;

/** A frame with a right header checksum over whatever its fields say. */
export function innerFrame(spec: InnerFrame = {}): Uint8Array {
  const options = spec.options ?? new Uint8Array(0);
  const payload = spec.payload ?? new Uint8Array(8);
  const headerBytes = IPV4_LAYOUT.span + options.length;
  const frame = Buffer.alloc(headerBytes + payload.length);
  const fields: Ipv4Fields = {
    versionIhl: spec.versionIhl ?? 0x40 | (headerBytes >> 2),
    tos: spec.tos ?? 0,
    totalBytes: spec.totalBytes ?? frame.length,
    identification: spec.identification ?? 0x1234,
    fragment: spec.fragment ?? 0,
    ttl: spec.ttl ?? 64,
    protocol: spec.protocol ?? PROTOCOL_UDP,
    checksum: 0,
    source: parseIpv4(spec.source ?? '10.1.1.2'),
    destination: parseIpv4(spec.destination ?? '10.1.2.2'),
  };
  IPV4_LAYOUT.encode(fields, frame);
  frame.set(options, IPV4_LAYOUT.span);
  frame.set(payload, headerBytes);
  fields.checksum = spec.checksum ?? referenceChecksum(frame.subarray(0, headerBytes));
  IPV4_LAYOUT.encode(fields, frame);
  return new Uint8Array(frame);
}

/** The first 8 bytes of an ICMP message of a type, as a payload. */
export function icmpMessage(type: number, code = 0): Uint8Array {
  const message = new Uint8Array(16);
  message[0] = type;
  message[1] = code;
  return message;
}

/** What a packet's IPv4 header says, by the layout and not by our accessors. */
export function decodeIpv4(packet: Uint8Array): Ipv4Fields {
  return IPV4_LAYOUT.decode(Buffer.from(packet));
}

/** What the ICMP header behind a 20-byte IPv4 header says. */
export function decodeIcmp(packet: Uint8Array): IcmpFields {
  return ICMP_LAYOUT.decode(Buffer.from(packet), IPV4_LAYOUT.span);
}
