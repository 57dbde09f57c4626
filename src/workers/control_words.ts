/**
 * The words by which the main thread steers its lanes. One block per forwarder; each word has a cache line of its own.
 *
 * | word             | writer         | readers | order                                                           |
 * |------------------|----------------|---------|-----------------------------------------------------------------|
 * | `STOP`           | main           | lanes   | stored before the wake signal; 1 ends the lane, never goes back  |
 * | `GENERATION`     | main           | lanes   | stored after the table was posted to the lane's port            |
 * | `MTU`            | main           | lanes   | bytes of the largest inner frame; stored before the wake signal  |
 * | observed, a lane | that lane, and main once its thread has ended | main | stored once the lane forwards by that generation; `NOT_RUNNING` before and after |
 * | no offload, a lane | that lane | main | 1 once segmentation offload was refused |
 */

/** In place of a generation: the lane does not run. */
export const NOT_RUNNING = 0;

const LINE_WORDS = 16;
const STOP = 0;
const GENERATION = LINE_WORDS;
/** Beside the generation: both are read once a turn, and change seldom. */
const MTU = GENERATION + 1;
const OBSERVED = 2 * LINE_WORDS;
/** Beside a lane's observed generation, as it has the same writer. */
const NO_GSO = OBSERVED + 1;

/** A view of the control words, on any thread. */
export class ControlWords {
  readonly #words: Int32Array;

  /** Allocates a block for this many lanes. Pairs with the constructor, which takes it on every thread. */
  static allocate(lanes: number): SharedArrayBuffer {
    return new SharedArrayBuffer((OBSERVED + lanes * LINE_WORDS) * Int32Array.BYTES_PER_ELEMENT);
  }

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

  /** Tells every lane to end after its present turn. Follow it with a wake signal. */
  stop(): void {
    Atomics.store(this.#words, STOP, 1);
  }

  get stopping(): boolean {
    return Atomics.load(this.#words, STOP) !== 0;
  }

  /** Announces a route table generation, 1 and up. */
  publish(generation: number): void {
    Atomics.store(this.#words, GENERATION, generation);
  }

  get generation(): number {
    return Atomics.load(this.#words, GENERATION);
  }

  /** Sets the MTU of the overlay, bytes. Follow it with a wake signal. */
  setMtuBytes(bytes: number): void {
    Atomics.store(this.#words, MTU, bytes);
  }

  get mtuBytes(): number {
    return Atomics.load(this.#words, MTU);
  }

  /** A lane says which generation it forwards by. */
  observe(lane: number, generation: number): void {
    Atomics.store(this.#words, OBSERVED + lane * LINE_WORDS, generation);
  }

  /** The generation a lane forwards by, or {@link NOT_RUNNING}. */
  observed(lane: number): number {
    return Atomics.load(this.#words, OBSERVED + lane * LINE_WORDS);
  }

  /** A lane says that the kernel or the device refused segmentation offload, and that it goes on without. */
  reportNoGso(lane: number): void {
    this.#words[NO_GSO + lane * LINE_WORDS] = 1;
  }

  /** Whether a lane has lost segmentation offload. */
  lostGso(lane: number): boolean {
    return this.#words[NO_GSO + lane * LINE_WORDS] === 1;
  }
}
