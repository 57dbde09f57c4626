import { i32 } from '../bytes.js';
import { DropReason } from '../encap/drop_reason.js';
import { ADDRESS_WORDS } from '../ip_address.js';

/**
 * The last frame of a lane that was refused for its sender, for the log: who sent it, and whom it claimed to come from. One record
 * for each reason, so that a flood of strangers does not cover up a peer that lies.
 *
 * | word       | value                                            | writer   | readers | order |
 * |------------|--------------------------------------------------|----------|---------|-------|
 * | `VERSION`  | even: complete; odd: being written               | the lane | main    | stored before and after the others |
 * | `FAMILY`   | 4 or 6: of the inner frame; 0: none yet          | the lane | main    | |
 * | `OUTER`    | four words: outer source                         | the lane | main    | |
 * | `INNER`    | four words: inner source                         | the lane | main    | |
 */
const VERSION = 0;
const FAMILY = 1;
const OUTER = 2;
const INNER = OUTER + ADDRESS_WORDS;
const RECORD_WORDS = INNER + ADDRESS_WORDS;
const RECORDS = 2;

const IPV4_SOURCE = 12;
const IPV6_SOURCE = 8;

/** A refused frame, read back. */
export interface Suspect {
  /** Of the inner frame. */
  readonly family: 4 | 6;
  readonly outerSource: Int32Array;
  readonly innerSource: Int32Array;
}

/** One lane's note. The lane writes, the main thread reads. */
export class SuspectNote {
  private readonly words: Int32Array;

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(RECORDS * RECORD_WORDS * Int32Array.BYTES_PER_ELEMENT);
  }

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
  }

  /**
   * Notes a frame that was refused.
   *
   * @param reason `unknownPeer` or `spoofedSource`
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
    const record = recordOf(reason);
    // A thread that was terminated in the middle of a note leaves it odd, and the next one goes on from there.
    const writing = words[record + VERSION]! | 1;
    Atomics.store(words, record + VERSION, writing);
    words[record + FAMILY] = isIpv6 ? 6 : 4;
    for (let word = 0; word < ADDRESS_WORDS; word++) {
      words[record + OUTER + word] = sources[sourceAt + word]!;
      if (isIpv6) words[record + INNER + word] = i32(slab, at + IPV6_SOURCE + 4 * word);
    }
    if (!isIpv6) words[record + INNER] = i32(slab, at + IPV4_SOURCE);
    Atomics.store(words, record + VERSION, (writing + 1) | 0);
  }

  /**
   * @param reason as {@link write}
   * @returns undefined when there is none, or the lane is writing just now. Allocates: for control threads.
   */
  read(reason: number): Suspect | undefined {
    const record = recordOf(reason);
    const version = Atomics.load(this.words, record + VERSION);
    const copy = this.words.slice(record, record + RECORD_WORDS);
    if ((version & 1) !== 0 || Atomics.load(this.words, record + VERSION) !== version) return undefined;
    const family = copy[FAMILY]!;
    if (family === 0) return undefined;
    return {
      family: family === 6 ? 6 : 4,
      outerSource: copy.subarray(OUTER, INNER),
      innerSource: copy.subarray(INNER, RECORD_WORDS),
    };
  }
}

function recordOf(reason: number): number {
  return reason === DropReason.spoofedSource ? RECORD_WORDS : 0;
}
