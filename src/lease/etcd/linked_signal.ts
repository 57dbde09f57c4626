import { setMaxListeners } from 'node:events';

/**
 * A signal that aborts with the first of several, for as long as it is needed: unlike AbortSignal.any() it leaves nothing
 * behind on signals that live as long as the daemon.
 */
export class LinkedSignal {
  readonly #controller = new AbortController();
  readonly #sources: readonly AbortSignal[];
  readonly #onAbort = (event: Event): void => this.abort((event.target as AbortSignal).reason);

  constructor(...sources: readonly AbortSignal[]) {
    this.#sources = sources;
    setMaxListeners(0, ...sources); // as many calls as there are may wait; each lets go of it
    for (const source of sources) {
      if (source.aborted) this.abort(source.reason);
      else source.addEventListener('abort', this.#onAbort);
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason: unknown): void {
    this.#controller.abort(reason);
  }

  /** Lets go of the sources. */
  release(): void {
    for (const source of this.#sources) source.removeEventListener('abort', this.#onAbort);
  }
}

/** Waits for `promise`, which goes on when `signal` aborts; rejects with the reason then. */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let onAbort = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
