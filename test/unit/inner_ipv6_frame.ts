/** Builds inner IPv6 frames for tests: sound by default, and wrong in just the field that a test names. */

import { Buffer } from 'node:buffer';

import { ICMPV6_LAYOUT } from '../../src/encap/icmpv6_header.js';
import type { Icmpv6Fields } from '../../src/encap/icmpv6_header.js';
import { IPV6_LAYOUT } from '../../src/encap/ipv6_header.js';
import type { Ipv6Fields } from '../../src/encap/ipv6_header.js';
import { formatAddress, parseAddress } from '../../src/ip_address.js';
import { referenceChecksum } from '../reference/checksum.js';
import { PROTOCOL_UDP } from './inner_frame.js';

export interface InnerIpv6Frame {
  readonly source?: string;
  readonly destination?: string;
  readonly hopLimit?: number;
  readonly trafficClass?: number;
  readonly flowLabel?: number;
  readonly nextHeader?: number;
  /** Extension headers and upper layer. */
  readonly payload?: Uint8Array;
  /** Instead of 6. */
  readonly version?: number;
  /** Instead of what the frame's bytes ask for. */
  readonly payloadBytes?: number;
}

export const ICMPV6 = 58;

export function innerIpv6Frame(spec: InnerIpv6Frame = {}): Uint8Array {
  const payload = spec.payload ?? new Uint8Array(8);
  const frame = Buffer.alloc(IPV6_LAYOUT.span + payload.length);
  const source = parseAddress(spec.source ?? 'fd00:1:1::2').words;
  const destination = parseAddress(spec.destination ?? 'fd00:1:2::2').words;
  const version = spec.version ?? 6;
  IPV6_LAYOUT.encode(
    {
      versionClassFlow: (version << 28) | ((spec.trafficClass ?? 0) << 20) | (spec.flowLabel ?? 0xabcde),
      payloadBytes: spec.payloadBytes ?? payload.length,
      nextHeader: spec.nextHeader ?? PROTOCOL_UDP,
      hopLimit: spec.hopLimit ?? 64,
      source0: source[0]!,
      source1: source[1]!,
      source2: source[2]!,
      source3: source[3]!,
      destination0: destination[0]!,
      destination1: destination[1]!,
      destination2: destination[2]!,
      destination3: destination[3]!,
    },
    frame,
  );
  frame.set(payload, IPV6_LAYOUT.span);
  return new Uint8Array(frame);
}

/** One extension header: its number, and its bytes but for the first, which names what follows. */
export interface Extension {
  readonly header: number;
  /** From the second byte (the length) on. */
  readonly rest: Uint8Array;
}

/** A header of the common form, `8 * (units + 1)` bytes. */
export function extension(header: number, units = 0): Extension {
  const rest = new Uint8Array(8 * (units + 1) - 1);
  rest[0] = units;
  return { header, rest };
}

/** @param offsetUnits of 8 bytes; 0 in the first fragment */
export function fragmentHeader(offsetUnits: number, more = true): Extension {
  const rest = new Uint8Array(7);
  rest[1] = offsetUnits >> 5;
  rest[2] = ((offsetUnits & 31) << 3) | (more ? 1 : 0);
  return { header: 44, rest };
}

/** An authentication header of `4 * (words + 2)` bytes. */
export function authentication(words = 4): Extension {
  const rest = new Uint8Array(4 * (words + 2) - 1);
  rest[0] = words;
  return { header: 51, rest };
}

/** Next header and payload of a frame with these extension headers before `upper`. */
export function chained(
  extensions: readonly Extension[],
  nextHeader: number,
  upper: Uint8Array,
): { nextHeader: number; payload: Uint8Array } {
  const bytes = extensions.flatMap(({ rest }, i) => [extensions[i + 1]?.header ?? nextHeader, ...rest]);
  return {
    nextHeader: extensions[0]?.header ?? nextHeader,
    payload: Uint8Array.from([...bytes, ...upper]),
  };
}

/** What a packet's IPv6 header says, by the layout and not by our accessors; addresses as text. */
export function decodeIpv6(packet: Uint8Array): Pick<
  Ipv6Fields,
  'payloadBytes' | 'nextHeader' | 'hopLimit'
> & {
  version: number;
  trafficClass: number;
  flowLabel: number;
  source: string;
  destination: string;
} {
  const fields = IPV6_LAYOUT.decode(Buffer.from(packet));
  const { versionClassFlow, payloadBytes, nextHeader, hopLimit } = fields;
  return {
    version: versionClassFlow >>> 28,
    trafficClass: (versionClassFlow >>> 20) & 255,
    flowLabel: versionClassFlow & 0xfffff,
    payloadBytes,
    nextHeader,
    hopLimit,
    source: text(fields.source0, fields.source1, fields.source2, fields.source3),
    destination: text(fields.destination0, fields.destination1, fields.destination2, fields.destination3),
  };
}

/** What the ICMPv6 header right behind an IPv6 header says. */
export function decodeIcmpv6(packet: Uint8Array): Icmpv6Fields {
  return ICMPV6_LAYOUT.decode(Buffer.from(packet), IPV6_LAYOUT.span);
}

/** The checksum over pseudo-header and upper layer (RFC 8200 section 8.1): 0 when the packet holds the right one. */
export function upperChecksum(packet: Uint8Array): number {
  const upper = packet.subarray(IPV6_LAYOUT.span);
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(upper.length, 0);
  tail[7] = packet[6]!;
  return referenceChecksum(Uint8Array.from([...packet.subarray(8, 40), ...tail, ...upper]));
}

function text(...words: number[]): string {
  return formatAddress(6, Int32Array.from(words));
}
