import { setTimeout as sleep } from 'node:timers/promises';

import { native } from '../native.js';

/** Between two looks: an ioctl of some microseconds. */
const LOOK_MILLIS = 1_000;

/**
 * Follows the MTU of the underlay interface.
 *
 * Main thread. An interface that vanishes is no change: it may come back, and the sockets stay bound to its address.
 */
export class UnderlayMtu {
  readonly #interface: string;
  readonly #onChange: (mtuBytes: number) => Promise<void>;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;

  /** @param onChange called with the MTU in bytes, first after a look; not again before it resolved. Must not reject */
  constructor(interfaceName: string, onChange: (mtuBytes: number) => Promise<void>) {
    this.#interface = interfaceName;
    this.#onChange = onChange;
    this.#running = this.#follow();
  }

  /** When it resolves, no change is under way. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
  }

  async #follow(): Promise<void> {
    const { signal } = this.#closing;
    let known = 0; // so that a change since the MTU was first read is told as well
    while (!signal.aborted) {
      await sleep(LOOK_MILLIS, undefined, { signal, ref: false }).catch(() => undefined);
      const now = native.interfaceMtu(this.#interface);
      if (signal.aborted || now <= 0 || now === known) continue;
      known = now;
      await this.#onChange(now);
    }
  }
}
