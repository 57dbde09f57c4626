import { Buffer } from 'node:buffer';

import t from 'tap';

import {
  ECHO_LAYOUT,
  MIN_IPV4_ECHO_BYTES,
  MIN_IPV6_ECHO_BYTES,
  echoSequence,
  echoTotalBytes,
  isEchoReply,
  writeEcho,
} from '../../src/encap/icmp_echo.js';
import { parseAddress } from '../../src/ip_address.js';
import { parseIpv4 } from '../../src/ipv4_prefix.js';
import { referenceChecksum } from '../reference/checksum.js';
import { decodeIpv4, innerFrame } from './inner_frame.js';
import { ICMPV6, decodeIpv6, innerIpv6Frame, upperChecksum } from './inner_ipv6_frame.js';

const ICMP = 1;
const IDENTIFIER = 0xbeef;

const ipv4 = { source: parseAddress('10.1.1.0'), destination: parseAddress('10.1.2.0') };
const ipv6 = { source: parseAddress('fd00:1:1::'), destination: parseAddress('fd00:1:2::') };

t.test('an IPv4 request has the asked size, may not be fragmented, and has both checksums', (t) => {
  for (const totalBytes of [MIN_IPV4_ECHO_BYTES, 29, 576, 1472, 65_535]) {
    const packet = writeEcho({ ...ipv4, identifier: IDENTIFIER, sequence: 0xfffe, totalBytes });
    t.equal(packet.length, totalBytes);
    t.match(decodeIpv4(packet), {
      versionIhl: 0x45,
      tos: 0,
      totalBytes,
      fragment: 0x4000,
      ttl: 64,
      protocol: ICMP,
      source: parseIpv4('10.1.1.0'),
      destination: parseIpv4('10.1.2.0'),
    });
    t.equal(referenceChecksum(packet.slice(0, 20)), 0, 'header checksum');
    t.equal(referenceChecksum(packet.slice(20)), 0, 'ICMP checksum');
    const { type, code, identifier, sequence } = ECHO_LAYOUT.decode(Buffer.from(packet), 20);
    t.same([type, code, identifier, sequence], [8, 0, IDENTIFIER, 0xfffe]);
  }
  t.end();
});

t.test('an IPv6 request has the asked size, and a checksum with the pseudo-header', (t) => {
  for (const totalBytes of [MIN_IPV6_ECHO_BYTES, 49, 1280, 1452, 65_535]) {
    const packet = writeEcho({ ...ipv6, identifier: IDENTIFIER, sequence: 7, totalBytes });
    t.equal(packet.length, totalBytes);
    t.same(decodeIpv6(packet), {
      version: 6,
      trafficClass: 0,
      flowLabel: 0,
      payloadBytes: totalBytes - 40,
      nextHeader: ICMPV6,
      hopLimit: 64,
      source: 'fd00:1:1::',
      destination: 'fd00:1:2::',
    });
    t.equal(upperChecksum(packet), 0);
    const { type, code, identifier, sequence } = ECHO_LAYOUT.decode(Buffer.from(packet), 40);
    t.same([type, code, identifier, sequence], [128, 0, IDENTIFIER, 7]);
  }
  t.end();
});

/** An echo message: type, code, checksum, identifier, sequence, data. */
function echo(type: number, identifier = IDENTIFIER, sequence = 0x1234): Uint8Array {
  const message = Buffer.alloc(24);
  ECHO_LAYOUT.encode({ type, code: 0, checksum: 0, identifier, sequence }, message);
  return new Uint8Array(message);
}

/** Over a slab that continues the frame as a reply would, were it read beyond its end. */
function recognises(frame: Uint8Array, identifier = IDENTIFIER, at = 3): boolean {
  const slab = new Uint8Array(at + frame.length + 32).fill(0);
  slab.set(frame, at);
  slab.set(echo(0).slice(0, 8), at + frame.length);
  return isEchoReply(slab, at, frame.length, identifier);
}

const four = { protocol: ICMP, payload: echo(0) };
const six = { nextHeader: ICMPV6, payload: echo(129) };

const rules: readonly { rule: string; frame: Uint8Array; identifier?: number; recognised: boolean }[] = [
  { rule: 'an IPv4 reply', frame: innerFrame(four), recognised: true },
  {
    rule: 'an IPv4 reply behind options',
    frame: innerFrame({ ...four, options: new Uint8Array(8).fill(1) }),
    recognised: true,
  },
  {
    rule: "an IPv4 reply with don't-fragment",
    frame: innerFrame({ ...four, fragment: 0x4000 }),
    recognised: true,
  },
  { rule: "an IPv4 reply to another's request", frame: innerFrame(four), identifier: 1, recognised: false },
  { rule: 'an IPv4 request', frame: innerFrame({ ...four, payload: echo(8) }), recognised: false },
  { rule: 'the type of IPv6 in IPv4', frame: innerFrame({ ...four, payload: echo(129) }), recognised: false },
  { rule: 'UDP over IPv4', frame: innerFrame({ payload: echo(0) }), recognised: false },
  {
    rule: 'a first fragment of a reply',
    frame: innerFrame({ ...four, fragment: 0x2000 }),
    recognised: false,
  },
  { rule: 'a later fragment', frame: innerFrame({ ...four, fragment: 0x0010 }), recognised: false },
  {
    rule: 'an IPv4 reply without its identifier',
    frame: innerFrame({ ...four, payload: new Uint8Array(4) }),
    identifier: 0,
    recognised: false,
  },
  { rule: 'an IPv6 reply', frame: innerIpv6Frame(six), recognised: true },
  {
    rule: "an IPv6 reply to another's request",
    frame: innerIpv6Frame(six),
    identifier: 1,
    recognised: false,
  },
  { rule: 'an IPv6 request', frame: innerIpv6Frame({ ...six, payload: echo(128) }), recognised: false },
  {
    rule: 'the type of IPv4 in IPv6',
    frame: innerIpv6Frame({ ...six, payload: echo(0) }),
    recognised: false,
  },
  { rule: 'ICMP of IPv4 in IPv6', frame: innerIpv6Frame({ ...six, nextHeader: ICMP }), recognised: false },
  {
    rule: 'an IPv6 reply without its identifier',
    frame: innerIpv6Frame({ ...six, payload: Uint8Array.of(129, 0, 0, 0) }),
    identifier: 0,
    recognised: false,
  },
];

for (const { rule, frame, identifier, recognised } of rules) {
  t.test(`${rule} is ${recognised ? '' : 'not '}recognised`, (t) => {
    t.equal(recognises(frame, identifier), recognised);
    t.end();
  });
}

t.test('a reply tells its sequence number and size', (t) => {
  const frames = [
    innerFrame(four),
    innerFrame({ ...four, options: new Uint8Array(12).fill(1) }),
    innerIpv6Frame(six),
  ];
  for (const frame of frames) {
    const slab = Uint8Array.of(1, 2, 3, ...frame);
    t.equal(echoSequence(slab, 3), 0x1234);
    t.equal(echoTotalBytes(slab, 3), frame.length);
  }
  t.end();
});
