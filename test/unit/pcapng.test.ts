import { Buffer } from 'node:buffer';

import t from 'tap';

import { pcapngInterface, pcapngPacket, pcapngSectionHeader } from '../../src/pcapng.js';
import { readPcapng } from '../reference/pcapng_reader.js';

t.test('a capture reads back as it was written, whatever the lengths', (t) => {
  const parts = [pcapngSectionHeader('selvage 1.2.3'), pcapngInterface('flannel0'), pcapngInterface('tun9')];
  const packets = Array.from({ length: 13 }, (_, length) => ({
    interfaceNumber: length % 2,
    time: new Date(1_790_000_000_123 + length),
    bytes: Uint8Array.from({ length }, (_, i) => 0x40 + i),
    originalBytes: length === 0 ? 0 : 65_535,
    outbound: length % 3 === 0,
    comment: 'é'.repeat(length),
  }));
  for (const packet of packets) parts.push(pcapngPacket(packet));
  const capture = readPcapng(Buffer.concat(parts));
  t.strictSame(capture.application, 'selvage 1.2.3');
  t.strictSame(capture.interfaces, [
    { name: 'flannel0', linkType: 101, unitsPerSecond: 1e9 },
    { name: 'tun9', linkType: 101, unitsPerSecond: 1e9 },
  ]);
  t.strictSame(
    capture.packets,
    packets.map(({ time, bytes, outbound, ...rest }) => ({
      ...rest,
      nanos: BigInt(time.getTime()) * 1_000_000n,
      bytes: Buffer.from(bytes),
      direction: outbound ? 2 : 1,
    })),
  );
  t.end();
});

t.test('a capture is complete after each block', (t) => {
  const header = pcapngSectionHeader('selvage');
  t.strictSame(readPcapng(header).packets, []);
  t.throws(() => readPcapng(header.subarray(0, -1)), 'the reader sees what is cut off');
  t.end();
});
