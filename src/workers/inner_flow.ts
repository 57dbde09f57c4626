/**
 * What names the flow of an inner frame: its addresses, its protocol and its ports, as int32 words.
 *
 * Made for frames on which nothing has been checked: whatever the bytes are, a word is either right by the header that is
 * there or says that it is not known.
 */
import { i32, u16, u8 } from '../bytes.js';
import { ADDRESS_WORDS } from '../ip_address.js';

/** 4 or 6; 0 when the bytes are no IP header, and then nothing else is known. */
export const FLOW_FAMILY = 0;
/** Protocol number (IANA) behind the IP header and its extensions; -1 when it is not known. */
export const FLOW_PROTOCOL = 1;
/** Ports, 0..65535; -1 for a protocol without ports, a fragment that is not the first, or a header cut short. */
export const FLOW_SOURCE_PORT = 2;
export const FLOW_DESTINATION_PORT = 3;
/** Addresses, {@link ADDRESS_WORDS} words each; of IPv4 the first word holds it and the others are 0. */
export const FLOW_SOURCE = 4;
export const FLOW_DESTINATION = FLOW_SOURCE + ADDRESS_WORDS;
/** Words of a flow. */
export const FLOW_WORDS = FLOW_DESTINATION + ADDRESS_WORDS;

const UNKNOWN = -1;
const WORD_BYTES = 4;

/** RFC 791 section 3.1: offsets of the fields, and the bits of the fragment offset. */
const IPV4_BYTES = 20;
const IPV4_FRAGMENT = 6;
const IPV4_PROTOCOL = 9;
const IPV4_SOURCE = 12;
const IPV4_FRAGMENT_OFFSET_BITS = 0x1fff;

/** RFC 8200 section 3. */
const IPV6_BYTES = 40;
const IPV6_NEXT_HEADER = 6;
const IPV6_SOURCE = 8;

/** Extension headers (RFC 8200 section 4, RFC 4302 section 2): those whose length is known. */
const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const AUTHENTICATION = 51;
const DESTINATION_OPTIONS = 60;
/** RFC 8200 section 4.1 lists seven; more than this is nobody's traffic. */
const MOST_EXTENSIONS = 8;
/** Every extension header is at least so long, and tells its length within it. */
const EXTENSION_BYTES = 8;
/** RFC 8200 section 4.5: the fragment offset in its second 16 bits. */
const IPV6_FRAGMENT_OFFSET_BITS = 0xfff8;

const TCP = 6;
const UDP = 17;
const DCCP = 33;
const SCTP = 132;
const UDP_LITE = 136;
const PORTS_BYTES = 4;

/**
 * Reads the flow of the frame at `at`.
 *
 * @param available bytes of the frame that lie together at `at`
 * @param flow {@link FLOW_WORDS} words, all of which are written
 * @remarks Allocates nothing. Never throws, and reads nothing beyond `available`, whatever the bytes are.
 */
export function readInnerFlow(bytes: Uint8Array, at: number, available: number, flow: Int32Array): void {
  flow[FLOW_FAMILY] = 0;
  flow[FLOW_PROTOCOL] = UNKNOWN;
  flow[FLOW_SOURCE_PORT] = UNKNOWN;
  flow[FLOW_DESTINATION_PORT] = UNKNOWN;
  for (let word = FLOW_SOURCE; word < FLOW_WORDS; word++) flow[word] = 0;
  const version = available > 0 ? u8(bytes, at) >>> 4 : 0;
  if (version === 4 && available >= IPV4_BYTES) readIpv4(bytes, at, available, flow);
  else if (version === 6 && available >= IPV6_BYTES) readIpv6(bytes, at, available, flow);
}

function readIpv4(bytes: Uint8Array, at: number, available: number, flow: Int32Array): void {
  const protocol = u8(bytes, at + IPV4_PROTOCOL);
  const headerBytes = (u8(bytes, at) & 0x0f) * WORD_BYTES;
  flow[FLOW_FAMILY] = 4;
  flow[FLOW_PROTOCOL] = protocol;
  flow[FLOW_SOURCE] = i32(bytes, at + IPV4_SOURCE);
  flow[FLOW_DESTINATION] = i32(bytes, at + IPV4_SOURCE + WORD_BYTES);
  const isFirst = (u16(bytes, at + IPV4_FRAGMENT) & IPV4_FRAGMENT_OFFSET_BITS) === 0;
  if (isFirst && headerBytes >= IPV4_BYTES) readPorts(bytes, at, headerBytes, available, flow);
}

function readIpv6(bytes: Uint8Array, at: number, available: number, flow: Int32Array): void {
  flow[FLOW_FAMILY] = 6;
  for (let word = 0; word < 2 * ADDRESS_WORDS; word++) {
    flow[FLOW_SOURCE + word] = i32(bytes, at + IPV6_SOURCE + word * WORD_BYTES);
  }
  let header = u8(bytes, at + IPV6_NEXT_HEADER);
  let behind = IPV6_BYTES;
  let isFirst = true;
  for (let i = 0; isExtension(header); i++) {
    if (i === MOST_EXTENSIONS || available - behind < EXTENSION_BYTES) return;
    const extension = header;
    const units = u8(bytes, at + behind + 1);
    if (extension === FRAGMENT) {
      isFirst &&= (u16(bytes, at + behind + 2) & IPV6_FRAGMENT_OFFSET_BITS) === 0;
    }
    header = u8(bytes, at + behind);
    behind += extensionBytes(extension, units);
    // What follows in a later fragment is its payload, whose bytes name no header.
    if (!isFirst) break;
  }
  flow[FLOW_PROTOCOL] = header;
  if (isFirst) readPorts(bytes, at, behind, available, flow);
}

function isExtension(header: number): boolean {
  return (
    header === HOP_BY_HOP ||
    header === ROUTING ||
    header === FRAGMENT ||
    header === AUTHENTICATION ||
    header === DESTINATION_OPTIONS
  );
}

/** The length is told in units of 8 bytes behind the first 8, by AH in units of 4 behind the first 8 (RFC 4302 section 2.2). */
function extensionBytes(extension: number, units: number): number {
  if (extension === FRAGMENT) return EXTENSION_BYTES;
  return EXTENSION_BYTES + units * (extension === AUTHENTICATION ? WORD_BYTES : EXTENSION_BYTES);
}

/** @param behind bytes from the frame's start to the header of the flow's protocol */
function readPorts(bytes: Uint8Array, at: number, behind: number, available: number, flow: Int32Array): void {
  if (!hasPorts(flow[FLOW_PROTOCOL]!) || available - behind < PORTS_BYTES) return;
  flow[FLOW_SOURCE_PORT] = u16(bytes, at + behind);
  flow[FLOW_DESTINATION_PORT] = u16(bytes, at + behind + 2);
}

/** Protocols whose header begins with both ports. */
function hasPorts(protocol: number): boolean {
  return (
    protocol === TCP || protocol === UDP || protocol === SCTP || protocol === DCCP || protocol === UDP_LITE
  );
}
