import { i32 } from '../bytes.js';
import { ipv4Source } from '../encap/ipv4_header.js';
import { IPV6_OFFSET_SOURCE } from '../encap/ipv6_header.js';
import { ADDRESS_WORDS } from '../ip_address.js';

/**
 * The last frame of a lane that was refused for its sender, for the log: who sent it, and whom it claimed to come from.
 *
 * | word       | value                                            | writer   | readers | order |
 * |------------|--------------------------------------------------|----------|---------|-------|
 * | `VERSION`  | even: complete; odd: being written               | the lane | main    | stored before and after the others |
 * | `REASON`   | a DropReason; 0: none yet                        | the lane | main    | |
 * | `FAMILY`   | 4 or 6: of the inner frame                       | the lane | main    | |
 * | `OUTER`    | four words: outer source                         | the lane | main    | |
 * | `INNER`    | four words: inner source                         | the lane | main    | |
 */
const VERSION = 0;
const REASON = 1;
const FAMILY = 2;
const OUTER = 3;
const INNER = OUTER + ADDRESS_WORDS;
const WORDS = INNER + ADDRESS_WORDS;

/** A refused frame, read back. */
export interface Suspect {
  readonly reason: number;
  /** Of the inner frame. */
  readonly family: 4 | 6;
  readonly outerSource: Int32Array;
  readonly innerSource: Int32Array;
}

/** One lane's note. The lane writes, the main thread reads. */
export class SuspectNote {
  private readonly words: Int32Array;

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT);
  }

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
  }

  /**
   * Notes a frame that was refused.
   *
   * @param sources column of outer sources; the frame's words begin at `sourceAt`
   * @param at first byte of the inner header, which was found sound
   * @remarks Lane thread. Allocates nothing.
   */
  write(
    reason: number,
    isIpv6: boolean,
    sources: Int32Array,
    sourceAt: number,
    slab: Uint8Array,
    at: number,
  ): void {
    const { words } = this;
    const version = words[VERSION]!;
    Atomics.store(words, VERSION, version + 1);
    words[REASON] = reason;
    words[FAMILY] = isIpv6 ? 6 : 4;
    for (let word = 0; word < ADDRESS_WORDS; word++) {
      words[OUTER + word] = sources[sourceAt + word]!;
      if (isIpv6) words[INNER + word] = i32(slab, at + IPV6_OFFSET_SOURCE + 4 * word);
    }
    if (!isIpv6) words[INNER] = ipv4Source(slab, at);
    Atomics.store(words, VERSION, (version + 2) | 0);
  }

  /** @returns undefined when there is none, or the lane is writing just now. Allocates: for control threads. */
  read(): Suspect | undefined {
    const version = Atomics.load(this.words, VERSION);
    const copy = this.words.slice();
    if ((version & 1) !== 0 || Atomics.load(this.words, VERSION) !== version) return undefined;
    const reason = copy[REASON]!;
    if (reason === 0) return undefined;
    return {
      reason,
      family: copy[FAMILY] === 6 ? 6 : 4,
      outerSource: copy.subarray(OUTER, INNER),
      innerSource: copy.subarray(INNER, WORDS),
    };
  }
}
