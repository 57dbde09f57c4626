import { ENDPOINT_WORDS } from './route_table.js';

/** Where a peer's host receives datagrams. */
export interface Endpoint {
  /** Host-order int32 (may be negative). */
  readonly address: number;
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
}

/**
 * Small stable numbers for endpoints: an endpoint keeps its id for as long as anything uses it; a freed id goes to the
 * next new endpoint, lowest first. So arrays indexed by id stay short.
 */
export class NextHopIds {
  readonly #listener: NextHopIdListener;
  readonly #byEndpoint = new Map<number, Entry>();
  /** Index is the id; id 0 and free ids are undefined. */
  readonly #byId: (Entry | undefined)[] = [undefined];
  /** No id below this one is free. */
  #lowestFree = FIRST_ID;

  constructor(listener: NextHopIdListener) {
    this.#listener = listener;
  }

  /** Counts one more use of the endpoint; assigns an id when it is the first. Pairs with {@link release}. */
  borrow(endpoint: Endpoint): number {
    const key = keyOf(endpoint);
    const known = this.#byEndpoint.get(key);
    if (known !== undefined) {
      known.uses++;
      return known.id;
    }
    const id = this.#takeLowest();
    const entry: Entry = { id, endpoint, uses: 1 };
    this.#byEndpoint.set(key, entry);
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
    this.#byEndpoint.delete(keyOf(entry.endpoint));
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

  /** The columns that {@link buildRouteTable} takes: two words per id up to the highest in use. */
  endpointWords(): Int32Array {
    let count = this.#byId.length;
    while (count > FIRST_ID && this.#byId[count - 1] === undefined) count--;
    const words = new Int32Array(count * ENDPOINT_WORDS);
    for (let id = FIRST_ID; id < count; id++) {
      const endpoint = this.#byId[id]?.endpoint;
      if (endpoint === undefined) continue;
      words[id * ENDPOINT_WORDS] = endpoint.address;
      words[id * ENDPOINT_WORDS + 1] = endpoint.port;
    }
    return words;
  }

  #takeLowest(): number {
    let id = this.#lowestFree;
    while (this.#byId[id] !== undefined) id++;
    this.#lowestFree = id + 1;
    return id;
  }
}

/** One number for (address, port); below 2^48, so exact. */
function keyOf(endpoint: Endpoint): number {
  return (endpoint.address >>> 0) * PORT_SPAN + endpoint.port;
}
