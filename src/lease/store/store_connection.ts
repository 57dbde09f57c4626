import { messageOf, SelvageError } from '../../errors.js';
import type { StoreConnection } from '../lease_event.js';

/** Most reasons that are remembered as told; a fault whose text varies must not fill the memory. */
const MOST_TOLD = 64;

/** Whether a call failed because of the store, so that the same call may work later. */
export function isStoreFault(thrown: unknown): thrown is SelvageError {
  return (
    thrown instanceof SelvageError &&
    (thrown.code === 'ERR_STORE_UNAVAILABLE' || thrown.code === 'ERR_STORE_DENIED')
  );
}

/** Whether the store refused who we are, which waiting seldom puts right. */
export function isDenied(thrown: unknown): boolean {
  return thrown instanceof SelvageError && thrown.code === 'ERR_STORE_DENIED';
}

/**
 * Whether the store can be heard, told on change.
 *
 * Not connected at first, and not told until it once was: what is tried meanwhile has its own events.
 */
export class ConnectionRecord {
  readonly #tell: (connection: StoreConnection) => void;
  #current: StoreConnection = { connected: false, since: new Date(), reason: undefined };
  /** Code of the fault that was told; another one is news. */
  #faultCode = '';
  #everConnected = false;
  #disconnects = 0;

  constructor(tell: (connection: StoreConnection) => void) {
    this.#tell = tell;
  }

  get current(): StoreConnection {
    return this.#current;
  }

  /** Connections that were lost. */
  get disconnects(): number {
    return this.#disconnects;
  }

  up(): void {
    if (this.#current.connected) return;
    this.#everConnected = true;
    this.#faultCode = '';
    this.#current = { connected: true, since: new Date(), reason: undefined };
    this.#tell(this.#current);
  }

  down(fault: unknown): void {
    const { connected, since } = this.#current;
    const code = fault instanceof SelvageError ? fault.code : '';
    const news = connected || code !== this.#faultCode;
    if (connected) this.#disconnects++;
    this.#faultCode = code;
    this.#current = { connected: false, since: connected ? new Date() : since, reason: messageOf(fault) };
    if (news && this.#everConnected) this.#tell(this.#current);
  }
}

/** Remembers what was said, so that it is said once. Bounded: after many different texts it begins anew. */
export class ToldOnce {
  readonly #told = new Set<string>();

  /** @returns whether `text` is said for the first time */
  isNews(text: string): boolean {
    if (this.#told.has(text)) return false;
    if (this.#told.size >= MOST_TOLD) this.#told.clear();
    this.#told.add(text);
    return true;
  }
}
