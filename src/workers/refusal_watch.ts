import { DROP_REASONS, DropReason, type DropReasonName } from '../encap/drop_reason.js';
import { TokenBucket } from '../encap/token_bucket.js';
import { formatAddress, type IpFamily } from '../ip_address.js';
import type { LaneCounters } from './counters.js';
import { INBOUND } from './counters.js';
import type { SuspectNote } from './suspect_note.js';

/** Frames that were refused because of who sent them. */
export interface Refusal {
  /** `unknownPeer`: the sender is no peer. `spoofedSource`: it is one, and claimed an address that is not its own. */
  readonly reason: DropReasonName;
  /** Frames since the last time that this was told, the same reason only. */
  readonly frames: number;
  /** Of the last of them: address that the datagram came from. */
  readonly outerSource: string;
  /** Of the last of them: inner source. Undefined for those that the kernel dropped for us. */
  readonly innerSource: string | undefined;
}

export interface RefusalWatchOptions {
  readonly underlay: IpFamily;
  readonly counters: readonly LaneCounters[];
  readonly suspects: readonly SuspectNote[];
  readonly onRefusal: (refusal: Refusal) => void;
}

const LOOK_MILLIS = 1_000;
/** A flood must not fill the log: six a minute, after a first few at once. */
const TOLD_PER_SECOND = 0.1;
const TOLD_AT_ONCE = 3;
const REASONS = [DropReason.unknownPeer, DropReason.spoofedSource] as const;

/**
 * Tells, at a bounded rate, that somebody sends what he may not. Counts come from the lanes' counters and are complete; of
 * the frames themselves only the last is known.
 *
 * Main thread.
 */
export class RefusalWatch {
  readonly #options: RefusalWatchOptions;
  readonly #told = new Map<number, number>();
  readonly #limiter: TokenBucket;
  readonly #timer: NodeJS.Timeout;

  constructor(options: RefusalWatchOptions) {
    this.#options = options;
    this.#limiter = new TokenBucket(TOLD_PER_SECOND, TOLD_AT_ONCE, performance.now());
    this.#timer = setInterval(() => this.#look(), LOOK_MILLIS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    for (const reason of REASONS) {
      const total = this.#total(reason);
      const frames = total - (this.#told.get(reason) ?? 0);
      if (frames === 0) continue;
      const last = this.#options.suspects.map((note) => note.read()).find((each) => each?.reason === reason);
      if (last === undefined || !this.#limiter.tryTake(performance.now())) continue;
      this.#told.set(reason, total);
      this.#options.onRefusal({
        reason: DROP_REASONS[reason - 1]!.name,
        frames,
        outerSource: formatAddress(this.#options.underlay, last.outerSource),
        innerSource: formatAddress(last.family, last.innerSource),
      });
    }
  }

  #total(reason: number): number {
    return this.#options.counters.reduce((sum, lane) => sum + lane.readDrop(INBOUND, reason), 0);
  }
}
