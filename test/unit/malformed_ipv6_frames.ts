/** IPv6 frames that no router forwards, each with the one reason it must be counted under; both directions use them. */

import { chained, extension, fragmentHeader, innerIpv6Frame } from './inner_ipv6_frame.js';
import type { MalformedFrame } from './malformed_frames.js';

const sound = innerIpv6Frame({ payload: new Uint8Array(100) });
const [HOP_BY_HOP, UDP] = [0, 17];

function martian(side: 'source' | 'destination', what: string, address: string): MalformedFrame {
  return {
    rule: `${side} ${what}`,
    frame: innerIpv6Frame({ [side]: address }),
    reason: 'martian',
  };
}

export const MALFORMED_IPV6_FRAMES: readonly MalformedFrame[] = [
  { rule: 'a single byte of IPv6', frame: sound.slice(0, 1), reason: 'truncated' },
  { rule: 'one byte short of an IPv6 header', frame: sound.slice(0, 39), reason: 'truncated' },
  { rule: 'an IPv6 header without the payload it announces', frame: sound.slice(0, 40), reason: 'truncated' },
  { rule: 'one byte short of the payload length', frame: sound.slice(0, -1), reason: 'truncated' },
  {
    rule: 'payload length 65,535 in a small frame',
    frame: innerIpv6Frame({ payloadBytes: 65_535 }),
    reason: 'truncated',
  },
  { rule: 'version 0 with an IPv6 header', frame: innerIpv6Frame({ version: 0 }), reason: 'badVersion' },
  { rule: 'version 7', frame: innerIpv6Frame({ version: 7 }), reason: 'badVersion' },
  { rule: 'version 15 with an IPv6 header', frame: innerIpv6Frame({ version: 15 }), reason: 'badVersion' },
  {
    rule: 'a jumbogram',
    frame: innerIpv6Frame({ ...chained([extension(HOP_BY_HOP)], UDP, new Uint8Array(40)), payloadBytes: 0 }),
    reason: 'badHeaderLength',
  },
  {
    rule: 'a jumbogram as a superframe',
    frame: innerIpv6Frame({
      ...chained([extension(HOP_BY_HOP)], UDP, new Uint8Array(4000)),
      payloadBytes: 0,
    }),
    segments: 3,
    reason: 'badHeaderLength',
  },
  {
    rule: 'hop-by-hop options announced in a bare header',
    frame: innerIpv6Frame({ nextHeader: HOP_BY_HOP, payload: new Uint8Array(0) }),
    reason: 'badHeaderLength',
  },
  { rule: 'IPv6 whose gso fields lie', frame: sound, segments: 0, reason: 'badGso' },
  {
    rule: 'an IPv6 superframe longer than its payload length',
    frame: innerIpv6Frame({ payload: new Uint8Array(3000), payloadBytes: 1400 }),
    segments: 3,
    reason: 'badGso',
  },
  {
    rule: 'an IPv6 superframe that is a fragment',
    frame: innerIpv6Frame(chained([fragmentHeader(0)], UDP, new Uint8Array(3000))),
    segments: 3,
    reason: 'badGso',
  },
  {
    rule: 'an IPv6 superframe shorter than its payload length',
    frame: innerIpv6Frame({ payload: new Uint8Array(3000), payloadBytes: 4000 }),
    segments: 3,
    reason: 'truncated',
  },
  martian('source', 'unspecified', '::'),
  martian('source', 'IPv6 loopback', '::1'),
  martian('source', 'IPv6 multicast', 'ff02::1'),
  martian('source', 'IPv6 link-local', 'fe80::1'),
  martian('source', 'IPv4-mapped', '::ffff:10.1.1.2'),
  martian('destination', 'unspecified', '::'),
  martian('destination', 'IPv6 loopback', '::1'),
  martian('destination', 'IPv6 link-local', 'febf::1'),
  martian('destination', 'IPv4-mapped', '::ffff:127.0.0.1'),
  {
    rule: 'destination all nodes',
    frame: innerIpv6Frame({ destination: 'ff02::1' }),
    reason: 'notUnicast',
  },
  {
    rule: 'destination global multicast',
    frame: innerIpv6Frame({ destination: 'ff0e::101' }),
    reason: 'notUnicast',
  },
];
