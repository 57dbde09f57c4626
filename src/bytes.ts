/**
 * Network byte order over bytes. The only file that shifts bytes; callers have checked that `at` is inside `bytes`.
 */

/** Reads an unsigned 8-bit value. */
export function u8(bytes: Uint8Array, at: number): number {
  return bytes[at]!;
}

/** Reads an unsigned 16-bit big-endian value. */
export function u16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

/** Reads 32 bits big-endian as an int32: addresses are kept signed, `>>> 0` only when printed. */
export function i32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

/** Writes the low 8 bits of `value`. */
export function put8(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
}

/** Writes the low 16 bits of `value` big-endian. */
export function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

/** Writes 32 bits big-endian. */
export function put32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}
