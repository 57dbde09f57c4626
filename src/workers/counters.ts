/**
 * What a lane counts, over one SharedArrayBuffer per lane.
 *
 * ```text
 * word                                          writer    readers
 * 0 ..              outbound block              the lane  any thread
 * DIRECTION_WORDS   inbound block               the lane  any thread
 * 2*DIRECTION_WORDS peer 0: out frames, out bytes, in frames, in bytes, peer 1: ...
 *
 * a block: received frames, bytes, rows, superframes | sent frames, bytes, rows, superframes
 *          | answers sent, suppressed, lost | bursts | drops by reason (word DROPS + reason)
 * ```
 *
 * No atomics. Each word has one writer, so no addition is lost, and it is a float64 at a multiple of 8 bytes: on x86-64
 * and arm64 such a store is one access, so a reader finds the old or the new number and never half of each. What it may
 * find is a block in which some words are one burst older than others; sums agree once the lane is idle. An
 * Atomics.add costs about twenty plain additions, and would buy nothing but the order. A float64 counts exactly to 2^53.
 *
 * Frames are wire-sized frames everywhere, so a superframe of n segments counts n; rows are what was decided on. Bytes are
 * those of the rows: a superframe's headers count once, though each of its segments carries them on the wire.
 */

import { DROP_REASONS } from '../encap/drop_reason.js';
import type { DropReasonName } from '../encap/drop_reason.js';

const RECEIVED_FRAMES = 0;
const RECEIVED_BYTES = 1;
const RECEIVED_ROWS = 2;
const RECEIVED_SUPERFRAMES = 3;
const SENT_FRAMES = 4;
const SENT_BYTES = 5;
const SENT_ROWS = 6;
const SENT_SUPERFRAMES = 7;
const ANSWERS_SENT = 8;
const ANSWERS_SUPPRESSED = 9;
const ANSWERS_LOST = 10;
const BURSTS = 11;
/** Word of reason 0, which does not exist; reason r is at DROPS + r. */
const DROPS = 12;

/** Room for 51 reasons, so that a new reason does not move the inbound block. A multiple of a cache line. */
const DIRECTION_WORDS = 64;

const PEER_WORDS = 4;
const PEER_OUT = 0;
const PEER_IN = 2;

/** First word of each direction's block: how the hot path names a direction. */
export const OUTBOUND = 0;
export const INBOUND = DIRECTION_WORDS;

const PEERS = 2 * DIRECTION_WORDS;

/**
 * One lane's counters. The lane adds, any thread reads.
 *
 * The adding methods are hot: plain stores, nothing allocated, no check of their arguments.
 */
export class LaneCounters {
  private readonly words: Float64Array;
  /** Next hops with an id below this have counters of their own; the others are in the totals only. */
  readonly maxPeers: number;

  /** Bytes of the buffer for so many peers. A buffer starts as zeros. */
  static byteLength(maxPeers: number): number {
    return (PEERS + maxPeers * PEER_WORDS) * Float64Array.BYTES_PER_ELEMENT;
  }

  /**
   * @param buffer shared with the lane; at least `byteLength(maxPeers)` bytes
   * @throws RangeError when the buffer is too small
   */
  constructor(buffer: SharedArrayBuffer, maxPeers: number) {
    this.words = new Float64Array(buffer, 0, PEERS + maxPeers * PEER_WORDS);
    this.maxPeers = maxPeers;
  }

  /** One burst that came in with at least one row. */
  addReceived(direction: number, frames: number, bytes: number, rows: number, superframes: number): void {
    const words = this.words;
    words[direction + BURSTS]! += 1;
    words[direction + RECEIVED_FRAMES]! += frames;
    words[direction + RECEIVED_BYTES]! += bytes;
    words[direction + RECEIVED_ROWS]! += rows;
    words[direction + RECEIVED_SUPERFRAMES]! += superframes;
  }

  /** Rows that left, whole or in part. */
  addSent(direction: number, frames: number, bytes: number, rows: number, superframes: number): void {
    const words = this.words;
    words[direction + SENT_FRAMES]! += frames;
    words[direction + SENT_BYTES]! += bytes;
    words[direction + SENT_ROWS]! += rows;
    words[direction + SENT_SUPERFRAMES]! += superframes;
  }

  /** @param reason a DropReason */
  addDrop(direction: number, reason: number, frames: number): void {
    this.words[direction + DROPS + reason]! += frames;
  }

  /** An answer that the rate limit or a full answer burst kept back. */
  addSuppressedAnswer(direction: number): void {
    this.words[direction + ANSWERS_SUPPRESSED]! += 1;
  }

  addAnswers(direction: number, sent: number, lost: number): void {
    this.words[direction + ANSWERS_SENT]! += sent;
    this.words[direction + ANSWERS_LOST]! += lost;
  }

  /** Frames that left for a peer. @param id next-hop id, any */
  addToPeer(id: number, frames: number, bytes: number): void {
    if (id < this.maxPeers) this.addPeer(PEERS + id * PEER_WORDS + PEER_OUT, frames, bytes);
  }

  /** Frames accepted from a peer. @param id next-hop id, any */
  addFromPeer(id: number, frames: number, bytes: number): void {
    if (id < this.maxPeers) this.addPeer(PEERS + id * PEER_WORDS + PEER_IN, frames, bytes);
  }

  private addPeer(word: number, frames: number, bytes: number): void {
    this.words[word]! += frames;
    this.words[word + 1]! += bytes;
  }

  /** Frames that ended for one reason. @param reason a DropReason */
  readDrop(direction: number, reason: number): number {
    return this.words[direction + DROPS + reason]!;
  }

  /** Frames that left for a peer. @param id next-hop id, any */
  readFramesToPeer(id: number): number {
    return id < this.maxPeers ? this.words[PEERS + id * PEER_WORDS + PEER_OUT]! : 0;
  }

  /** Copies one direction out. Allocates: for control threads. */
  readDirection(direction: number): DirectionCounters {
    const words = this.words;
    const drops = emptyDrops();
    for (const { name, code } of DROP_REASONS) drops[name] = words[direction + DROPS + code]!;
    return {
      framesReceived: words[direction + RECEIVED_FRAMES]!,
      bytesReceived: words[direction + RECEIVED_BYTES]!,
      rowsReceived: words[direction + RECEIVED_ROWS]!,
      superframesReceived: words[direction + RECEIVED_SUPERFRAMES]!,
      framesSent: words[direction + SENT_FRAMES]!,
      bytesSent: words[direction + SENT_BYTES]!,
      rowsSent: words[direction + SENT_ROWS]!,
      superframesSent: words[direction + SENT_SUPERFRAMES]!,
      answersSent: words[direction + ANSWERS_SENT]!,
      answersSuppressed: words[direction + ANSWERS_SUPPRESSED]!,
      answersLost: words[direction + ANSWERS_LOST]!,
      bursts: words[direction + BURSTS]!,
      drops,
    };
  }

  /** Copies one peer out; zeros for an id that has no counters of its own. Allocates: for control threads. */
  readPeer(id: number): PeerCounters {
    const word = PEERS + id * PEER_WORDS;
    const known = id < this.maxPeers;
    return {
      framesOut: known ? this.words[word + PEER_OUT]! : 0,
      bytesOut: known ? this.words[word + PEER_OUT + 1]! : 0,
      framesIn: known ? this.words[word + PEER_IN]! : 0,
      bytesIn: known ? this.words[word + PEER_IN + 1]! : 0,
    };
  }
}

/** Lost frames by reason; every reason is there, those that cannot happen in a direction stay 0. */
export type DropCounts = Record<DropReasonName, number>;

/** One direction of one lane, or of several together. `framesReceived == framesSent + sum of drops` when idle. */
export interface DirectionCounters {
  framesReceived: number;
  bytesReceived: number;
  /** Ordinary frames and superframes: the number of decisions. */
  rowsReceived: number;
  /** Rows of two or more frames. */
  superframesReceived: number;
  framesSent: number;
  /** Of a row that left in part, its share by frames. */
  bytesSent: number;
  rowsSent: number;
  superframesSent: number;
  /** ICMP errors about frames of this direction that left. */
  answersSent: number;
  /** ICMP errors kept back by the rate limit. */
  answersSuppressed: number;
  /** ICMP errors that the kernel did not take. */
  answersLost: number;
  /** Receiving calls that returned a frame. */
  bursts: number;
  drops: DropCounts;
}

/** What went to one next hop and came from it. */
export interface PeerCounters {
  framesOut: number;
  bytesOut: number;
  /** Accepted from the peer, whether or not the TUN device then took them. */
  framesIn: number;
  bytesIn: number;
}

/** A snapshot of one lane, or of several together. */
export interface CountersSnapshot {
  outbound: DirectionCounters;
  inbound: DirectionCounters;
}

/** Reads a lane's totals: each number at most one burst old. */
export function readCounters(counters: LaneCounters): CountersSnapshot {
  return { outbound: counters.readDirection(OUTBOUND), inbound: counters.readDirection(INBOUND) };
}

/** Adds lanes up. No lane gives zeros. */
export function sumCounters(snapshots: Iterable<CountersSnapshot>): CountersSnapshot {
  const total: CountersSnapshot = { outbound: emptyDirection(), inbound: emptyDirection() };
  for (const { outbound, inbound } of snapshots) {
    addDirection(total.outbound, outbound);
    addDirection(total.inbound, inbound);
  }
  return total;
}

/** One peer over all lanes. */
export function sumPeer(lanes: Iterable<LaneCounters>, id: number): PeerCounters {
  const total: PeerCounters = { framesOut: 0, bytesOut: 0, framesIn: 0, bytesIn: 0 };
  for (const lane of lanes) addFields(total, lane.readPeer(id));
  return total;
}

/** All frames lost in one direction, whatever the reason. */
export function droppedFrames(direction: DirectionCounters): number {
  return DROP_REASONS.reduce((sum, { name }) => sum + direction.drops[name], 0);
}

function addDirection(total: DirectionCounters, lane: DirectionCounters): void {
  const { drops: totalDrops, ...totalFields } = total;
  const { drops, ...fields } = lane;
  addFields(totalDrops, drops);
  addFields(totalFields, fields);
  Object.assign(total, totalFields);
}

function addFields<Field extends string>(total: Record<Field, number>, more: Record<Field, number>): void {
  for (const field of Object.keys(total) as Field[]) total[field] += more[field];
}

function emptyDrops(): DropCounts {
  return Object.fromEntries(DROP_REASONS.map(({ name }) => [name, 0])) as DropCounts;
}

function emptyDirection(): DirectionCounters {
  return {
    framesReceived: 0,
    bytesReceived: 0,
    rowsReceived: 0,
    superframesReceived: 0,
    framesSent: 0,
    bytesSent: 0,
    rowsSent: 0,
    superframesSent: 0,
    answersSent: 0,
    answersSuppressed: 0,
    answersLost: 0,
    bursts: 0,
    drops: emptyDrops(),
  };
}
