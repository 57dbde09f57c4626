import { BackOff } from '../back_off.js';
import { Connection } from './connection.js';
import type { TlsFiles } from './tls_files.js';

/** How long a server that failed is put aside: the bounds of flanneld's own watch loop. */
const ASIDE = { firstMillis: 100, mostMillis: 5_000, random: Math.random };

/**
 * One etcd server: the connection to it and whether it is worth trying.
 */
export class Endpoint {
  /** E.g. `http://127.0.0.1:2379`. */
  readonly origin: string;
  /** What was wrong when it was last tried; '' while it works. */
  lastFault = '';
  readonly #tls: TlsFiles;
  readonly #backOff = new BackOff(ASIDE);
  #calls: Connection;
  /** On the clock of performance.now(): not to be tried before. */
  #asideUntil = 0;
  #everWorked = false;

  constructor(origin: string, tls: TlsFiles) {
    this.origin = origin;
    this.#tls = tls;
    this.#calls = this.connect();
  }

  /** The connection that calls share. */
  get calls(): Connection {
    return this.#calls;
  }

  /**
   * A connection of the caller's own, to be closed by it. For a watch: calls that time out drop the one they share, and must
   * not end a watch.
   */
  connect(): Connection {
    return new Connection(this.origin, this.#tls);
  }

  /** Milliseconds until it may be tried; 0 for now. */
  get waitMillis(): number {
    return Math.max(0, this.#asideUntil - performance.now());
  }

  /** What to look at when the server ends the connection; '' once it has worked. */
  get doubt(): string {
    if (this.#everWorked) return '';
    if (this.origin.startsWith('http:')) return ': is it https://, and is the port that of etcd clients?';
    return ': does it want etcd-certfile and etcd-keyfile, or is it http://?';
  }

  /** It answered. */
  worked(): void {
    this.#everWorked = true;
    this.lastFault = '';
    this.#asideUntil = 0;
    this.#backOff.reset();
  }

  /** It could not be reached, or did not answer: puts it aside for a while. */
  failed(fault: string): void {
    this.lastFault = fault;
    // Calls that fail together are one failure.
    if (this.waitMillis === 0) this.#asideUntil = performance.now() + this.#backOff.next();
  }

  /** Gives up the connection of calls, as one that no longer answers; the next call makes a new one. */
  dropCalls(): void {
    this.#calls.close();
    this.#calls = this.connect();
  }

  close(): void {
    this.#calls.close();
  }
}
