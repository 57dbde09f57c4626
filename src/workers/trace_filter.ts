/**
 * Which frames a trace shows: as people write it, and as the words that a lane compares with.
 */
import { DROP_REASONS, DropReason, type Direction, type DropReasonName } from '../encap/drop_reason.js';
import { messageOf, SelvageError } from '../errors.js';
import { ADDRESS_WORDS, formatAddress, parseAddress, putIpv6Words } from '../ip_address.js';
import { nearName } from '../lease/file/near_name.js';
import { parsePrefix, type Prefix } from '../prefix.js';
import { INBOUND, OUTBOUND } from './counters.js';
import {
  FLOW_DESTINATION,
  FLOW_DESTINATION_PORT,
  FLOW_FAMILY,
  FLOW_PROTOCOL,
  FLOW_SOURCE,
  FLOW_SOURCE_PORT,
} from './inner_flow.js';

/** Which frames a trace shows: those that meet everything that is given. Nothing given shows every frame. */
export interface TraceFilter {
  /** Inner source or destination: an address or a prefix in canonical spelling, of either family. */
  readonly host?: string | undefined;
  /** Inner source, as `host`. */
  readonly source?: string | undefined;
  /** Inner destination, as `host`. */
  readonly destination?: string | undefined;
  /** Inner protocol number, 0..255; of IPv6 the one behind the extension headers. */
  readonly protocol?: number | undefined;
  /** Source or destination port of TCP, UDP, SCTP, DCCP and UDP-Lite, 0..65535. */
  readonly port?: number | undefined;
  readonly sourcePort?: number | undefined;
  readonly destinationPort?: number | undefined;
  readonly direction?: Direction | undefined;
  /** `dropped` shows superframes of which a part was lost, too. */
  readonly verdict?: 'forwarded' | 'dropped' | undefined;
  /** Frames that ended for this reason. */
  readonly reason?: DropReasonName | undefined;
  /** Underlay address: frames that leave to this peer, and frames that came from there. */
  readonly peer?: string | undefined;
}

/** What to trace. */
export interface TraceOptions extends TraceFilter {
  /** Most records from each lane, 1..10,000 a second. Default {@link DEFAULT_RECORDS_PER_SECOND}. */
  readonly recordsPerSecond?: number | undefined;
}

/** Records from each lane that show what is going on and cost it under a thousandth of its time. */
export const DEFAULT_RECORDS_PER_SECOND = 1000;
/** Most records a second of each lane that a reader keeps up with. */
export const MOST_RECORDS_PER_SECOND = 10_000;

const ANY = -1;
const WORD_DIRECTION = 0;
const WORD_VERDICT = 1;
const WORD_REASON = 2;
const WORD_PROTOCOL = 3;
const WORD_PORT = 4;
const WORD_SOURCE_PORT = 5;
const WORD_DESTINATION_PORT = 6;
/** 1 when a peer is asked for. */
const WORD_PEER = 7;
const WORD_PEER_ADDRESS = 8;
const WORD_PEER_IDS = WORD_PEER_ADDRESS + ADDRESS_WORDS;
/** One peer has several ids only where routes name different ports of its address. */
const MOST_PEER_IDS = 4;
/** Prefixes: family (0 for none), address, mask. */
const PREFIX_WORDS = 1 + 2 * ADDRESS_WORDS;
const WORD_HOST = WORD_PEER_IDS + MOST_PEER_IDS;
const WORD_SOURCE = WORD_HOST + PREFIX_WORDS;
const WORD_DESTINATION = WORD_SOURCE + PREFIX_WORDS;
/** Words of a compiled filter. */
export const FILTER_WORDS = WORD_DESTINATION + PREFIX_WORDS;

const VERDICT_FORWARDED = 1;
const VERDICT_DROPPED = 2;
const WORD_BITS = 32;
const MOST_PORT = 65_535;
const MOST_PROTOCOL = 255;

/**
 * Checks what can be checked without a forwarder.
 *
 * @throws SelvageError ERR_TRACE_FILTER naming the field and what it should be
 */
export function checkTraceOptions(options: TraceOptions): void {
  compileFilter(options);
  const { recordsPerSecond = DEFAULT_RECORDS_PER_SECOND } = options;
  const most = MOST_RECORDS_PER_SECOND;
  if (Number.isInteger(recordsPerSecond) && recordsPerSecond >= 1 && recordsPerSecond <= most) return;
  throw filterError('recordsPerSecond', recordsPerSecond, `is not a whole number from 1 to ${most}`);
}

/**
 * Compiles a filter. Main thread.
 *
 * @param peerIds next-hop ids whose endpoint has the address of `peer`
 * @returns {@link FILTER_WORDS} words
 * @throws SelvageError ERR_TRACE_FILTER naming the field and what it should be
 */
export function compileFilter(filter: TraceFilter, peerIds: readonly number[] = []): Int32Array {
  const words = new Int32Array(FILTER_WORDS);
  words[WORD_DIRECTION] = directionWord(filter.direction);
  words[WORD_VERDICT] = verdictWord(filter.verdict);
  words[WORD_REASON] = reasonWord(filter.reason);
  words[WORD_PROTOCOL] = numberWord('protocol', filter.protocol, MOST_PROTOCOL);
  words[WORD_PORT] = numberWord('port', filter.port, MOST_PORT);
  words[WORD_SOURCE_PORT] = numberWord('sourcePort', filter.sourcePort, MOST_PORT);
  words[WORD_DESTINATION_PORT] = numberWord('destinationPort', filter.destinationPort, MOST_PORT);
  putPeer(words, filter.peer, peerIds);
  putPrefix(words, WORD_HOST, 'host', filter.host);
  putPrefix(words, WORD_SOURCE, 'source', filter.source);
  putPrefix(words, WORD_DESTINATION, 'destination', filter.destination);
  return words;
}

/**
 * Whether a row meets what a filter asks of its way through this host.
 *
 * @param direction OUTBOUND or INBOUND
 * @param fate as in a burst
 * @param reason why the row, or a part of it, was lost; 0 when all of it went on
 * @param source the burst's column of outer addresses, where the row's words begin at `sourceAt`; read for inbound rows only
 * @remarks Allocates nothing, never throws.
 */
export function matchesVerdict(
  filter: Int32Array,
  direction: number,
  fate: number,
  reason: number,
  source: Int32Array,
  sourceAt: number,
): boolean {
  const wanted = filter[WORD_DIRECTION]!;
  if (wanted !== ANY && wanted !== direction) return false;
  const verdict = filter[WORD_VERDICT]!;
  if (verdict !== 0 && verdict !== (reason === 0 ? VERDICT_FORWARDED : VERDICT_DROPPED)) return false;
  const wantedReason = filter[WORD_REASON]!;
  if (wantedReason !== 0 && wantedReason !== reason) return false;
  if (filter[WORD_PEER] === 0) return true;
  return direction === OUTBOUND ? leadsToPeer(filter, fate) : isFromPeer(filter, source, sourceAt);
}

/**
 * Whether a flow, as readInnerFlow wrote it, meets what a filter asks of it.
 *
 * @remarks Allocates nothing, never throws.
 */
export function matchesFlow(filter: Int32Array, flow: Int32Array): boolean {
  const protocol = filter[WORD_PROTOCOL]!;
  if (protocol !== ANY && protocol !== flow[FLOW_PROTOCOL]) return false;
  const port = filter[WORD_PORT]!;
  if (port !== ANY && port !== flow[FLOW_SOURCE_PORT] && port !== flow[FLOW_DESTINATION_PORT]) return false;
  const sourcePort = filter[WORD_SOURCE_PORT]!;
  if (sourcePort !== ANY && sourcePort !== flow[FLOW_SOURCE_PORT]) return false;
  const destinationPort = filter[WORD_DESTINATION_PORT]!;
  if (destinationPort !== ANY && destinationPort !== flow[FLOW_DESTINATION_PORT]) return false;
  return (
    (isInPrefix(filter, WORD_HOST, flow, FLOW_SOURCE) ||
      isInPrefix(filter, WORD_HOST, flow, FLOW_DESTINATION)) &&
    isInPrefix(filter, WORD_SOURCE, flow, FLOW_SOURCE) &&
    isInPrefix(filter, WORD_DESTINATION, flow, FLOW_DESTINATION)
  );
}

function leadsToPeer(filter: Int32Array, fate: number): boolean {
  if (fate <= 0) return false;
  for (let i = 0; i < MOST_PEER_IDS; i++) {
    if (filter[WORD_PEER_IDS + i] === fate) return true;
  }
  return false;
}

function isFromPeer(filter: Int32Array, source: Int32Array, sourceAt: number): boolean {
  for (let word = 0; word < ADDRESS_WORDS; word++) {
    if (filter[WORD_PEER_ADDRESS + word] !== source[sourceAt + word]) return false;
  }
  return true;
}

/** @returns true when no prefix is asked for */
function isInPrefix(filter: Int32Array, at: number, flow: Int32Array, addressAt: number): boolean {
  const family = filter[at]!;
  if (family === 0) return true;
  if (family !== flow[FLOW_FAMILY]) return false;
  for (let word = 0; word < ADDRESS_WORDS; word++) {
    const mask = filter[at + 1 + ADDRESS_WORDS + word]!;
    if ((flow[addressAt + word]! & mask) !== filter[at + 1 + word]) return false;
  }
  return true;
}

function directionWord(direction: string | undefined): number {
  if (direction === undefined) return ANY;
  if (direction === 'outbound') return OUTBOUND;
  if (direction === 'inbound') return INBOUND;
  throw filterError('direction', direction, 'is not one of outbound, inbound');
}

function verdictWord(verdict: string | undefined): number {
  if (verdict === undefined) return 0;
  if (verdict === 'forwarded') return VERDICT_FORWARDED;
  if (verdict === 'dropped') return VERDICT_DROPPED;
  throw filterError('verdict', verdict, 'is not one of forwarded, dropped');
}

function reasonWord(reason: string | undefined): number {
  if (reason === undefined) return 0;
  if (Object.hasOwn(DropReason, reason)) return DropReason[reason as DropReasonName];
  const names = DROP_REASONS.map(({ name }) => name);
  const near = nearName(reason, names);
  const remedy = near === undefined ? `there are ${names.join(', ')}` : `did you mean ${near}?`;
  throw filterError('reason', reason, `is not a drop reason; ${remedy}`);
}

function numberWord(field: string, value: number | undefined, most: number): number {
  if (value === undefined) return ANY;
  if (Number.isInteger(value) && value >= 0 && value <= most) return value;
  throw filterError(field, value, `is not a whole number from 0 to ${most}`);
}

function putPeer(words: Int32Array, peer: string | undefined, peerIds: readonly number[]): void {
  if (peer === undefined) return;
  words[WORD_PEER] = 1;
  words.set(parsed('peer', () => parseAddress(peer)).words, WORD_PEER_ADDRESS);
  words.set(peerIds.slice(0, MOST_PEER_IDS), WORD_PEER_IDS);
}

function putPrefix(words: Int32Array, at: number, field: string, text: string | undefined): void {
  if (text === undefined) return;
  const prefix = parsed(field, () => prefixOf(text));
  words[at] = prefix.family;
  if (prefix.family === 4) words[at + 1] = prefix.address;
  else putIpv6Words(words, at + 1, prefix.address);
  for (let word = 0; word < ADDRESS_WORDS; word++) {
    words[at + 1 + ADDRESS_WORDS + word] = maskWord(prefix.bits - word * WORD_BITS);
  }
}

/** An address may have any spelling. */
function prefixOf(text: string): Prefix {
  if (text.includes('/')) return parsePrefix(text);
  const { family, words } = parseAddress(text);
  return parsePrefix(
    `${formatAddress(family, words)}/${family === 4 ? WORD_BITS : WORD_BITS * ADDRESS_WORDS}`,
  );
}

/** @param bits of the prefix that fall into this word or behind it; a shift by 32 would be a shift by 0 */
function maskWord(bits: number): number {
  if (bits <= 0) return 0;
  return bits >= WORD_BITS ? -1 : -1 << (WORD_BITS - bits);
}

function parsed<T>(field: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new SelvageError('ERR_TRACE_FILTER', `${field}: ${messageOf(error)}`, { cause: error });
  }
}

function filterError(field: string, value: unknown, reason: string): SelvageError {
  return new SelvageError('ERR_TRACE_FILTER', `${field}: ${JSON.stringify(value)?.slice(0, 60)} ${reason}`);
}
