/** What a router of this overlay does with one frame: rule by rule over decoded fields, with strings for addresses. */

import { Buffer } from 'node:buffer';

import type { DropReasonName } from '../../src/encap/drop_reason.js';
import { IPV4_LAYOUT } from '../../src/encap/ipv4_header.js';
import { IPV6_LAYOUT } from '../../src/encap/ipv6_header.js';
import { type IpFamily, formatAddress } from '../../src/ip_address.js';
import { referenceClassify, referenceClassifyIpv6 } from './classify.js';
import { referenceIpv6Addresses } from './ipv6_class.js';

/** Where the subnets live: '/24 as text' (IPv6: '/64 as text') -> peer's address, or 'local'. */
export type ReferenceRoutes = Readonly<Record<string, string>>;

export interface ReferenceRow {
  readonly frame: Uint8Array;
  readonly segments: number;
  readonly wireBytes: number;
  readonly outerSource: string;
  /** Traffic class of the outer header that a row came in with; 0 when absent. */
  readonly outerClass?: number;
}

/** `to 192.0.2.2`: as it is; or in IPv4 fragments of so many bytes; or in datagrams that the underlay may fragment. */
export type Verdict = DropReasonName | `to ${string}` | 'accept';

/**
 * @param mtuBytes most bytes of a frame on any path
 * @param families that the network carries
 * @param limits peer's address -> most bytes of a frame to it
 */
export function referenceOutbound(
  row: ReferenceRow,
  routes: ReferenceRoutes,
  mtuBytes: number,
  families: readonly IpFamily[] = [4],
  limits: Readonly<Record<string, number>> = {},
): Verdict {
  const unsound = soundness(row, families);
  if (unsound !== 'sound') return unsound;
  const header = headerOf(row.frame);
  const nextHop = routes[header.destinationSubnet];
  if (nextHop === undefined) return 'noRoute';
  if (nextHop === 'local') return 'localDestination';
  if (header.hopLimit < 2) return 'ttlExceeded';
  const pathMtu = Math.min(mtuBytes, limits[nextHop] ?? mtuBytes);
  if (row.wireBytes <= pathMtu) return `to ${nextHop}`;
  if (header.family === 6) return row.wireBytes <= 1280 ? `to ${nextHop}, fragmented outside` : 'tooBig';
  return header.dontFragment ? 'tooBig' : `to ${nextHop}, fragmented to ${pathMtu}`;
}

/** @param families that the network carries */
export function referenceInbound(
  row: ReferenceRow,
  routes: ReferenceRoutes,
  mode: 'strict' | 'peer' | 'off',
  families: readonly IpFamily[] = [4],
): Verdict {
  const unsound = soundness(row, families);
  if (unsound !== 'sound') return unsound;
  const header = headerOf(row.frame);
  const peers = Object.values(routes).filter((nextHop) => nextHop !== 'local');
  if (mode !== 'off' && !peers.includes(row.outerSource)) return 'unknownPeer';
  if (mode === 'strict' && routes[header.sourceSubnet] !== row.outerSource) return 'spoofedSource';
  if (routes[header.destinationSubnet] !== 'local') return 'notLocal';
  if (header.hopLimit < 2) return 'ttlExceeded';
  const isMarked = (row.outerClass ?? 0) % 4 === 3;
  return isMarked && header.trafficClass % 4 === 0 ? 'ecnNotCapable' : 'accept';
}

function soundness(row: ReferenceRow, families: readonly IpFamily[]): DropReasonName | 'sound' {
  if (row.segments === 0) return 'badGso';
  const isIpv6 = row.frame.length > 0 && row.frame[0]! >> 4 === 6;
  const asIpv6 = families.includes(6) && (isIpv6 || !families.includes(4));
  const verdict = (asIpv6 ? referenceClassifyIpv6 : referenceClassify)(row.frame, row.segments);
  if (verdict !== 'sound') return verdict;
  if (asIpv6) return referenceIpv6Addresses(row.frame.slice(8, 24), row.frame.slice(24, 40));
  return ipv4Addresses(row.frame);
}

function ipv4Addresses(frame: Uint8Array): DropReasonName | 'sound' {
  const header = IPV4_LAYOUT.decode(Buffer.from(frame));
  const [source, destination] = [octets(header.source), octets(header.destination)];
  const broadcast = destination.every((octet) => octet === 255);
  const martianSource = isHostOnly(source) || source[0]! >= 224;
  const martianDestination = isHostOnly(destination) || (destination[0]! >= 240 && !broadcast);
  if (martianSource || martianDestination) return 'martian';
  return destination[0]! >= 224 ? 'notUnicast' : 'sound';
}

/** What routing asks of a sound frame of either family. */
interface Header {
  readonly family: IpFamily;
  readonly dontFragment: boolean;
  readonly sourceSubnet: string;
  readonly destinationSubnet: string;
  readonly hopLimit: number;
  readonly trafficClass: number;
}

function headerOf(frame: Uint8Array): Header {
  const bytes = Buffer.from(frame);
  if (frame[0]! >> 4 === 4) {
    const { source, destination, ttl, tos, fragment } = IPV4_LAYOUT.decode(bytes);
    return {
      family: 4,
      dontFragment: (fragment & 0x4000) !== 0,
      sourceSubnet: subnetOf(source),
      destinationSubnet: subnetOf(destination),
      hopLimit: ttl,
      trafficClass: tos,
    };
  }
  const header = IPV6_LAYOUT.decode(bytes);
  return {
    family: 6,
    dontFragment: true,
    sourceSubnet: ipv6SubnetOf(header.source0, header.source1),
    destinationSubnet: ipv6SubnetOf(header.destination0, header.destination1),
    hopLimit: header.hopLimit,
    trafficClass: (header.versionClassFlow >>> 20) & 255,
  };
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

function ipv6SubnetOf(word0: number, word1: number): string {
  return `${formatAddress(6, Int32Array.of(word0, word1, 0, 0))}/64`;
}
