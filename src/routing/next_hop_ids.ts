import { ADDRESS_WORDS, type IpAddress } from '../ip_address.js';
import { ENDPOINT_WORDS, foldAddress, sameAddress } from './route_table.js';

/** Where a peer's host receives datagrams. */
export interface Endpoint {
  /** Of the underlay's family. The words must not be changed. */
  readonly address: IpAddress;
  /** UDP port, 1..65535. */
  readonly port: number;
}

/** Told when an id changes hands, so that per-peer counters can be re-based. Called in the middle of a change: must not throw. */
export interface NextHopIdListener {
  /** `id` now means `endpoint`. */
  onAssign?(id: number, endpoint: Endpoint): void;
  /** No route uses `id` any more; its next assignment may mean another endpoint. */
  onFree?(id: number, endpoint: Endpoint): void;
}

/** Id 0 is this host ({@link LOCAL}), so peers start here. */
const FIRST_ID = 1;
const PORT_SPAN = 65_536;

interface Entry {
  readonly id: number;
  readonly endpoint: Endpoint;
  uses: number;
  /** The next entry with the same key; IPv4 endpoints have keys of their own, so it is undefined. */
  next: Entry | undefined;
}

/**
 * Small stable numbers for endpoints: an endpoint keeps its id for as long as anything uses it; a freed id goes to the
 * next new endpoint, lowest first. So arrays indexed by id stay short.
 */
export class NextHopIds {
  readonly #listener: NextHopIdListener;
  /** By {@link keyOf}. */
  readonly #byKey = new Map<number, Entry>();
  /** Index is the id; id 0 and free ids are undefined. */
  readonly #byId: (Entry | undefined)[] = [undefined];
  /** No id below this one is free. */
  #lowestFree = FIRST_ID;

  constructor(listener: NextHopIdListener) {
    this.#listener = listener;
  }

  /**
   * Counts one more use of the endpoint; assigns an id when it is the first. Pairs with {@link release}.
   *
   * @param formerId the id that it had, which it gets again if that is free
   */
  borrow(endpoint: Endpoint, formerId = 0): number {
    const key = keyOf(endpoint);
    const known = this.#find(key, endpoint);
    if (known !== undefined) {
      known.uses++;
      return known.id;
    }
    const isFree = formerId >= FIRST_ID && this.#byId[formerId] === undefined;
    const id = isFree ? formerId : this.#takeLowest();
    const entry: Entry = { id, endpoint, uses: 1, next: this.#byKey.get(key) };
    this.#byKey.set(key, entry);
    this.#byId[id] = entry;
    this.#listener.onAssign?.(id, endpoint);
    return id;
  }

  /** Counts one use less; frees the id when it was the last. */
  release(id: number): void {
    const entry = this.#byId[id];
    if (entry === undefined) return;
    entry.uses--;
    if (entry.uses > 0) return;
    this.#forget(entry);
    this.#byId[id] = undefined;
    this.#lowestFree = Math.min(this.#lowestFree, id);
    this.#listener.onFree?.(id, entry.endpoint);
  }

  /** The endpoint that the id means now; undefined for this host and for free ids. */
  endpointOf(id: number): Endpoint | undefined {
    return this.#byId[id]?.endpoint;
  }

  /** Every id in use and what it means, in ascending order. */
  *entries(): Generator<[id: number, endpoint: Endpoint]> {
    for (const entry of this.#byId) if (entry !== undefined) yield [entry.id, entry.endpoint];
  }

  /** The columns that {@link buildRouteTable} takes: {@link ENDPOINT_WORDS} per id up to the highest in use. */
  endpointWords(): Int32Array {
    let count = this.#byId.length;
    while (count > FIRST_ID && this.#byId[count - 1] === undefined) count--;
    const words = new Int32Array(count * ENDPOINT_WORDS);
    for (let id = FIRST_ID; id < count; id++) {
      const endpoint = this.#byId[id]?.endpoint;
      if (endpoint === undefined) continue;
      words.set(endpoint.address.words, id * ENDPOINT_WORDS);
      words[id * ENDPOINT_WORDS + ADDRESS_WORDS] = endpoint.port;
    }
    return words;
  }

  #find(key: number, { address, port }: Endpoint): Entry | undefined {
    let entry = this.#byKey.get(key);
    while (entry !== undefined && !isAt(entry.endpoint, address, port)) entry = entry.next;
    return entry;
  }

  #forget(gone: Entry): void {
    const key = keyOf(gone.endpoint);
    const first = this.#byKey.get(key);
    if (first === gone) {
      if (gone.next === undefined) this.#byKey.delete(key);
      else this.#byKey.set(key, gone.next);
      return;
    }
    for (let entry = first; entry !== undefined; entry = entry.next) {
      if (entry.next === gone) entry.next = gone.next;
    }
  }

  #takeLowest(): number {
    let id = this.#lowestFree;
    while (this.#byId[id] !== undefined) id++;
    this.#lowestFree = id + 1;
    return id;
  }
}

/** One number for (address, port), below 2^48, so exact. Two IPv6 endpoints may share it, two IPv4 ones cannot. */
function keyOf({ address, port }: Endpoint): number {
  return (foldAddress(address.words, 0) >>> 0) * PORT_SPAN + port;
}

function isAt(endpoint: Endpoint, address: IpAddress, port: number): boolean {
  return (
    endpoint.port === port &&
    endpoint.address.family === address.family &&
    sameAddress(endpoint.address.words, 0, address.words, 0)
  );
}
