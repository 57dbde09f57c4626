import { Buffer } from 'node:buffer';

import { IPV4_LAYOUT } from '../../src/encap/ipv4_header.js';
import { IPV6_LAYOUT } from '../../src/encap/ipv6_header.js';
import type { DropReasonName } from '../../src/encap/drop_reason.js';
import { referenceChecksum } from './checksum.js';

/** Is a frame a sound IPv4 packet, in a network without IPv6: rule by rule over a decoded header, with no fast path. */
export function referenceClassify(frame: Uint8Array, segments: number): DropReasonName | 'sound' {
  if (frame.length === 0) return 'truncated';
  const version = frame[0]! >> 4;
  if (version === 6) return 'ipv6NotCarried';
  if (version !== 4) return 'badVersion';
  if (frame.length < 20) return 'truncated';
  const header = IPV4_LAYOUT.decode(Buffer.from(frame));
  const headerBytes = (header.versionIhl & 15) * 4;
  if (headerBytes < 20 || headerBytes > frame.length) return 'badHeaderLength';
  if (header.totalBytes > frame.length) return 'truncated';
  if (header.totalBytes < headerBytes) return 'badHeaderLength';
  if (referenceChecksum(frame.slice(0, headerBytes)) !== 0) return 'badChecksum';
  if (segments === 1) return 'sound';
  if (header.totalBytes !== frame.length) return 'badGso';
  const isFragment = (header.fragment & 0x2000) !== 0 || (header.fragment & 0x1fff) !== 0;
  return isFragment ? 'badGso' : 'sound';
}

/** Is a frame a sound IPv6 packet, in a network without IPv4. */
export function referenceClassifyIpv6(frame: Uint8Array, segments: number): DropReasonName | 'sound' {
  if (frame.length === 0) return 'truncated';
  const version = frame[0]! >> 4;
  if (version === 4) return 'ipv4NotCarried';
  if (version !== 6) return 'badVersion';
  if (frame.length < 40) return 'truncated';
  const { payloadBytes, nextHeader } = IPV6_LAYOUT.decode(Buffer.from(frame));
  if (40 + payloadBytes > frame.length) return 'truncated';
  const announcesHopByHop = nextHeader === 0;
  if (announcesHopByHop && payloadBytes === 0) return 'badHeaderLength';
  if (segments === 1) return 'sound';
  if (40 + payloadBytes < frame.length) return 'badGso';
  const isFragment = nextHeader === 44;
  return isFragment ? 'badGso' : 'sound';
}
