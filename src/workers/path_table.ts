/**
 * What is known of the way to each next hop, over one SharedArrayBuffer per forwarder.
 *
 * | word of an id | value                                                            | writer      | readers |
 * |---------------|------------------------------------------------------------------|-------------|---------|
 * | `LIMIT`       | most bytes of an inner frame to it; 0: no less than to all others | main, lanes | lanes   |
 * | `ECHO`        | round << 16, or'ed with the bytes of its largest echo so far     | lanes       | main    |
 *
 * Each word is complete in itself, so plain loads and stores do: a reader finds the old value or the new one. A lane that
 * learns a limit and the main thread that lifts it may cross; the next frame that is too large teaches it again.
 */

const PATH_WORDS = 2;
const LIMIT = 0;
const ECHO = 1;
const ROUND_SHIFT = 16;
const BYTES_MASK = 0xffff;

/** The paths by next-hop id, as one thread sees them. Ids at or above `maxPeers` have none, and no limits of their own. */
export class PathTable {
  private readonly words: Int32Array;
  private readonly maxPeers: number;

  /** Allocates the block; memory is used only for the ids that are written. Pairs with the constructor on every thread. */
  static allocate(maxPeers: number): SharedArrayBuffer {
    return new SharedArrayBuffer(maxPeers * PATH_WORDS * Int32Array.BYTES_PER_ELEMENT);
  }

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
    this.maxPeers = this.words.length / PATH_WORDS;
  }

  /** Most bytes of an inner frame to this next hop, or 0 when it has no limit of its own. Hot. */
  limit(id: number): number {
    return id < this.maxPeers ? this.words[id * PATH_WORDS + LIMIT]! : 0;
  }

  /** @param bytes 0 lifts the limit */
  setLimit(id: number, bytes: number): void {
    if (id < this.maxPeers) this.words[id * PATH_WORDS + LIMIT] = bytes;
  }

  /** An echo came back. @param round 0..65,535. @param bytes of the inner frame, 1..65,535 */
  noteEcho(id: number, round: number, bytes: number): void {
    if (id >= this.maxPeers || this.largestEcho(id, round) >= bytes) return;
    this.words[id * PATH_WORDS + ECHO] = (round << ROUND_SHIFT) | bytes;
  }

  /** The largest echo of this round that came back, bytes; 0 for none. */
  largestEcho(id: number, round: number): number {
    if (id >= this.maxPeers) return 0;
    const word = this.words[id * PATH_WORDS + ECHO]!;
    return word >>> ROUND_SHIFT === round ? word & BYTES_MASK : 0;
  }

  /** The id means another next hop from now on. */
  forget(id: number): void {
    if (id >= this.maxPeers) return;
    this.words[id * PATH_WORDS + LIMIT] = 0;
    this.words[id * PATH_WORDS + ECHO] = 0;
  }
}
