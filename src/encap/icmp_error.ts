/**
 * ICMP errors about frames that we cannot forward (RFC 792; router's rules: RFC 1812 section 4.3.2).
 *
 * ```text
 * +---------------------+---------------+----------------------------------------+
 * | IP header, 20 bytes | ICMP, 8 bytes | the offending frame, as much as fits   |
 * +---------------------+---------------+----------------------------------------+
 * |<------------------------------ 576 bytes at most --------------------------->|
 * ```
 */

import { put16, put32, put8, u8 } from '../bytes.js';
import { isGroupAddress, isRoutableUnicast } from './address_class.js';
import { checksumSum, finishChecksum } from './checksum.js';
import { copyBytes } from './copy_bytes.js';
import {
  ICMP_HEADER_BYTES,
  ICMP_OFFSET_CHECKSUM,
  ICMP_OFFSET_CODE,
  ICMP_OFFSET_NEXT_HOP_MTU,
  ICMP_OFFSET_TYPE,
  ICMP_OFFSET_UNUSED,
  icmpType,
  isIcmpQuery,
} from './icmp_header.js';
import {
  IPV4_DF,
  IPV4_FRAGMENT_OFFSET_BITS,
  IPV4_MIN_HEADER_BYTES,
  IPV4_OFFSET_CHECKSUM,
  IPV4_OFFSET_DESTINATION,
  IPV4_OFFSET_FRAGMENT,
  IPV4_OFFSET_IDENTIFICATION,
  IPV4_OFFSET_PROTOCOL,
  IPV4_OFFSET_SOURCE,
  IPV4_OFFSET_TOS,
  IPV4_OFFSET_TOTAL_BYTES,
  IPV4_OFFSET_TTL,
  IPV4_OFFSET_VERSION_IHL,
  IPV4_PLAIN_FIRST_BYTE,
  PROTOCOL_ICMP,
  ipv4Destination,
  ipv4Fragment,
  ipv4HeaderBytes,
  ipv4Protocol,
  ipv4Source,
  ipv4TotalBytes,
} from './ipv4_header.js';

/** No ICMP error is longer (RFC 1812 section 4.3.2.3): every host takes a datagram of this size. */
export const ICMP_ERROR_MAX_BYTES = 576;

/** Bytes before the quotation. */
const ANSWER_HEADER_BYTES = IPV4_MIN_HEADER_BYTES + ICMP_HEADER_BYTES;

/** Precedence 6, internetwork control (RFC 1812 section 4.3.2.5). */
const TOS_INTERNETWORK_CONTROL = 0xc0;

/**
 * The TOS bits that an error repeats (RFC 1812 section 4.3.2.5), as Linux icmp_send does. The fourth of them has become a
 * bit of ECN, and stays 0: an answer is no ECN-capable transport's (RFC 3168 section 5).
 */
const TOS_REPEATED_BITS = 0x1c;

/** RFC 1812 section 4.2.2.9 asks for a value that reaches everywhere; 64 is the assigned default (RFC 1700). */
const ANSWER_TTL = 64;

/**
 * May an ICMP error be sent about this frame (RFC 1812 section 4.3.2.7, RFC 1122 section 3.2.2)?
 *
 * Never about an ICMP error (queries may be answered), a later fragment, a frame to many hosts, or one whose source
 * is not a single host.
 *
 * @param at first byte of a header that classifyIpv4 found sound
 * @param length bytes of the frame
 */
export function mayAnswer(slab: Uint8Array, at: number, length: number): boolean {
  if (!isRoutableUnicast(ipv4Source(slab, at))) return false;
  if (isGroupAddress(ipv4Destination(slab, at))) return false;
  if ((ipv4Fragment(slab, at) & IPV4_FRAGMENT_OFFSET_BITS) !== 0) return false;
  if (ipv4Protocol(slab, at) !== PROTOCOL_ICMP) return true;
  const headerBytes = ipv4HeaderBytes(slab, at);
  // Its type decides, so an ICMP message too short to have one gets no answer.
  const end = Math.min(length, ipv4TotalBytes(slab, at));
  return end > headerBytes && isIcmpQuery(icmpType(slab, at + headerBytes));
}

/**
 * Writes an ICMP error about a frame, as a whole IPv4 packet with both checksums.
 *
 * Don't-fragment is set with identification 0: an atomic datagram, whose identification means nothing (RFC 6864). No
 * extension follows the quotation, so the length attribute of RFC 4884, part of the unused word, is 0 and the quotation may
 * have any length.
 *
 * @param out memory for the answer: {@link ICMP_ERROR_MAX_BYTES} free bytes from `outAt` on
 * @param slab memory of the offending frame; not changed
 * @param at first byte of its IP header, which classifyIpv4 found sound
 * @param length bytes of it that may be quoted; bytes beyond its total length are not
 * @param nextHopMtuOr0 for "fragmentation needed" (RFC 1191 section 4), otherwise 0
 * @param sourceAddress of the answer, int32
 * @returns bytes written, 48..576
 */
export function writeIcmpError(
  out: Uint8Array,
  outAt: number,
  slab: Uint8Array,
  at: number,
  length: number,
  type: number,
  code: number,
  nextHopMtuOr0: number,
  sourceAddress: number,
): number {
  const icmpAt = outAt + IPV4_MIN_HEADER_BYTES;
  const quotedBytes = quotableBytes(slab, at, length);
  copyBytes(out, outAt + ANSWER_HEADER_BYTES, slab, at, quotedBytes);
  putIcmpHeader(out, icmpAt, ICMP_HEADER_BYTES + quotedBytes, type, code, nextHopMtuOr0);
  const answerBytes = ANSWER_HEADER_BYTES + quotedBytes;
  const tos = TOS_INTERNETWORK_CONTROL | (u8(slab, at + IPV4_OFFSET_TOS) & TOS_REPEATED_BITS);
  putAnswerIpHeader(out, outAt, answerBytes, tos, sourceAddress, ipv4Source(slab, at));
  return answerBytes;
}

function quotableBytes(slab: Uint8Array, at: number, length: number): number {
  const frameBytes = Math.min(length, ipv4TotalBytes(slab, at));
  return Math.min(frameBytes, ICMP_ERROR_MAX_BYTES - ANSWER_HEADER_BYTES);
}

/** @param icmpBytes header and quotation, which is in place already */
function putIcmpHeader(
  out: Uint8Array,
  icmpAt: number,
  icmpBytes: number,
  type: number,
  code: number,
  nextHopMtu: number,
): void {
  put8(out, icmpAt + ICMP_OFFSET_TYPE, type);
  put8(out, icmpAt + ICMP_OFFSET_CODE, code);
  put16(out, icmpAt + ICMP_OFFSET_CHECKSUM, 0);
  put16(out, icmpAt + ICMP_OFFSET_UNUSED, 0);
  put16(out, icmpAt + ICMP_OFFSET_NEXT_HOP_MTU, nextHopMtu);
  put16(out, icmpAt + ICMP_OFFSET_CHECKSUM, finishChecksum(checksumSum(out, icmpAt, icmpBytes)));
}

function putAnswerIpHeader(
  out: Uint8Array,
  at: number,
  totalBytes: number,
  tos: number,
  source: number,
  destination: number,
): void {
  put8(out, at + IPV4_OFFSET_VERSION_IHL, IPV4_PLAIN_FIRST_BYTE);
  put8(out, at + IPV4_OFFSET_TOS, tos);
  put16(out, at + IPV4_OFFSET_TOTAL_BYTES, totalBytes);
  put16(out, at + IPV4_OFFSET_IDENTIFICATION, 0);
  put16(out, at + IPV4_OFFSET_FRAGMENT, IPV4_DF);
  put8(out, at + IPV4_OFFSET_TTL, ANSWER_TTL);
  put8(out, at + IPV4_OFFSET_PROTOCOL, PROTOCOL_ICMP);
  put16(out, at + IPV4_OFFSET_CHECKSUM, 0);
  put32(out, at + IPV4_OFFSET_SOURCE, source);
  put32(out, at + IPV4_OFFSET_DESTINATION, destination);
  put16(out, at + IPV4_OFFSET_CHECKSUM, finishChecksum(checksumSum(out, at, IPV4_MIN_HEADER_BYTES)));
}
