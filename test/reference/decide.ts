/** What a router of this overlay does with one frame: rule by rule over decoded fields, with strings for addresses. */

import { Buffer } from 'node:buffer';

import type { DropReasonName } from '../../src/encap/drop_reason.js';
import { IPV4_LAYOUT } from '../../src/encap/ipv4_header.js';
import { referenceClassify } from './classify.js';

/** Where the subnets live: '/24 as text' -> peer's address, or 'local'. */
export type ReferenceRoutes = Readonly<Record<string, string>>;

export interface ReferenceRow {
  readonly frame: Uint8Array;
  readonly segments: number;
  readonly wireBytes: number;
  readonly outerSource: string;
}

export type Verdict = DropReasonName | `to ${string}` | 'accept';

export function referenceOutbound(row: ReferenceRow, routes: ReferenceRoutes, mtuBytes: number): Verdict {
  const unsound = soundness(row);
  if (unsound !== 'sound') return unsound;
  const header = IPV4_LAYOUT.decode(Buffer.from(row.frame));
  const nextHop = routes[subnetOf(header.destination)];
  if (nextHop === undefined) return 'noRoute';
  if (nextHop === 'local') return 'localDestination';
  if (header.ttl < 2) return 'ttlExceeded';
  if (row.wireBytes > mtuBytes) return 'tooBig';
  return `to ${nextHop}`;
}

export function referenceInbound(
  row: ReferenceRow,
  routes: ReferenceRoutes,
  mode: 'strict' | 'peer' | 'off',
): Verdict {
  const unsound = soundness(row);
  if (unsound !== 'sound') return unsound;
  const header = IPV4_LAYOUT.decode(Buffer.from(row.frame));
  const peers = Object.values(routes).filter((nextHop) => nextHop !== 'local');
  if (mode !== 'off' && !peers.includes(row.outerSource)) return 'unknownPeer';
  if (mode === 'strict' && routes[subnetOf(header.source)] !== row.outerSource) return 'spoofedSource';
  if (routes[subnetOf(header.destination)] !== 'local') return 'notLocal';
  return header.ttl < 2 ? 'ttlExceeded' : 'accept';
}

function soundness(row: ReferenceRow): DropReasonName | 'sound' {
  if (row.segments === 0) return 'badGso';
  const verdict = referenceClassify(row.frame, row.segments);
  if (verdict !== 'sound') return verdict;
  const header = IPV4_LAYOUT.decode(Buffer.from(row.frame));
  const [source, destination] = [octets(header.source), octets(header.destination)];
  const broadcast = destination.every((octet) => octet === 255);
  const martianSource = isHostOnly(source) || source[0]! >= 224;
  const martianDestination = isHostOnly(destination) || (destination[0]! >= 240 && !broadcast);
  if (martianSource || martianDestination) return 'martian';
  return destination[0]! >= 224 ? 'notUnicast' : 'sound';
}

/** "This network", loopback, link-local. */
function isHostOnly([first, second]: number[]): boolean {
  return first === 0 || first === 127 || (first === 169 && second === 254);
}

function octets(address: number): number[] {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(address);
  return [...bytes];
}

function subnetOf(address: number): string {
  return `${octets(address).slice(0, 3).join('.')}.0/24`;
}
