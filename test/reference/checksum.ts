/**
 * The Internet checksum as RFC 1071 section 1 states it, one word at a time with the carry taken at once: slow, and
 * plainly right.
 *
 * @returns the value for the checksum field; 0 over data that holds its own checksum
 */
export function referenceChecksum(data: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < data.length; i += 2) {
    const high = data[i]!;
    const low = i + 1 < data.length ? data[i + 1]! : 0;
    sum += high * 256 + low;
    if (sum > 0xffff) sum -= 0xffff;
  }
  return 0xffff - sum;
}
