/** A lane's decisions without its devices: a table of three subnets, and a burst to put frames into. */

import { dropReasonName } from '../../src/encap/drop_reason.js';
import { TokenBucket } from '../../src/encap/token_bucket.js';
import { ADDRESS_WORDS, parseAddress } from '../../src/ip_address.js';
import { parseIpv4, parseIpv4Prefix } from '../../src/ipv4_prefix.js';
import { parseIpv6Prefix } from '../../src/ipv6_prefix.js';
import { buildRouteTable } from '../../src/routing/build_route_table.js';
import { LOCAL, RouteTable } from '../../src/routing/route_table.js';
import type { Burst } from '../../src/tun/burst.js';
import { createBurst } from '../../src/tun/create_burst.js';
import { AnswerBurst } from '../../src/workers/answer_burst.js';
import { LaneCounters, readCounters } from '../../src/workers/counters.js';
import type { CountersSnapshot } from '../../src/workers/counters.js';
import { LaneContext, SourceCheck } from '../../src/workers/lane_context.js';
import { PathTable } from '../../src/workers/path_table.js';
import { SuspectNote } from '../../src/workers/suspect_note.js';

export const TUN_ADDRESS = '10.1.1.0';
export const TUN_ADDRESS_IPV6 = 'fd00:1:0:1::';
export const TUN_ADDRESS_IPV6_BYTES = Uint8Array.from([0xfd, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
export const ECHO_IDENTIFIER = 0x5e1f;
export const MTU_BYTES = 1472;
export const MAX_PEERS = 3;

/** Endpoints by next-hop id; id 0 is this host. 10.1.4.0/24 has an id beyond MAX_PEERS. */
export const PEER_ENDPOINTS = ['0.0.0.0', '192.0.2.2', '192.0.2.3', '192.0.2.4'] as const;
export const STRANGER = '203.0.113.9';

export function sampleTable(): RouteTable {
  const endpoints = new Int32Array(
    PEER_ENDPOINTS.flatMap((address, id) => [...parseAddress(address).words, id && 8285]),
  );
  const routes = [
    { prefix: parseIpv4Prefix('10.1.1.0/24'), nextHopId: LOCAL },
    { prefix: parseIpv4Prefix('10.1.2.0/24'), nextHopId: 1 },
    { prefix: parseIpv4Prefix('10.1.3.0/24'), nextHopId: 2 },
    { prefix: parseIpv4Prefix('10.1.4.0/24'), nextHopId: 3 },
    { prefix: parseIpv6Prefix('fd00:1:0:1::/64'), nextHopId: LOCAL },
    { prefix: parseIpv6Prefix('fd00:1:0:2::/64'), nextHopId: 1 },
    { prefix: parseIpv6Prefix('fd00:1:0:3::/64'), nextHopId: 2 },
  ];
  return new RouteTable(buildRouteTable(routes, endpoints, 1));
}

export interface LaneFixtureOptions {
  readonly sourceCheck?: SourceCheck;
  readonly answerRows?: number;
  readonly answersPerSecond?: number;
  readonly answerDepth?: number;
  /** Families that the network has; default both. */
  readonly families?: '4' | '6' | '46';
  readonly copyClass?: boolean;
  /** What the kernel would say of a path; default that it does not know. */
  readonly askPathMtu?: (nextHop: number) => number;
}

export function sampleLane(options: LaneFixtureOptions = {}): LaneContext {
  return new LaneContext({
    table: sampleTable(),
    mtuBytes: MTU_BYTES,
    tunAddress: (options.families ?? '46').includes('4') ? parseIpv4(TUN_ADDRESS) : undefined,
    tunAddressIpv6: (options.families ?? '46').includes('6') ? TUN_ADDRESS_IPV6_BYTES : undefined,
    sourceCheck: options.sourceCheck ?? SourceCheck.strict,
    copyClass: options.copyClass ?? true,
    echoIdentifier: ECHO_IDENTIFIER,
    paths: new PathTable(PathTable.allocate(MAX_PEERS)),
    suspects: new SuspectNote(SuspectNote.allocate()),
    askPathMtu: options.askPathMtu ?? (() => 0),
    counters: new LaneCounters(new SharedArrayBuffer(LaneCounters.byteLength(MAX_PEERS)), MAX_PEERS),
    answers: new AnswerBurst(options.answerRows),
    limiter: new TokenBucket(options.answersPerSecond ?? 1000, options.answerDepth ?? 1000),
  });
}

/** One row to be decided on. */
export interface Row {
  readonly frame: Uint8Array;
  /** Default 1. */
  readonly segments?: number;
  /** Default the whole frame. */
  readonly wireBytes?: number;
  /** Traffic class of the outer header; default 0. */
  readonly outerClass?: number;
  /** Outer source; default 192.0.2.2, the peer of 10.1.2.0/24. */
  readonly outerSource?: string;
}

/** A burst of these rows, each 128 bytes and one from the last: at an odd offset, as a train's datagrams are. */
export function burstOf(rows: readonly Row[]): Burst {
  const gap = 129;
  const bytes = rows.reduce((sum, { frame }) => sum + frame.length + gap, gap);
  const burst = createBurst({ rows: Math.max(rows.length, 1), slabBytes: bytes });
  burst.slab.fill(0xa5); // bytes that are no frame's
  let at = gap;
  rows.forEach(
    ({ frame, segments = 1, wireBytes = frame.length, outerClass = 0, outerSource = '192.0.2.2' }, i) => {
      burst.slab.set(frame, at);
      burst.offset[i] = at;
      burst.length[i] = frame.length;
      burst.segments[i] = segments;
      burst.wireBytes[i] = wireBytes;
      burst.source.set(parseAddress(outerSource).words, i * ADDRESS_WORDS);
      burst.outerClass[i] = outerClass;
      burst.cut[i] = 12345;
      burst.fate[i] = 12345; // what an undecided row would keep
      burst.lost[i] = 99; // stale, as of a burst before
      burst.lostErrno[i] = 99;
      at += frame.length + gap;
    },
  );
  return burst;
}

/** A copy of row `i`'s bytes. */
export function rowFrame(burst: Burst, i: number): Uint8Array {
  const at = burst.offset[i]!;
  return burst.slab.slice(at, at + burst.length[i]!);
}

/** A fate in words: a drop reason, `local`, or `next hop 1`. */
export function fateName(fate: number): string {
  if (fate < 0) return dropReasonName(-fate);
  return fate === LOCAL ? 'local' : `next hop ${fate}`;
}

export function snapshotOf(lane: LaneContext): CountersSnapshot {
  return readCounters(lane.counters);
}
