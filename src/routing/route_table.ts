/**
 * Reader of one generation of the route table: longest-prefix match in constant time over shared memory.
 *
 * A multibit trie with strides 16-8-8. The root is indexed by the first 16 bits of the address; where a longer prefix
 * exists, its entry points to a chunk of 256 entries for the next 8 bits, and so once more. Shorter prefixes are painted
 * into all entries they cover when the table is built, so that a lookup never goes back: at most three loads.
 *
 * ```
 *            10.1              .2            .130
 *  root [65536] ----> chunk [256] ----> chunk [256]
 *   leaf: id of 10.1/16    leaf: id of 10.1.2/24   leaf: id of 10.1.2.128/25
 * ```
 *
 * All words are int32. `build_route_table.ts` writes them; nothing else does.
 *
 * | word                      | value                                            | writer | readers | order |
 * |---------------------------|--------------------------------------------------|--------|---------|-------|
 * | `WORD_GENERATION`         | 1 and up, as the control word that announces it  | main   | lanes   | before publication |
 * | `WORD_NEXT_HOPS`          | ids are 0..nextHops-1                            | main   | lanes   | before publication |
 * | `WORD_ENDPOINTS`          | index of the first endpoint word                 | main   | lanes   | before publication |
 * | `WORD_PEERS`              | index of the first slot of the peer set          | main   | lanes   | before publication |
 * | `WORD_PEER_SHIFT`         | 32 - log2(slots of the peer set)                 | main   | lanes   | before publication |
 * | `TRIE_AT` .. +65535       | root entries                                     | main   | lanes   | before publication |
 * | then 256 each             | chunks                                           | main   | lanes   | before publication |
 * | endpoints, 2 x nextHops   | [IPv4 address, port] of each id; 0, 0 when unused | main  | lanes   | before publication |
 * | peer set, a power of two  | addresses of endpoints, `EMPTY_SLOT` in between  | main   | lanes   | before publication |
 *
 * A generation does not change while a lane may read it: its block is written again, if at all, only once every lane has
 * observed a later one. A block may be larger than its table. Publication is the atomic store of its number into the control words, after
 * the last plain store here; a lane that loaded the number atomically therefore sees every word with plain loads.
 */

/** Next-hop id of this host's own subnets. */
export const LOCAL = 0;

/** No prefix covers the address. Equals `-DropReason.noRoute`, so that a lookup's result is a frame's fate. */
export const NO_ROUTE = -1;

export const WORD_GENERATION = 0;
export const WORD_NEXT_HOPS = 1;
export const WORD_ENDPOINTS = 2;
export const WORD_PEERS = 3;
export const WORD_PEER_SHIFT = 4;

/** First root entry. 16 words = one cache line of header. */
export const TRIE_AT = 16;
/** Entries of the root: the first 16 address bits. */
export const ROOT_ENTRIES = 65_536;
/** Entries of a chunk: the next 8 address bits. */
export const CHUNK_ENTRIES = 256;
/** Words of an endpoint. */
export const ENDPOINT_WORDS = 2;
/** A free slot of the peer set. 0.0.0.0 is nobody's address, so no endpoint equals it. */
export const EMPTY_SLOT = 0;
/** Multiplier of Fibonacci hashing, 2^32 / golden ratio (Knuth, TAOCP volume 3, section 6.4): spreads neighbouring addresses. */
const HASH_MULTIPLIER = 0x9e3779b1;

/**
 * First slot to try for an address in the peer set.
 *
 * @param shift `32 - log2(slots)`; the high bits of the product are the well-mixed ones
 */
export function peerSlot(address: number, shift: number): number {
  return Math.imul(address, HASH_MULTIPLIER) >>> shift;
}

/** One immutable generation. Cheap to make: it only looks at the header. Any thread. */
export class RouteTable {
  /** The whole block. */
  readonly words: Int32Array;
  readonly generation: number;
  /** Next-hop ids are 0..nextHops-1; an id that no route uses now is among them, with endpoint 0, 0. */
  readonly nextHops: number;
  /** Two words per next-hop id: IPv4 address as int32, UDP port. Id 0 is this host and has neither. */
  readonly endpoints: Int32Array;
  /** Index of the peer set in `words`. */
  readonly peersAt: number;
  readonly peerShift: number;
  readonly peerMask: number;

  /** @param buffer as {@link buildRouteTable} made it; kept, not copied */
  constructor(buffer: SharedArrayBuffer) {
    const words = new Int32Array(buffer);
    this.words = words;
    this.generation = words[WORD_GENERATION]!;
    this.nextHops = words[WORD_NEXT_HOPS]!;
    const endpointsAt = words[WORD_ENDPOINTS]!;
    this.endpoints = words.subarray(endpointsAt, endpointsAt + this.nextHops * ENDPOINT_WORDS);
    this.peersAt = words[WORD_PEERS]!;
    this.peerShift = words[WORD_PEER_SHIFT]!;
    this.peerMask = 2 ** (32 - this.peerShift) - 1;
  }
}

/**
 * Longest-prefix match for one IPv4 destination (RFC 1812 section 5.2.4.3).
 *
 * @param address host-order int32 (may be negative), e.g. `-1062731519` for 192.168.1.1
 * @returns next-hop id 0..nextHops-1 ({@link LOCAL} is this host), or {@link NO_ROUTE}
 * @remarks Hot. Allocates nothing, never throws. At most three loads, whatever the number of routes.
 */
export function lookupIpv4(table: RouteTable, address: number): number {
  const words = table.words;
  // An entry below NO_ROUTE is minus the index of a chunk, so subtracting it is following it.
  let entry = words[TRIE_AT + (address >>> 16)]!;
  if (entry >= NO_ROUTE) return entry;
  entry = words[((address >>> 8) & 255) - entry]!;
  if (entry >= NO_ROUTE) return entry;
  return words[(address & 255) - entry]!;
}

/**
 * Whether the address is the endpoint of any route, on whatever port.
 *
 * @param address host-order int32 (may be negative)
 * @remarks Hot. Allocates nothing, never throws. The set is at most half full, so the walk ends at an empty slot.
 */
export function isPeerIpv4(table: RouteTable, address: number): boolean {
  const { words, peersAt, peerMask } = table;
  let slot = peerSlot(address, table.peerShift);
  for (;;) {
    const found = words[peersAt + slot]!;
    if (found === EMPTY_SLOT) return false;
    if (found === address) return true;
    slot = (slot + 1) & peerMask;
  }
}
