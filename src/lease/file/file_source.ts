import { type FSWatcher, watch } from 'node:fs';
import { dirname } from 'node:path';

import { messageOf, SelvageError } from '../../errors.js';
import type { IpFamily } from '../../ip_address.js';
import { readTextFile, statSignature } from './file_reader.js';
import type { RouteListener, RouteSnapshot, RouteSource } from '../route_source.js';
import { MAX_ROUTES_FILE_BYTES, parseRoutesFile, RoutesFileError } from './routes_file.js';

/** From a change to the reading of the file: lets the several events of one write arrive. */
const DEBOUNCE_MS = 20;
/** Between readings of a file that does not parse: a writer may be in the middle of it. */
const RETRY_MS = 50;
/** A fault must stay the same for this long to be told. */
const SETTLE_MS = 200;
/** Between looks at the file's status, for file systems and links that give no events. */
const POLL_MS = 500;

/** A fault that was seen, and since when. */
interface Fault {
  /** Tells one fault from another: the digest of the content, or the text of the error when there was none to read. */
  readonly key: string;
  readonly error: SelvageError;
  /** On the clock of performance.now(). */
  readonly sinceMs: number;
  told: boolean;
}

type Outcome = { readonly snapshot: RouteSnapshot; readonly digest: string } | { readonly fault: Fault };

/**
 * Routes from a JSON file (see {@link parseRoutesFile}) that is watched.
 *
 * Any way of editing counts: writing in place, renaming over it, swapping a symbolic link on the way to it, removing and
 * making it anew. The directory is watched for events and the file's status polled beside it, so an edit is seen within 0.6
 * seconds even where there are no events. A file that does not parse is read again for 0.2 seconds before it is reported,
 * once per content; the last good snapshot holds meanwhile.
 */
export class FileSource implements RouteSource {
  readonly #path: string;
  readonly #underlay: IpFamily | 'auto';
  #listener: RouteListener | undefined;
  #watcher: FSWatcher | undefined;
  #poll: NodeJS.Timeout | undefined;
  #pending: NodeJS.Timeout | undefined;
  #closed = false;
  /** The check that runs, or the last one; checks never overlap. */
  #checking: Promise<void> = Promise.resolve();
  /** Status of the file when it was last read; '' to have it read again. */
  #signature = '';
  /** Digest of the content that the listener has. */
  #digest = '';
  #fault: Fault | undefined;

  /**
   * @param path may be relative; looked at from now on, not opened before {@link open}
   * @param underlay family that the peers' addresses must have; `auto`: any, and all the same
   */
  constructor(path: string, underlay: IpFamily | 'auto' = 'auto') {
    this.#path = path;
    this.#underlay = underlay;
  }

  /**
   * @returns the file's snapshot
   * @throws SelvageError (as rejection) ERR_ROUTES_FILE when the file is missing, unreadable or has mistakes
   */
  async open(listener: RouteListener): Promise<RouteSnapshot> {
    if (this.#closed) throw this.#error('the source is closed');
    // Watched before it is read: an edit in between leads to one reading too many, not one too few.
    this.#startWatching();
    const reading = this.#read();
    this.#checking = reading.then(() => undefined);
    const outcome = await reading;
    if (this.#closed) throw this.#error('the source was closed while it was opened');
    if ('fault' in outcome) {
      await this.close();
      throw outcome.fault.error;
    }
    this.#digest = outcome.digest;
    this.#listener = listener;
    this.#poll = setInterval(() => this.#schedule(0), POLL_MS);
    this.#schedule(DEBOUNCE_MS);
    return outcome.snapshot;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#listener = undefined;
    this.#watcher?.close();
    clearInterval(this.#poll);
    clearTimeout(this.#pending);
    await this.#checking;
  }

  /**
   * Any name that changes in the directory may be a link on the way to the file, so all count; what they cost is a look at
   * the status. Without events (no inotify watches left, say) the poll alone keeps the promise of one second.
   */
  #startWatching(): void {
    try {
      this.#watcher = watch(dirname(this.#path), () => this.#schedule(DEBOUNCE_MS));
      this.#watcher.on('error', () => this.#watcher?.close());
    } catch {
      this.#watcher = undefined;
    }
  }

  /** Asks for a check; one that is due already stays due then, so that a stream of events cannot put it off. */
  #schedule(delayMs: number): void {
    if (this.#listener === undefined || this.#pending !== undefined) return;
    this.#pending = setTimeout(() => {
      this.#checking = this.#checking
        .then(() => {
          this.#pending = undefined;
          return this.#check();
        })
        // A listener that throws must not end the watch.
        .catch((error: unknown) => this.#listener?.onError(this.#error(messageOf(error))));
    }, delayMs);
  }

  async #check(): Promise<void> {
    if (this.#closed) return;
    const signature = await statSignature(this.#path);
    const unsettled = this.#fault !== undefined && !this.#fault.told;
    if (signature === this.#signature && !unsettled) return;
    const outcome = await this.#read();
    if (this.#closed) return;
    if ('fault' in outcome) this.#meetFault(outcome.fault);
    else this.#adopt(outcome.snapshot, outcome.digest);
  }

  #adopt(snapshot: RouteSnapshot, digest: string): void {
    this.#fault = undefined;
    if (digest === this.#digest) return;
    this.#digest = digest;
    this.#listener?.onChanges([{ kind: 'snapshot', snapshot }]);
  }

  #meetFault(fault: Fault): void {
    const same = this.#fault?.key === fault.key;
    const current = same && this.#fault !== undefined ? this.#fault : fault;
    this.#fault = current;
    if (current.told) return;
    if (performance.now() - current.sinceMs < SETTLE_MS) return this.#schedule(RETRY_MS);
    current.told = true;
    this.#listener?.onError(current.error);
  }

  async #read(): Promise<Outcome> {
    // For readings that fail; one that works has the signature of just the file that it read.
    this.#signature = await statSignature(this.#path);
    let key = '';
    try {
      const reading = await readTextFile(this.#path, MAX_ROUTES_FILE_BYTES, 'ERR_ROUTES_FILE');
      this.#signature = reading.signature;
      key = reading.digest;
      return { snapshot: parseRoutesFile(reading.text, this.#underlay), digest: reading.digest };
    } catch (thrown) {
      const error = this.#fileError(thrown);
      return { fault: { key: key || error.message, error, sinceMs: performance.now(), told: false } };
    }
  }

  #fileError(thrown: unknown): SelvageError {
    const code = (thrown as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') return this.#error('no such file', thrown);
    if (code === 'EACCES') return this.#error('permission denied; make it readable for this user', thrown);
    return this.#error(messageOf(thrown), thrown);
  }

  #error(reason: string, cause?: unknown): SelvageError {
    if (cause instanceof RoutesFileError) return new RoutesFileError(cause.problems, this.#path);
    return new SelvageError('ERR_ROUTES_FILE', `${this.#path}: ${reason}`, { cause });
  }
}
