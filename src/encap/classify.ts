/**
 * Is this frame a sound IPv4 packet? The one check at the edge; what runs later trusts its lengths.
 */

import { u16, u8 } from '../bytes.js';
import { checksumSum, finishChecksum } from './checksum.js';
import { DropReason } from './drop_reason.js';
import {
  IPV4_FRAGMENT_BITS,
  IPV4_MIN_HEADER_BYTES,
  IPV4_PLAIN_FIRST_BYTE,
  ipVersion,
  ipv4Fragment,
  ipv4HeaderBytes,
  ipv4TotalBytes,
} from './ipv4_header.js';

/**
 * Checks version, lengths and header checksum (RFC 1812 section 5.2.2).
 *
 * Options and fragments pass: a router forwards both. Bytes beyond the total length of an ordinary frame pass too (the
 * receiving kernel trims them); a superframe must be exactly as long as its header says, and no fragment, as no kernel
 * makes another kind.
 *
 * @param at first byte of the IP header
 * @param length bytes of the frame that lie in the slab, 0 or more
 * @param segments wire-sized frames in it, 1 or more
 * @returns 0, or `-DropReason`
 * @remarks Allocates nothing, never throws, and reads no byte at or beyond `at + length`.
 */
export function classifyIpv4(slab: Uint8Array, at: number, length: number, segments: number): number {
  if (length < IPV4_MIN_HEADER_BYTES) return classifyShort(slab, at, length);
  if (u8(slab, at) !== IPV4_PLAIN_FIRST_BYTE) return classifyUnusual(slab, at, length, segments);
  const totalBytes = u16(slab, at + 2);
  if (totalBytes > length) return -DropReason.truncated;
  if (totalBytes < IPV4_MIN_HEADER_BYTES) return -DropReason.badHeaderLength;
  // The ten words in a row rather than in a loop: 7 ns a frame instead of 11 (bench/micro, classify).
  const sum =
    u16(slab, at) +
    totalBytes +
    u16(slab, at + 4) +
    u16(slab, at + 6) +
    u16(slab, at + 8) +
    u16(slab, at + 10) +
    u16(slab, at + 12) +
    u16(slab, at + 14) +
    u16(slab, at + 16) +
    u16(slab, at + 18);
  // One fold is enough to tell: a sound header sums to k * 0xffff with k <= 10, and that folds to 0xffff at once.
  if ((sum & 0xffff) + (sum >>> 16) !== 0xffff) return -DropReason.badChecksum;
  return segments === 1 ? 0 : superframeVerdict(slab, at, length);
}

/** A header with options, or none of IPv4. */
function classifyUnusual(slab: Uint8Array, at: number, length: number, segments: number): number {
  if (ipVersion(slab, at) !== 4) return versionVerdict(slab, at);
  const headerBytes = ipv4HeaderBytes(slab, at);
  if (headerBytes < IPV4_MIN_HEADER_BYTES || headerBytes > length) return -DropReason.badHeaderLength;
  const totalBytes = ipv4TotalBytes(slab, at);
  if (totalBytes > length) return -DropReason.truncated;
  if (totalBytes < headerBytes) return -DropReason.badHeaderLength;
  if (finishChecksum(checksumSum(slab, at, headerBytes)) !== 0) return -DropReason.badChecksum;
  return segments === 1 ? 0 : superframeVerdict(slab, at, length);
}

/** The version is judged before the length, so that a stub of IPv6 is not taken for a cut IPv4 frame. */
function classifyShort(slab: Uint8Array, at: number, length: number): number {
  if (length <= 0 || ipVersion(slab, at) === 4) return -DropReason.truncated;
  return versionVerdict(slab, at);
}

function versionVerdict(slab: Uint8Array, at: number): number {
  return ipVersion(slab, at) === 6 ? -DropReason.ipv6NotCarried : -DropReason.badVersion;
}

function superframeVerdict(slab: Uint8Array, at: number, length: number): number {
  if (ipv4TotalBytes(slab, at) !== length) return -DropReason.badGso;
  return (ipv4Fragment(slab, at) & IPV4_FRAGMENT_BITS) === 0 ? 0 : -DropReason.badGso;
}
