import type { Test } from 'tap';

/** Asserts that reading these arguments fails as a mistake of the command line or environment, with this message. */
export function refusesUsage(t: Test, args: readonly string[], message: RegExp, read: () => unknown): void {
  t.throws(read, { code: 'ERR_USAGE', message }, [...args, message.source].join(' '));
}
