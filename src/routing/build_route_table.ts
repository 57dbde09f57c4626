import { invariant, SelvageError } from '../errors.js';
import { ADDRESS_WORDS } from '../ip_address.js';
import type { Prefix } from '../prefix.js';
import {
  CHUNK_ENTRIES,
  EMPTY_SLOT,
  ENDPOINT_WORDS,
  IPV4_ROOT_AT,
  IPV6_ROOT_AT,
  LOCAL,
  NO_ROUTE,
  peerSlot,
  sameAddress,
  WORD_ENDPOINTS,
  WORD_GENERATION,
  WORD_NEXT_HOPS,
  WORD_PEERS,
  WORD_PEER_SHIFT,
} from './route_table.js';

/** One entry of the table to be built. */
export interface TableRoute {
  readonly prefix: Prefix;
  /** Index of the endpoint; 0 is this host. */
  readonly nextHopId: number;
}

/**
 * Most bytes of one generation: 256 MiB. 65,536 /24 in one /8 with as many peers take 2.3 MiB, and so do 65,536 IPv6 /64 in
 * one /48; the worst 65,536 routes of IPv4, each a /32 in a /16 of its own, take 128 MiB. Of IPv6, scattered /64 take 7 KiB each.
 */
const MAX_TABLE_BYTES = 256 * 1024 * 1024;
const MAX_TABLE_WORDS = MAX_TABLE_BYTES / Int32Array.BYTES_PER_ELEMENT;
/** A spare block is of use up to so many times the size of the table: 128 MiB must not stay for a table of 1 MiB. */
const MOST_SPARE_TIMES = 4;
/** Room for more, as a power of two of the part: a network that grows by single hosts must not need a new block for each. */
const GROWTH_SHIFT = 3;

/**
 * Writes one generation of the route table into a block of exactly the size it needs, or into a spare one.
 *
 * Main thread; nothing is shared until the caller publishes the block.
 *
 * @param routes in any order; prefixes may nest (the longest wins); of equal prefixes the last wins
 * @param endpoints {@link ENDPOINT_WORDS} per next-hop id: four address words, UDP port; id 0 (this host) and unused ids are zeros
 * @param generation 1..2^31-1
 * @param spare a block of an earlier generation that no lane reads any more; used if it has about the right size
 * @returns the block, which is `spare` or a new one
 * @throws SelvageError ERR_ROUTE_LIMIT when the table would be larger than 256 MiB
 */
export function buildRouteTable(
  routes: Iterable<TableRoute>,
  endpoints: Int32Array,
  generation: number,
  spare?: SharedArrayBuffer,
): SharedArrayBuffer {
  const nextHops = endpoints.length / ENDPOINT_WORDS;
  invariant(Number.isInteger(nextHops), 'endpoints are whole');
  const trie = new TrieBuilder();
  for (const group of byLength(routes)) {
    for (const { prefix, nextHopId } of group) {
      invariant(nextHopId >= 0 && nextHopId < nextHops, `next hop ${nextHopId} has an endpoint`);
      if (prefix.family === 4) trie.paintIpv4(prefix.address, prefix.bits, nextHopId);
      else trie.paintIpv6(prefix.address, prefix.bits, nextHopId);
    }
  }
  const peers = buildPeerSet(endpoints);

  const endpointsAt = trie.count;
  const peersAt = endpointsAt + endpoints.length;
  const buffer = blockOf(peersAt + peers.slots.length, spare);
  const words = new Int32Array(buffer);
  words.set(trie.words.subarray(0, trie.count));
  words.set(endpoints, endpointsAt);
  words.set(peers.slots, peersAt);
  words[WORD_GENERATION] = generation;
  words[WORD_NEXT_HOPS] = nextHops;
  words[WORD_ENDPOINTS] = endpointsAt;
  words[WORD_PEERS] = peersAt;
  words[WORD_PEER_SHIFT] = peers.shift;
  return buffer;
}

function blockOf(words: number, spare: SharedArrayBuffer | undefined): SharedArrayBuffer {
  const bytes = words * Int32Array.BYTES_PER_ELEMENT;
  if (spare === undefined) return new SharedArrayBuffer(bytes);
  if (spare.byteLength >= bytes && spare.byteLength <= bytes * MOST_SPARE_TIMES) return spare;
  return new SharedArrayBuffer((words + (words >>> GROWTH_SHIFT)) * Int32Array.BYTES_PER_ELEMENT);
}

/** 0.0.0.0 and ::, which are nobody's address. */
const UNSPECIFIED = new Int32Array(ADDRESS_WORDS);
/** Prefix lengths there are: 0..32 of IPv4, 0..128 of IPv6. */
const LENGTHS = 129;

/** Routes grouped by prefix length, shortest first: a longer prefix is then always painted over a shorter one. */
function byLength(routes: Iterable<TableRoute>): TableRoute[][] {
  const groups: TableRoute[][] = Array.from({ length: LENGTHS }, () => []);
  for (const route of routes) groups[route.prefix.bits]!.push(route);
  return groups;
}

/** The header (left zero) and the tries, growing. */
class TrieBuilder {
  words = new Int32Array(2 * (IPV6_ROOT_AT + CHUNK_ENTRIES));
  /** Words in use. */
  count = IPV6_ROOT_AT + CHUNK_ENTRIES;
  /** Bytes of the IPv6 address in hand. */
  readonly #bytes = new DataView(new ArrayBuffer(16));

  constructor() {
    this.words.fill(NO_ROUTE, IPV4_ROOT_AT, this.count);
  }

  /**
   * Gives a prefix's addresses to a next hop. Prefixes must come shortest first: then the entries of the level where this
   * one ends are all leaves, or belong to prefixes of the same length elsewhere.
   */
  paintIpv4(address: number, bits: number, nextHopId: number): void {
    const high = IPV4_ROOT_AT + (address >>> 16);
    if (bits <= 16) return this.#fill(high, 16 - bits, nextHopId);
    const middle = this.#chunkBelow(high) + ((address >>> 8) & 255);
    if (bits <= 24) return this.#fill(middle, 24 - bits, nextHopId);
    const low = this.#chunkBelow(middle) + (address & 255);
    this.#fill(low, 32 - bits, nextHopId);
  }

  /** As {@link paintIpv4}; a level for each byte. */
  paintIpv6(address: bigint, bits: number, nextHopId: number): void {
    const bytes = this.#bytes;
    bytes.setBigUint64(0, address >> 64n);
    bytes.setBigUint64(8, address); // its low 64 bits
    let at = IPV6_ROOT_AT + bytes.getUint8(0);
    let levelBits = 8;
    for (; levelBits < bits; levelBits += 8) at = this.#chunkBelow(at) + bytes.getUint8(levelBits >>> 3);
    this.#fill(at, levelBits - bits, nextHopId);
  }

  #fill(at: number, freeBits: number, nextHopId: number): void {
    this.words.fill(nextHopId, at, at + (1 << freeBits));
  }

  /** Index of the chunk that the entry points to; makes one, filled with the entry's leaf, where there is none. */
  #chunkBelow(entryAt: number): number {
    const entry = this.words[entryAt]!;
    if (entry < NO_ROUTE) return -entry;
    const chunk = this.count;
    this.#reserve(chunk + CHUNK_ENTRIES);
    this.words.fill(entry, chunk, chunk + CHUNK_ENTRIES);
    this.words[entryAt] = -chunk;
    this.count = chunk + CHUNK_ENTRIES;
    return chunk;
  }

  #reserve(needed: number): void {
    if (needed <= this.words.length) return;
    if (needed > MAX_TABLE_WORDS) {
      throw new SelvageError(
        'ERR_ROUTE_LIMIT',
        `the routes need a table of more than ${MAX_TABLE_BYTES / 1024 / 1024} MiB; use fewer prefixes longer than /24, or /64 of IPv6`,
      );
    }
    const grown = new Int32Array(Math.min(this.words.length * 2, MAX_TABLE_WORDS));
    grown.set(this.words);
    this.words = grown;
  }
}

/** One id for each address that endpoints have, as an open-addressing set, at most half full. */
function buildPeerSet(endpoints: Int32Array): { slots: Int32Array; shift: number } {
  const ids = endpoints.length / ENDPOINT_WORDS;
  const log2 = 32 - Math.clz32(Math.max(2, 2 * ids) - 1);
  const slots = new Int32Array(2 ** log2).fill(EMPTY_SLOT);
  const shift = 32 - log2;
  for (let id = LOCAL + 1; id < ids; id++) {
    const at = id * ENDPOINT_WORDS;
    if (sameAddress(endpoints, at, UNSPECIFIED, 0)) continue; // an id that no route uses now
    let slot = peerSlot(endpoints, at, shift);
    while (
      slots[slot] !== EMPTY_SLOT &&
      !sameAddress(endpoints, slots[slot]! * ENDPOINT_WORDS, endpoints, at)
    ) {
      slot = (slot + 1) & (slots.length - 1);
    }
    slots[slot] = id;
  }
  return { slots, shift };
}
