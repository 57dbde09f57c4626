/**
 * What names the flow of an inner frame: its addresses, its protocol and its ports, as int32 words.
 *
 * Made for frames on which nothing has been checked: whatever the bytes are, a word is either right by the header that is
 * there or says that it is not known.
 */
import { i32, u16 } from '../bytes.js';
import {
  IPV4_FRAGMENT_OFFSET_BITS,
  IPV4_MIN_HEADER_BYTES,
  ipv4Destination,
  ipv4Fragment,
  ipv4HeaderBytes,
  ipv4Protocol,
  ipv4Source,
  ipVersion,
} from '../encap/ipv4_header.js';
import { findUpperLayer, UPPER_LAYER_UNKNOWN, upperOffset, upperProtocol } from '../encap/ipv6_extensions.js';
import { IPV6_HEADER_BYTES, IPV6_OFFSET_SOURCE } from '../encap/ipv6_header.js';
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
  const version = available > 0 ? ipVersion(bytes, at) : 0;
  if (version === 4 && available >= IPV4_MIN_HEADER_BYTES) readIpv4(bytes, at, available, flow);
  else if (version === 6 && available >= IPV6_HEADER_BYTES) readIpv6(bytes, at, available, flow);
}

function readIpv4(bytes: Uint8Array, at: number, available: number, flow: Int32Array): void {
  const headerBytes = ipv4HeaderBytes(bytes, at);
  flow[FLOW_FAMILY] = 4;
  flow[FLOW_PROTOCOL] = ipv4Protocol(bytes, at);
  flow[FLOW_SOURCE] = ipv4Source(bytes, at);
  flow[FLOW_DESTINATION] = ipv4Destination(bytes, at);
  const isFirst = (ipv4Fragment(bytes, at) & IPV4_FRAGMENT_OFFSET_BITS) === 0;
  if (isFirst && headerBytes >= IPV4_MIN_HEADER_BYTES) readPorts(bytes, at, headerBytes, available, flow);
}

function readIpv6(bytes: Uint8Array, at: number, available: number, flow: Int32Array): void {
  flow[FLOW_FAMILY] = 6;
  for (let word = 0; word < 2 * ADDRESS_WORDS; word++) {
    flow[FLOW_SOURCE + word] = i32(bytes, at + IPV6_OFFSET_SOURCE + word * WORD_BYTES);
  }
  const found = findUpperLayer(bytes, at, available);
  if (found === UPPER_LAYER_UNKNOWN) return;
  flow[FLOW_PROTOCOL] = upperProtocol(found);
  // In a later fragment the offset is 0: what follows is payload.
  if (upperOffset(found) > 0) readPorts(bytes, at, upperOffset(found), available, flow);
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
