import { messageOf } from '../errors.js';

/** What an {@link Attempt} does, and how it is told. */
export interface AttemptOptions {
  /** Called again after it failed, so it must bear what its last call left half done. */
  readonly work: () => Promise<void>;
  /** The warning for a failure. */
  readonly failed: (why: string) => string;
  /** The line once it works after that. */
  readonly works: () => string;
  readonly onTold: (message: string) => void;
}

/**
 * Something that must be so in the end: it is tried until it works, and nobody is told the same twice.
 *
 * | from   | to     | by                                      | never |
 * |--------|--------|-----------------------------------------|-------|
 * | due    | done   | `attempt`; told if a failure was told before | |
 * | due    | due    | `attempt` that fails; told unless the last failure had the same message | a rejection |
 * | done   | due    | `renew`                                 | work in vain: `attempt` does nothing when it is done |
 *
 * Main thread. Attempts must not overlap.
 */
export class Attempt {
  readonly #options: AttemptOptions;
  #done = false;
  #error: string | undefined;

  constructor(options: AttemptOptions) {
    this.#options = options;
  }

  /** Whether it worked since the last {@link renew}. */
  get done(): boolean {
    return this.#done;
  }

  /** Why it did not work the last time; undefined when it did, or was not tried yet. */
  get error(): string | undefined {
    return this.#error;
  }

  /** It has to be done anew. */
  renew(): void {
    this.#done = false;
  }

  async attempt(): Promise<void> {
    if (this.#done) return;
    const { work, failed, works, onTold } = this.#options;
    const before = this.#error;
    try {
      await work();
    } catch (error) {
      this.#error = messageOf(error);
      if (this.#error !== before) onTold(failed(this.#error));
      return;
    }
    this.#done = true;
    this.#error = undefined;
    if (before !== undefined) onTold(works());
  }
}
