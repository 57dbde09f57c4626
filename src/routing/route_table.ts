/**
 * Reader of one generation of the route table: longest-prefix match in constant time over shared memory.
 *
 * A multibit trie for each family. Of IPv4 the strides are 16-8-8: the root is indexed by the first 16 bits of the address;
 * where a longer prefix exists, its entry points to a chunk of 256 entries for the next 8 bits, and so once more. Of IPv6
 * every stride is 8, and the root is a chunk like the others. Shorter prefixes are painted into all entries they cover when
 * the table is built, so that a lookup never goes back: at most three loads for IPv4; for IPv6 one for each begun byte of
 * the longest prefix on the way, eight for a /64 and sixteen at most.
 *
 * ```
 *            10.1              .2            .130
 *  root [65536] ----> chunk [256] ----> chunk [256]
 *   leaf: id of 10.1/16    leaf: id of 10.1.2/24   leaf: id of 10.1.2.128/25
 *
 *             fd               00               01
 *  root [256] ----> chunk [256] ----> chunk [256] ----> ...
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
 * | `IPV4_ROOT_AT` .. +65535  | IPv4 root entries                                | main   | lanes   | before publication |
 * | `IPV6_ROOT_AT` .. +255    | IPv6 root entries                                | main   | lanes   | before publication |
 * | then 256 each             | chunks of either family                          | main   | lanes   | before publication |
 * | endpoints, 5 x nextHops   | [four address words, port] of each id; zeros when unused | main | lanes | before publication |
 * | peer set, a power of two  | ids of endpoints, one for each address; `EMPTY_SLOT` in between | main | lanes | before publication |
 *
 * A generation does not change while a lane may read it: its block is written again, if at all, only once every lane has
 * observed a later one. A block may be larger than its table. Publication is the atomic store of its number into the control words, after
 * the last plain store here; a lane that loaded the number atomically therefore sees every word with plain loads.
 */
import { ADDRESS_WORDS } from '../ip_address.js';

/** Next-hop id of this host's own subnets. */
export const LOCAL = 0;

/** No prefix covers the address. Equals `-DropReason.noRoute`, so that a lookup's result is a frame's fate. */
export const NO_ROUTE = -1;

export const WORD_GENERATION = 0;
export const WORD_NEXT_HOPS = 1;
export const WORD_ENDPOINTS = 2;
export const WORD_PEERS = 3;
export const WORD_PEER_SHIFT = 4;

/** First entry of the IPv4 root. 16 words = one cache line of header. */
export const IPV4_ROOT_AT = 16;
/** Entries of the IPv4 root: the first 16 address bits. */
export const IPV4_ROOT_ENTRIES = 65_536;
/** Entries of a chunk: the next 8 address bits. */
export const CHUNK_ENTRIES = 256;
/** First entry of the IPv6 root, which is a chunk: 1 KiB is all that a table without IPv6 routes pays. */
export const IPV6_ROOT_AT = IPV4_ROOT_AT + IPV4_ROOT_ENTRIES;
/** Words of an endpoint: its address, then its UDP port. */
export const ENDPOINT_WORDS = ADDRESS_WORDS + 1;
/** A free slot of the peer set. Id 0 is this host, so no endpoint has it. */
export const EMPTY_SLOT = LOCAL;
/** Multiplier of Fibonacci hashing, 2^32 / golden ratio (Knuth, TAOCP volume 3, section 6.4): spreads neighbouring addresses. */
const HASH_MULTIPLIER = 0x9e3779b1;
/** Odd multipliers for the words behind the first; primes of xxHash (XXH32, "Prime32_2" to "Prime32_4"). */
const FOLD_1 = 0x85ebca77;
const FOLD_2 = 0xc2b2ae3d;
const FOLD_3 = 0x27d4eb2f;

/** Brings an address, words `at` to `at + 3`, down to one int32: of IPv4 the address itself, of IPv6 a hash. */
export function foldAddress(words: Int32Array, at: number): number {
  return (
    words[at]! ^
    Math.imul(words[at + 1]!, FOLD_1) ^
    Math.imul(words[at + 2]!, FOLD_2) ^
    Math.imul(words[at + 3]!, FOLD_3)
  );
}

/**
 * First slot to try for an address in the peer set.
 *
 * @param shift `32 - log2(slots)`; the high bits of the product are the well-mixed ones
 */
export function peerSlot(words: Int32Array, at: number, shift: number): number {
  return Math.imul(foldAddress(words, at), HASH_MULTIPLIER) >>> shift;
}

/** Whether the addresses at two places are equal. */
export function sameAddress(a: Int32Array, aAt: number, b: Int32Array, bAt: number): boolean {
  return (
    a[aAt] === b[bAt] && a[aAt + 1] === b[bAt + 1] && a[aAt + 2] === b[bAt + 2] && a[aAt + 3] === b[bAt + 3]
  );
}

/** One immutable generation. Cheap to make: it only looks at the header. Any thread. */
export class RouteTable {
  /** The whole block. */
  readonly words: Int32Array;
  readonly generation: number;
  /** Next-hop ids are 0..nextHops-1; an id that no route uses now is among them, with an endpoint of zeros. */
  readonly nextHops: number;
  /** {@link ENDPOINT_WORDS} per next-hop id: four address words, UDP port. Id 0 is this host and has zeros. */
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
  let entry = words[IPV4_ROOT_AT + (address >>> 16)]!;
  if (entry >= NO_ROUTE) return entry;
  entry = words[((address >>> 8) & 255) - entry]!;
  if (entry >= NO_ROUTE) return entry;
  return words[(address & 255) - entry]!;
}

/**
 * Longest-prefix match for one IPv6 destination (RFC 4291 section 2.3, RFC 7608).
 *
 * @param at index in `bytes` of the first of the address's sixteen bytes
 * @returns next-hop id 0..nextHops-1 ({@link LOCAL} is this host), or {@link NO_ROUTE}
 * @remarks Hot. Allocates nothing, never throws. At most sixteen loads, whatever the number of routes.
 */
export function lookupIpv6(table: RouteTable, bytes: Uint8Array, at: number): number {
  const words = table.words;
  let entry = words[IPV6_ROOT_AT + bytes[at]!]!;
  if (entry >= NO_ROUTE) return entry;
  // Written out up to a /64: as a loop this is 1.6 times as slow (docs/adr/0004-route-table.md).
  entry = words[bytes[at + 1]! - entry]!;
  if (entry >= NO_ROUTE) return entry;
  entry = words[bytes[at + 2]! - entry]!;
  if (entry >= NO_ROUTE) return entry;
  entry = words[bytes[at + 3]! - entry]!;
  if (entry >= NO_ROUTE) return entry;
  entry = words[bytes[at + 4]! - entry]!;
  if (entry >= NO_ROUTE) return entry;
  entry = words[bytes[at + 5]! - entry]!;
  if (entry >= NO_ROUTE) return entry;
  entry = words[bytes[at + 6]! - entry]!;
  if (entry >= NO_ROUTE) return entry;
  entry = words[bytes[at + 7]! - entry]!;
  // Ends within the address: the entries of its last byte are leaves.
  for (let next = at + 8; entry < NO_ROUTE; next++) entry = words[bytes[next]! - entry]!;
  return entry;
}

/**
 * Whether the address is the endpoint of any route, on whatever port.
 *
 * @param words a column of addresses of the underlay's family, `ADDRESS_WORDS` each
 * @param at index of the address's first word
 * @remarks Hot. Allocates nothing, never throws. The set is at most half full, so the walk ends at an empty slot.
 */
export function isPeer(table: RouteTable, words: Int32Array, at: number): boolean {
  const { words: block, endpoints, peersAt, peerMask } = table;
  let slot = peerSlot(words, at, table.peerShift);
  for (;;) {
    const id = block[peersAt + slot]!;
    if (id === EMPTY_SLOT) return false;
    if (sameAddress(endpoints, id * ENDPOINT_WORDS, words, at)) return true;
    slot = (slot + 1) & peerMask;
  }
}

/**
 * Whether the address is the one where the next hop receives, on whatever port.
 *
 * @param id next-hop id 1..nextHops-1; {@link LOCAL} has no endpoint
 * @param words a column of addresses of the underlay's family, `ADDRESS_WORDS` each
 * @param at index of the address's first word
 * @remarks Hot. Allocates nothing, never throws.
 */
export function isEndpoint(table: RouteTable, id: number, words: Int32Array, at: number): boolean {
  return sameAddress(table.endpoints, id * ENDPOINT_WORDS, words, at);
}
