/** Frames as a hostile or broken sender makes them: a seed determines them, and sound ones are among them. */

import { referenceChecksum } from '../reference/checksum.js';
import { innerFrame, type InnerFrame } from '../unit/inner_frame.js';
import type { SentRecord } from './replay.js';

const ICMP = 1;
const TCP = 6;
const UDP = 17;
/** Where ordinary frames come from, go to, and what must not be confused with it. */
export interface Overlay {
  /** First three octets, such as `10.1.2`. */
  readonly from: string;
  readonly to: string;
}

const STRANGE_ADDRESSES = [
  ...[
    '0.0.0.0',
    '0.1.2.3',
    '127.0.0.1',
    '169.254.7.7',
    '224.0.0.1',
    '239.1.2.3',
    '240.0.0.1',
    '255.255.255.255',
  ],
  ...['10.1.77.1', '10.1.0.1', '10.2.1.1', '192.168.100.1', '192.168.100.2', '198.51.100.1', '1.1.1.1'],
];

/** What fits in one UDP datagram over IPv4, and what UDP_SEGMENT takes at once. */
const MOST_DATAGRAM_BYTES = 65_507;
/** Linux UDP_MAX_SEGMENTS was 64 until 6.9. */
const MOST_SEGMENTS = 64;

/** Makes random frames. Several of one seed make the same. */
export class RandomFrames {
  readonly #random: () => number;
  readonly #overlay: Overlay;
  readonly #mtuBytes: number;

  /**
   * @param random numbers in [0, 1)
   * @param mtuBytes ordinary frames are no larger
   */
  constructor(random: () => number, overlay: Overlay, mtuBytes: number) {
    this.#random = random;
    this.#overlay = overlay;
    this.#mtuBytes = mtuBytes;
  }

  /** Frames to be sent together in this order: mostly one; sometimes the segments of one flow, a few of them damaged. */
  next(): Uint8Array[] {
    return this.#one(12) ? this.#flow() : [this.#frame()];
  }

  /** One record of datagrams for replay.ts: a frame, or a train of whatever the frames are, cut to one size. */
  nextRecord(): { record: SentRecord; frames: Uint8Array[] } {
    if (!this.#one(10)) {
      const bytes = this.#frame();
      return { record: { bytes }, frames: [bytes] };
    }
    return this.#train();
  }

  /** A frame behind a virtio-net header that may describe it, or lie. */
  nextOffload(): Uint8Array {
    const { from, to } = this.#overlay;
    const flow = { source: `${from}.2`, destination: `${to}.2`, fragment: this.#one(20) ? 0x2000 : 0x4000 };
    const tcp = this.#one(2);
    const data = this.#bytes(this.#pick([0, 1, this.#upTo(3000), this.#upTo(30_000), 60_000]));
    const transport = tcp
      ? tcpSegment(this.#bytes(4), 1, this.#upTo(0xff), data)
      : udpDatagram(this.#bytes(4), data);
    const spec: InnerFrame = { ...flow, protocol: tcp ? TCP : UDP, payload: transport };
    const lied = this.#one(8) ? { ...spec, totalBytes: this.#upTo(0xffff) } : spec;
    const frame = this.#one(10) ? this.#damaged(spec) : innerFrame(lied);
    const headerBytes = 20 + (tcp ? 20 : 8);
    const lie = <T>(truth: T, ...lies: T[]): T => (this.#one(6) ? this.#pick(lies) : truth);
    const header = Buffer.alloc(10);
    header[0] = lie(1, 0, 2, 3, 255);
    header[1] = lie(tcp ? 1 : 5, 0, 1, 3, 4, 5, 0x81, 0x85, 77);
    header.writeUInt16LE(lie(headerBytes, 0, 20, headerBytes + 4, 65_535), 2);
    header.writeUInt16LE(
      lie(this.#mtuBytes - headerBytes, 0, this.#one(4) ? 1 : 50, this.#upTo(2000), 65_535),
      4,
    );
    header.writeUInt16LE(lie(20, 0, 12, 24, 60, 65_535), 6);
    header.writeUInt16LE(lie(tcp ? 16 : 6, 0, 4, 16, 6, 65_535), 8);
    return concat([header, frame]);
  }

  #train(): { record: SentRecord; frames: Uint8Array[] } {
    const parts: Uint8Array[] = [];
    let wanted = this.#upTo(MOST_SEGMENTS - 1) + 2;
    while (parts.length < wanted) parts.push(...this.next());
    // The kernel cuts at one size, wherever frames begin: most trains are of the size of their first frame.
    const segmentBytes = Math.min(
      this.#one(4) ? 1 + this.#upTo(200) : Math.max(parts[0]!.length, 1),
      this.#mtuBytes,
    );
    wanted = Math.min(wanted, MOST_SEGMENTS, Math.floor(MOST_DATAGRAM_BYTES / segmentBytes));
    const bytes = new Uint8Array(wanted * segmentBytes - this.#upTo(segmentBytes - 1));
    if (this.#one(2)) parts.forEach((part, i) => put(bytes, part, i * segmentBytes));
    else put(bytes, concat(parts), 0);
    const frames: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += segmentBytes) frames.push(bytes.slice(at, at + segmentBytes));
    return { record: { bytes, segmentBytes }, frames };
  }

  #frame(): Uint8Array {
    if (this.#one(40)) return this.#bytes(this.#upTo(80));
    if (this.#one(40)) return this.#ipv6();
    const spec = this.#spec();
    return this.#one(3) ? this.#damaged(spec) : innerFrame(spec);
  }

  /** Consecutive segments of one TCP or UDP flow, which a receiver joins; a few are damaged. */
  #flow(): Uint8Array[] {
    const { from, to } = this.#overlay;
    const flow = {
      source: `${from}.${2 + this.#upTo(9)}`,
      destination: `${to}.${2 + this.#upTo(9)}`,
      fragment: 0x4000,
    };
    const payloadBytes = 1 + this.#upTo(this.#mtuBytes - 20 - 20 - 1);
    const head = this.#one(2)
      ? { protocol: TCP, ports: this.#bytes(4) }
      : { protocol: UDP, ports: this.#bytes(4) };
    const first = this.#upTo(0xffff_ffff);
    const frames: Uint8Array[] = [];
    for (let i = 0, count = 2 + this.#upTo(30); i < count; i++) {
      const data = this.#bytes(i === count - 1 ? 1 + this.#upTo(payloadBytes - 1) : payloadBytes);
      const sequence = (first + i * payloadBytes) >>> 0;
      const transport =
        head.protocol === TCP ? tcpSegment(head.ports, sequence, 0x10, data) : udpDatagram(head.ports, data);
      const spec: InnerFrame = {
        ...flow,
        identification: i,
        protocol: head.protocol,
        payload: withChecksum(flow, head.protocol, transport),
      };
      frames.push(this.#one(10) ? this.#damaged(spec) : innerFrame(spec));
    }
    return frames;
  }

  #spec(): InnerFrame {
    const { from, to } = this.#overlay;
    const addresses = { source: this.#address(from, to), destination: this.#address(to, from) };
    const protocol = this.#pick([ICMP, TCP, UDP, UDP, this.#upTo(255)]);
    return {
      ...addresses,
      protocol,
      ttl: this.#pick([64, 64, 64, 255, 2, 1, 0]),
      tos: this.#upTo(255),
      identification: this.#upTo(0xffff),
      fragment: this.#pick([0, 0, 0x4000, 0x4000, 0x2000, 0x2000 | this.#upTo(0x1fff), this.#upTo(0xffff)]),
      options: this.#one(10) ? this.#bytes(4 * (1 + this.#upTo(9))) : new Uint8Array(0),
      payload: this.#payload(addresses, protocol),
    };
  }

  #payload(addresses: Addresses, protocol: number): Uint8Array {
    const data = this.#bytes(
      this.#pick([0, 1, this.#upTo(64), this.#upTo(this.#mtuBytes - 100), this.#mtuBytes - 100]),
    );
    if (protocol === UDP) return withChecksum(addresses, UDP, udpDatagram(this.#bytes(4), data));
    if (protocol !== TCP) return data;
    return withChecksum(
      addresses,
      TCP,
      tcpSegment(this.#bytes(4), this.#upTo(0xffff_ffff), this.#upTo(0xff), data),
    );
  }

  /** One thing about it is wrong, or at least odd. */
  #damaged(spec: InnerFrame): Uint8Array {
    const frame = innerFrame(spec);
    switch (this.#upTo(9)) {
      case 0:
        return frame.slice(0, this.#upTo(frame.length));
      case 1:
        return frame.slice(0, this.#upTo(24));
      case 2: // bytes behind its end, as padding of a link leaves them
        return concat([frame, this.#bytes(1 + this.#upTo(40))]);
      case 3:
        return innerFrame({ ...spec, versionIhl: this.#upTo(255) });
      case 4:
        return innerFrame({ ...spec, totalBytes: this.#upTo(0xffff) });
      case 5:
        return innerFrame({ ...spec, totalBytes: Math.max(0, frame.length + this.#upTo(8) - 4) });
      case 6:
        return this.#flipped(frame, 0, 20);
      case 7: // the transport header, whose checksum is then wrong; no router looks
        return this.#flipped(frame, 20, 44);
      case 8:
        return innerFrame({ ...spec, source: this.#pick(STRANGE_ADDRESSES) });
      default:
        return innerFrame({ ...spec, destination: this.#pick(STRANGE_ADDRESSES) });
    }
  }

  #flipped(frame: Uint8Array, from: number, to: number): Uint8Array {
    const copy = frame.slice();
    const at = from + this.#upTo(Math.max(0, Math.min(to, copy.length) - from - 1));
    if (at < copy.length) copy[at]! ^= 1 << this.#upTo(7);
    return copy;
  }

  #ipv6(): Uint8Array {
    const frame = this.#bytes(this.#upTo(100));
    if (frame.length > 0) frame[0] = 0x60 | (frame[0]! & 15);
    return frame;
  }

  #address(usual: string, other: string): string {
    const prefix = this.#one(12) ? other : usual;
    return this.#one(20) ? this.#pick(STRANGE_ADDRESSES) : `${prefix}.${this.#upTo(255)}`;
  }

  /** True once in `n` times. */
  #one(n: number): boolean {
    return this.#random() * n < 1;
  }

  /** 0..most */
  #upTo(most: number): number {
    return Math.floor(this.#random() * (most + 1));
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#upTo(list.length - 1)]!;
  }

  #bytes(count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    for (let i = 0; i < count; i++) bytes[i] = this.#upTo(255);
    return bytes;
  }
}

/** The largest datagrams there are, with sound and unsound frames in them. */
export function giants(overlay: Overlay): Uint8Array[] {
  const addresses = { source: `${overlay.from}.2`, destination: `${overlay.to}.2` };
  const giant = innerFrame({ ...addresses, payload: new Uint8Array(MOST_DATAGRAM_BYTES - 20) });
  return [
    giant,
    new Uint8Array(MOST_DATAGRAM_BYTES),
    new Uint8Array(MOST_DATAGRAM_BYTES).fill(0x45),
    innerFrame({ ...addresses, totalBytes: 65_535, payload: new Uint8Array(MOST_DATAGRAM_BYTES - 20) }),
    concat([innerFrame(addresses), new Uint8Array(MOST_DATAGRAM_BYTES - innerFrame(addresses).length)]),
  ];
}

interface Addresses {
  readonly source: string;
  readonly destination: string;
}

function tcpSegment(ports: Uint8Array, sequence: number, flags: number, data: Uint8Array): Uint8Array {
  const header = Buffer.alloc(20);
  header.set(ports, 0);
  header.writeUInt32BE(sequence, 4);
  header[12] = 5 << 4;
  header[13] = flags;
  header.writeUInt16BE(512, 14);
  return concat([header, data]);
}

function udpDatagram(ports: Uint8Array, data: Uint8Array): Uint8Array {
  const header = Buffer.alloc(8);
  header.set(ports, 0);
  header.writeUInt16BE(8 + data.length, 4);
  return concat([header, data]);
}

/** Fills in the checksum of a TCP segment or UDP datagram (RFC 9293 section 3.1, RFC 768). */
function withChecksum(
  { source, destination }: Addresses,
  protocol: number,
  transport: Uint8Array,
): Uint8Array {
  const pseudo = Buffer.alloc(12);
  pseudo.set(source.split('.').map(Number), 0);
  pseudo.set(destination.split('.').map(Number), 4);
  pseudo[9] = protocol;
  pseudo.writeUInt16BE(transport.length, 10);
  const sum = referenceChecksum(concat([pseudo, transport]));
  const whole = Buffer.from(transport);
  whole.writeUInt16BE(protocol === UDP && sum === 0 ? 0xffff : sum, protocol === TCP ? 16 : 6);
  return new Uint8Array(whole);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** Copies what fits. */
function put(to: Uint8Array, from: Uint8Array, at: number): void {
  if (at < to.length) to.set(from.subarray(0, to.length - at), at);
}
