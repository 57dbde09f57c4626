/**
 * The Internet checksum (RFC 1071) over a few bytes: headers and ICMP answers. Whole frames are native's.
 */

import { u16, u8 } from '../bytes.js';

/**
 * Ones' complement sum of `count` bytes as big-endian 16-bit words, an odd last byte padded with zero on its right.
 *
 * @param count 0..65535; the sum is then below 2^31
 * @returns the sum, not folded and not complemented
 */
export function checksumSum(bytes: Uint8Array, at: number, count: number): number {
  const evenEnd = at + (count & ~1);
  let sum = 0;
  for (let word = at; word < evenEnd; word += 2) sum += u16(bytes, word);
  return (count & 1) === 0 ? sum : sum + (u8(bytes, evenEnd) << 8);
}

/** Folds a sum to 16 bits and complements it: the value for a checksum field. */
export function finishChecksum(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  const twice = (once & 0xffff) + (once >>> 16);
  return ~twice & 0xffff;
}
