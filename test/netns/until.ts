import { setTimeout as sleep } from 'node:timers/promises';

/** Far above what anything here takes on a busy machine; only a fault waits this long. */
const PATIENCE_SECONDS = 20;
const LOOK_AGAIN_MILLIS = 10;

/**
 * Waits for a state: looks until `look` finds it, that is, returns anything but undefined or false.
 *
 * @param what the state, for the message: "the route to be gone"
 * @throws Error when it does not come within `seconds`
 */
export async function until<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  seconds = PATIENCE_SECONDS,
): Promise<T> {
  const deadline = performance.now() + seconds * 1000;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > deadline) throw new Error(`waited ${seconds} s for ${what}`);
    await sleep(LOOK_AGAIN_MILLIS);
  }
}
