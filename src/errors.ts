/** What can be passed beside the message of a {@link SelvageError}. */
export interface SelvageErrorOptions {
  /** The error underneath, kept as `error.cause`. */
  readonly cause?: unknown;
}

/**
 * Every error that selvage raises on purpose. `code` is stable and listed in docs/errors.md; `message` is one line that
 * names the cause and the remedy.
 */
export class SelvageError extends Error {
  override readonly name = 'SelvageError';
  readonly code: string;

  constructor(code: string, message: string, options: SelvageErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
  }
}

/** The message of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/**
 * An internal impossibility: stays on in production, off the hot path.
 *
 * @throws SelvageError ERR_INTERNAL when `condition` does not hold
 */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new SelvageError('ERR_INTERNAL', `internal error: ${message}`);
}
