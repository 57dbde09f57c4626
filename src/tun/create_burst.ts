import { ADDRESS_WORDS } from '../ip_address.js';
import type { Burst } from './burst.js';

/** Sizes of a burst. */
export interface BurstSizes {
  /** Most rows it can hold. */
  readonly rows: number;
  /** Bytes of frame memory. */
  readonly slabBytes: number;
}

/**
 * Allocates a burst, once, when a lane starts.
 *
 * The memory is a SharedArrayBuffer because that cannot be detached while native holds a pointer to it; native reads
 * the views, as Node 20's Node-API does not take the bare buffer.
 */
export function createBurst({ rows, slabBytes }: BurstSizes): Burst {
  const column = (words = 1): Int32Array => new Int32Array(new SharedArrayBuffer(rows * words * 4));
  return {
    slab: new Uint8Array(new SharedArrayBuffer(slabBytes)),
    offset: column(),
    length: column(),
    segments: column(),
    wireBytes: column(),
    source: column(ADDRESS_WORDS),
    outerClass: column(),
    cut: column(),
    fate: column(),
    lost: column(),
    lostErrno: column(),
  };
}
