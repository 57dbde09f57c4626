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
  /**
   * Bytes of the frame; of a superframe, the whole of it. All of them lie together at `offset`; of an inbound superframe only the
   * first `wireBytes`.
   */
  readonly length: Int32Array;
  /** Wire-sized frames in this row: 1 for an ordinary frame, more for a superframe, 0 when its gso fields lie. */
  readonly segments: Int32Array;
  /** Bytes of the largest wire-sized frame in this row; equals `length` for an ordinary frame. */
  readonly wireBytes: Int32Array;
  /** Inbound only: outer source address, `ADDRESS_WORDS` int32 words a row; of IPv4 only the first is not 0. */
  readonly source: Int32Array;
  /**
   * Traffic class (TOS) of the outer header, 0..255. Inbound it is what the datagrams of the row came with; a row that goes
   * out over UDP leaves with it.
   */
  readonly outerClass: Int32Array;
  /**
   * How a row that goes out over UDP is made to fit, written by TypeScript: {@link CUT_NONE}, {@link CUT_OUTER}, or above 0
   * the most bytes of each IPv4 fragment that native is to cut the inner frames into (RFC 791 section 3.2).
   */
  readonly cut: Int32Array;
  /** Written by TypeScript: next-hop id (0 is this host), or `-DropReason` for a frame that ends here. */
  readonly fate: Int32Array;
  /** Written by native after a send: wire-sized frames of the row that did not leave. */
  readonly lost: Int32Array;
  /** Written by native after a send: errno of the row's first loss. */
  readonly lostErrno: Int32Array;
}

/** The frames of the row leave as they are, in datagrams that must not be fragmented. */
export const CUT_NONE = 0;
/** The frames of the row leave as they are, in datagrams that the underlay may fragment: an IPv6 frame of up to 1,280 bytes. */
export const CUT_OUTER = -1;
