import { ExitCode } from './exit_code.js';
import type { Logger } from './log.js';

/** Resolves with the first SIGINT, SIGTERM or SIGHUP; the second ends the process at once. */
export function stopSignal(log: Logger): Promise<string> {
  return new Promise((resolve) => {
    let stopping = false;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => {
        if (stopping) {
          log.warn('second signal: ending at once');
          process.exit(ExitCode.failed);
        }
        stopping = true;
        resolve(signal);
      });
    }
  });
}
