/** Frames that no router forwards, each with the one reason it must be counted under; both directions use them. */

import type { DropReasonName } from '../../src/encap/drop_reason.js';
import { innerFrame } from './inner_frame.js';

export interface MalformedFrame {
  readonly rule: string;
  readonly frame: Uint8Array;
  readonly segments?: number;
  readonly reason: DropReasonName;
}

const sound = innerFrame({ payload: new Uint8Array(100) });
const optionsOfLength = (bytes: number): Uint8Array => new Uint8Array(bytes).fill(1); // no-operation

function changed(frame: Uint8Array, at: number, byte: number): Uint8Array {
  const copy = frame.slice();
  copy[at] = byte;
  return copy;
}

function flippedBit(frame: Uint8Array, bit: number): Uint8Array {
  return changed(frame, bit >> 3, frame[bit >> 3]! ^ (0x80 >> (bit & 7)));
}

export const MALFORMED_FRAMES: readonly MalformedFrame[] = [
  { rule: 'no bytes at all', frame: new Uint8Array(0), reason: 'truncated' },
  { rule: 'a single byte of IPv4', frame: sound.slice(0, 1), reason: 'truncated' },
  { rule: 'one byte short of a header', frame: sound.slice(0, 19), reason: 'truncated' },
  { rule: 'a header without the payload it announces', frame: sound.slice(0, 20), reason: 'truncated' },
  { rule: 'one byte short of its total length', frame: sound.slice(0, -1), reason: 'truncated' },
  {
    rule: 'total length 65,535 in a small frame',
    frame: innerFrame({ totalBytes: 65_535 }),
    reason: 'truncated',
  },
  {
    rule: 'options, and one byte short of the total length',
    frame: innerFrame({ options: optionsOfLength(8), payload: new Uint8Array(9) }).slice(0, -1),
    reason: 'truncated',
  },
  { rule: 'version 0', frame: innerFrame({ versionIhl: 0x05 }), reason: 'badVersion' },
  { rule: 'version 5', frame: innerFrame({ versionIhl: 0x55 }), reason: 'badVersion' },
  { rule: 'version 15', frame: innerFrame({ versionIhl: 0xf5 }), reason: 'badVersion' },
  { rule: 'a single byte of garbage', frame: Uint8Array.of(0xff), reason: 'badVersion' },
  { rule: 'zeros', frame: new Uint8Array(64), reason: 'badVersion' },
  { rule: 'IPv6', frame: changed(new Uint8Array(48), 0, 0x60), reason: 'ipv6NotCarried' },
  { rule: 'a single byte of IPv6', frame: Uint8Array.of(0x60), reason: 'ipv6NotCarried' },
  { rule: 'IHL 0', frame: innerFrame({ versionIhl: 0x40 }), reason: 'badHeaderLength' },
  { rule: 'IHL 4', frame: innerFrame({ versionIhl: 0x44 }), reason: 'badHeaderLength' },
  { rule: 'IHL beyond the frame', frame: innerFrame({ versionIhl: 0x4f }), reason: 'badHeaderLength' },
  { rule: 'total length 0', frame: innerFrame({ totalBytes: 0 }), reason: 'badHeaderLength' },
  { rule: 'total length below 20', frame: innerFrame({ totalBytes: 19 }), reason: 'badHeaderLength' },
  {
    rule: 'total length inside the options',
    frame: innerFrame({ options: optionsOfLength(8), totalBytes: 24 }),
    reason: 'badHeaderLength',
  },
  { rule: 'checksum off by one', frame: changed(sound, 11, sound[11]! ^ 1), reason: 'badChecksum' },
  { rule: 'checksum missing', frame: innerFrame({ checksum: 0 }), reason: 'badChecksum' },
  {
    rule: 'a changed option',
    frame: changed(innerFrame({ options: optionsOfLength(4) }), 21, 0x44),
    reason: 'badChecksum',
  },
  ...[8, 40, 70, 100, 130, 159].map((bit): MalformedFrame => ({
    rule: `bit ${bit} of the header flipped`,
    frame: flippedBit(sound, bit),
    reason: 'badChecksum',
  })),
  { rule: 'gso fields that lie', frame: sound, segments: 0, reason: 'badGso' },
  {
    rule: 'gso fields that lie, about garbage',
    frame: Uint8Array.of(1, 2, 3),
    segments: 0,
    reason: 'badGso',
  },
  {
    rule: 'a superframe longer than its total length',
    frame: innerFrame({ payload: new Uint8Array(3000), totalBytes: 1500 }),
    segments: 3,
    reason: 'badGso',
  },
  {
    rule: 'a superframe that is a fragment',
    frame: innerFrame({ payload: new Uint8Array(3000), fragment: 0x2000 }),
    segments: 3,
    reason: 'badGso',
  },
  {
    rule: 'a superframe that is a later fragment, with options',
    frame: innerFrame({ payload: new Uint8Array(3000), fragment: 0x0010, options: optionsOfLength(4) }),
    segments: 3,
    reason: 'badGso',
  },
  {
    rule: 'a superframe shorter than its total length',
    frame: innerFrame({ payload: new Uint8Array(3000), totalBytes: 4000 }),
    segments: 3,
    reason: 'truncated',
  },
  { rule: 'source 0.0.0.0', frame: innerFrame({ source: '0.0.0.0' }), reason: 'martian' },
  { rule: 'source in 0/8', frame: innerFrame({ source: '0.1.2.3' }), reason: 'martian' },
  { rule: 'source loopback', frame: innerFrame({ source: '127.0.0.1' }), reason: 'martian' },
  { rule: 'source link-local', frame: innerFrame({ source: '169.254.1.1' }), reason: 'martian' },
  { rule: 'source multicast', frame: innerFrame({ source: '224.0.0.5' }), reason: 'martian' },
  { rule: 'source class E', frame: innerFrame({ source: '240.0.0.1' }), reason: 'martian' },
  { rule: 'source broadcast', frame: innerFrame({ source: '255.255.255.255' }), reason: 'martian' },
  { rule: 'destination 0.0.0.0', frame: innerFrame({ destination: '0.0.0.0' }), reason: 'martian' },
  { rule: 'destination loopback', frame: innerFrame({ destination: '127.8.8.8' }), reason: 'martian' },
  { rule: 'destination link-local', frame: innerFrame({ destination: '169.254.9.9' }), reason: 'martian' },
  { rule: 'destination class E', frame: innerFrame({ destination: '250.0.0.1' }), reason: 'martian' },
  { rule: 'destination multicast', frame: innerFrame({ destination: '224.0.0.251' }), reason: 'notUnicast' },
  {
    rule: 'destination broadcast',
    frame: innerFrame({ destination: '255.255.255.255' }),
    reason: 'notUnicast',
  },
];
