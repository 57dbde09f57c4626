/**
 * A burst: the frames that one native call returned or accepts, as columns over shared memory.
 *
 * Frames are an index `i`, not an object, so that a burst allocates nothing. Rows `0..count-1` are valid, where `count`
 * is what the receiving call returned.
 */
export interface Burst {
  /** Frame bytes. Owned by the lane that made the burst; native keeps a pointer until the burst is detached. */
  readonly slab: Uint8Array;
  /** Bytes from the slab's start to the first byte of the frame's IP header. */
  readonly offset: Int32Array;
  /** Bytes of the frame; of a superframe, the whole of it. The first 120 bytes (or all) lie together at `offset`. */
  readonly length: Int32Array;
  /** Wire-sized frames in this row: 1 for an ordinary frame, more for a superframe, 0 when its gso fields lie. */
  readonly segments: Int32Array;
  /** Bytes of the largest wire-sized frame in this row; equals `length` for an ordinary frame. */
  readonly wireBytes: Int32Array;
  /** Inbound only: outer IPv4 source address as int32 (host order, may be negative). */
  readonly source: Int32Array;
  /** Written by TypeScript: next-hop id (0 is this host), or `-DropReason` for a frame that ends here. */
  readonly fate: Int32Array;
  /** Written by native after a send: wire-sized frames of the row that did not leave. */
  readonly lost: Int32Array;
  /** Written by native after a send: errno of the row's first loss. */
  readonly lostErrno: Int32Array;
}
