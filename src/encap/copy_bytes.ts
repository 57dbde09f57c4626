import { i32, put32, put8, u8 } from '../bytes.js';

/** Copies `count` bytes; word by word, because `set` needs a `subarray`, which allocates. */
export function copyBytes(out: Uint8Array, outAt: number, from: Uint8Array, at: number, count: number): void {
  const words = count & ~3;
  for (let i = 0; i < words; i += 4) put32(out, outAt + i, i32(from, at + i));
  for (let i = words; i < count; i++) put8(out, outAt + i, u8(from, at + i));
}
