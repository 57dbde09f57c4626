/** Looks at the host again and again. Main thread. */
export class PeriodicCheck {
  readonly #everyMillis: number;
  readonly #check: () => Promise<void>;
  readonly #onError: (error: Error) => void;
  readonly #onRecovery: () => void;
  #timer: NodeJS.Timeout | undefined;
  /** Ends when all that was begun has ended; never rejects. */
  #turn: Promise<unknown> = Promise.resolve();
  #reported = '';
  #closed = false;

  /**
   * @param everySeconds from the end of one look to the next; 0 is never
   * @param check must not overlap itself nor a change, and does not
   * @param onError called once for a message until a look goes well
   * @param onRecovery called when a look goes well after one that did not
   */
  constructor(
    everySeconds: number,
    check: () => Promise<void>,
    onError: (error: Error) => void,
    onRecovery: () => void = () => {},
  ) {
    this.#everyMillis = everySeconds * 1000;
    this.#check = check;
    this.#onError = onError;
    this.#onRecovery = onRecovery;
    this.#schedule();
  }

  /** Does something between two looks. Rejects as `change` does. */
  between<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(change);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  /** No look begins after this, and when it resolves none is under way. May be called twice. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#turn;
  }

  #schedule(): void {
    if (this.#everyMillis === 0 || this.#closed) return;
    this.#timer = setTimeout(() => void this.#look(), this.#everyMillis);
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    try {
      await this.between(this.#check);
      if (this.#reported !== '' && !this.#closed) this.#onRecovery();
      this.#reported = '';
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown : new Error(String(thrown));
      if (error.message !== this.#reported && !this.#closed) this.#onError(error);
      this.#reported = error.message;
    }
    this.#schedule();
  }
}
