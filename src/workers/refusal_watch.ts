import { DROP_REASONS, DropReason, type DropReasonName } from '../encap/drop_reason.js';
import { TokenBucket } from '../encap/token_bucket.js';
import { formatAddress, type IpFamily } from '../ip_address.js';
import { INBOUND, type LaneCounters } from './counters.js';
import type { SuspectNote } from './suspect_note.js';

/** Frames that were refused because of who sent them. */
export interface Refusal {
  /** `unknownPeer`: the sender is no peer. `spoofedSource`: it is one, and claimed an address that is not its own. */
  readonly reason: DropReasonName;
  /** Frames since the last time that this was told, of this reason. */
  readonly frames: number;
  /** Of the last of them: address that the datagram came from. */
  readonly outerSource: string;
  /** Of the last of them: inner source. Undefined for those that the kernel dropped for us. */
  readonly innerSource: string | undefined;
}

/** Datagrams that the kernel dropped for us, as their sender is no peer. */
export interface FilteredDatagrams {
  readonly datagrams: number;
  readonly lastSource: string | undefined;
}

export interface RefusalWatchOptions {
  readonly underlay: IpFamily;
  readonly counters: readonly LaneCounters[];
  readonly suspects: readonly SuspectNote[];
  /** Undefined where the kernel drops nothing. */
  readonly filtered: () => FilteredDatagrams | undefined;
  readonly onRefusal: (refusal: Refusal) => void;
}

const LOOK_MILLIS = 1_000;
/** A flood must not fill the log: six a minute of each kind, after a first few at once. */
const TOLD_PER_SECOND = 0.1;
const TOLD_AT_ONCE = 3;
const REASONS = [DropReason.unknownPeer, DropReason.spoofedSource] as const;
/** Stands for a reason: those that the kernel dropped. */
const BY_KERNEL = 0;

/** What was told of one kind, and how often it may be. */
interface Told {
  frames: number;
  readonly limiter: TokenBucket;
}

/**
 * Tells, at a bounded rate, that somebody sends what he may not. The numbers come from the counters and are complete; of the
 * frames themselves only the last is known. Each kind has a rate of its own, so that a flood of strangers, which anybody can send,
 * does not keep a peer that lies out of the log.
 *
 * Main thread.
 */
export class RefusalWatch {
  readonly #options: RefusalWatchOptions;
  /** By reason, or {@link BY_KERNEL}. */
  readonly #told: ReadonlyMap<number, Told>;
  readonly #timer: NodeJS.Timeout;

  constructor(options: RefusalWatchOptions) {
    this.#options = options;
    const now = performance.now();
    const nothing = (): Told => ({
      frames: 0,
      limiter: new TokenBucket(TOLD_PER_SECOND, TOLD_AT_ONCE, now),
    });
    this.#told = new Map([BY_KERNEL, ...REASONS].map((kind) => [kind, nothing()]));
    this.#timer = setInterval(() => this.#look(), LOOK_MILLIS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    this.#lookAtFilter();
    for (const reason of REASONS) this.#lookAtLanes(reason);
  }

  #lookAtFilter(): void {
    const filtered = this.#options.filtered();
    if (filtered?.lastSource === undefined) return;
    const { datagrams, lastSource } = filtered;
    this.#tell(BY_KERNEL, datagrams, {
      reason: 'unknownPeer',
      outerSource: lastSource,
      innerSource: undefined,
    });
  }

  #lookAtLanes(reason: (typeof REASONS)[number]): void {
    const { counters, suspects, underlay } = this.#options;
    const total = counters.reduce((sum, lane) => sum + lane.readDrop(INBOUND, reason), 0);
    const last = suspects.map((note) => note.read(reason)).find((each) => each !== undefined);
    if (last === undefined) return;
    this.#tell(reason, total, {
      reason: DROP_REASONS[reason - 1]!.name,
      outerSource: formatAddress(underlay, last.outerSource),
      innerSource: formatAddress(last.family, last.innerSource),
    });
  }

  #tell(kind: number, total: number, refusal: Omit<Refusal, 'frames'>): void {
    const told = this.#told.get(kind)!;
    const frames = total - told.frames;
    if (frames <= 0 || !told.limiter.tryTake(performance.now())) return;
    told.frames = total;
    this.#options.onRefusal({ ...refusal, frames });
  }
}
