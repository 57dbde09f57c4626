import { randomInt } from 'node:crypto';

import { ADDRESS_WORDS, familyOf, type IpFamily, parseAddress } from '../ip_address.js';
import type { EchoOutcome, Probing } from './facts.js';
import { echoRequest, type IcmpMessage, leastEchoBytes, readIcmp } from './icmp_message.js';
import { RawIcmp } from './raw_icmp.js';
import { largestOf, type SizeOutcome } from './size_search.js';

export interface ProberOptions {
  /** How long one request waits for its answer. */
  readonly timeoutMillis: number;
}

/** A request that waits. */
interface Waiting {
  readonly address: string;
  readonly resolve: (outcome: EchoOutcome) => void;
}

/** Lost that often in a row means lost for good (as RFC 8899 section 5.1.2, MAX_PROBES). */
const TRIES = 3;
/** Where a small echo took this long, a large one that has not come after this many times of it will not. */
const PATIENCE_FACTOR = 8;
const LEAST_PATIENCE_MILLIS = 200;
/** Bytes of a small packet; passes everywhere. */
export const SMALL_BYTES = 84;
const SEQUENCES = 0x1_0000;

/**
 * Sends echo requests from raw sockets, one for each family, opened when first needed. Main thread.
 */
export class Prober {
  readonly #timeoutMillis: number;
  readonly #identifier = randomInt(1, SEQUENCES);
  readonly #sockets = new Map<IpFamily, RawIcmp>();
  readonly #probing = new Map<IpFamily, Probing>();
  readonly #waiting = new Map<number, Waiting>();
  #sequence = 0;

  constructor({ timeoutMillis }: ProberOptions) {
    this.#timeoutMillis = timeoutMillis;
  }

  /** Of the families that were needed so far, whether echoes could be sent. */
  get probing(): ReadonlyMap<IpFamily, Probing> {
    return this.#probing;
  }

  /**
   * Asks for an echo of a packet that is not to be fragmented, up to three times.
   *
   * @param packetBytes with the IP header
   * @returns undefined when there is no raw socket of the address's family
   */
  async echo(
    address: string,
    packetBytes: number,
    timeoutMillis = this.#timeoutMillis,
  ): Promise<EchoOutcome | undefined> {
    const family = familyOf(address);
    const socket = this.#socket(family);
    if (socket === undefined) return undefined;
    let outcome: EchoOutcome = { kind: 'silent' };
    for (let i = 0; i < TRIES && outcome.kind === 'silent'; i++) {
      outcome = await this.#ask(socket, family, address, packetBytes, timeoutMillis);
    }
    return outcome;
  }

  /**
   * Finds the largest packet that is echoed.
   *
   * @param mostBytes the size to try first, and not to exceed
   * @param roundTripMillis what a small echo took
   * @returns bytes with the IP header; {@link SMALL_BYTES} when no larger one passes
   */
  async largest(address: string, mostBytes: number, roundTripMillis: number): Promise<number> {
    const patience = Math.max(LEAST_PATIENCE_MILLIS, PATIENCE_FACTOR * roundTripMillis);
    const timeoutMillis = Math.min(this.#timeoutMillis, patience);
    return await largestOf(SMALL_BYTES, mostBytes, async (bytes): Promise<SizeOutcome> => {
      const outcome = await this.echo(address, bytes, timeoutMillis);
      if (outcome?.kind === 'answered') return { passes: true };
      return { passes: false, hintBytes: outcome?.kind === 'tooBig' ? outcome.mtuBytes : null };
    });
  }

  close(): void {
    for (const socket of this.#sockets.values()) socket.close();
    for (const { resolve } of this.#waiting.values()) resolve({ kind: 'silent' });
    this.#waiting.clear();
  }

  #socket(family: IpFamily): RawIcmp | undefined {
    if (!this.#probing.has(family)) {
      const opened = RawIcmp.open(family, (bytes, source) => this.#take(family, bytes, source));
      if (opened instanceof RawIcmp) this.#sockets.set(family, opened);
      this.#probing.set(family, opened instanceof RawIcmp ? { available: true } : opened);
    }
    return this.#sockets.get(family);
  }

  async #ask(
    socket: RawIcmp,
    family: IpFamily,
    address: string,
    packetBytes: number,
    timeoutMillis: number,
  ): Promise<EchoOutcome> {
    const sequence = this.#nextSequence();
    const message = echoRequest(
      family,
      Math.max(packetBytes, leastEchoBytes(family)),
      this.#identifier,
      sequence,
    );
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<EchoOutcome>((resolve) => {
        this.#waiting.set(sequence, { address, resolve });
        void socket.send(message, address).then((why) => {
          if (why !== undefined) return resolve(unsent(why));
          timer = setTimeout(() => resolve({ kind: 'silent' }), timeoutMillis).unref();
        });
      }).then(timed(performance.now()));
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(sequence);
    }
  }

  /** One that nobody waits for. */
  #nextSequence(): number {
    do this.#sequence = (this.#sequence + 1) % SEQUENCES;
    while (this.#waiting.has(this.#sequence));
    return this.#sequence;
  }

  #take(family: IpFamily, bytes: Uint8Array, source: string): void {
    const message = readIcmp(family, bytes);
    if (message?.identifier !== this.#identifier) return;
    const waiting = this.#waiting.get(message.sequence);
    if (waiting === undefined || familyOf(waiting.address) !== family) return;
    if (message.kind === 'reply' && !isSameAddress(source, waiting.address)) return;
    waiting.resolve(outcomeOf(message, source));
  }
}

function outcomeOf(message: IcmpMessage, source: string): EchoOutcome {
  switch (message.kind) {
    case 'reply':
      return { kind: 'answered', millis: 0 };
    case 'tooBig':
      return { kind: 'tooBig', mtuBytes: message.mtuBytes, by: source };
    case 'unreachable':
      return { kind: 'unreachable', why: message.why, by: source };
  }
}

/** Fills in how long an answer took. */
function timed(sentAtMillis: number): (outcome: EchoOutcome) => EchoOutcome {
  return (outcome) =>
    outcome.kind === 'answered' ? { ...outcome, millis: performance.now() - sentAtMillis } : outcome;
}

/** strerror(EMSGSIZE): the package gives the text alone. */
function unsent(why: string): EchoOutcome {
  if (why === 'Message too long') return { kind: 'tooBig', mtuBytes: null, by: null };
  return { kind: 'notSent', why };
}

/** The C library may spell an IPv6 address in another way. */
function isSameAddress(a: string, b: string): boolean {
  if (a === b) return true;
  try {
    const [one, other] = [parseAddress(a).words, parseAddress(b).words];
    for (let word = 0; word < ADDRESS_WORDS; word++) if (one[word] !== other[word]) return false;
    return familyOf(a) === familyOf(b);
  } catch {
    return false; // a zone, as of fe80::1%eth0: none of ours
  }
}
