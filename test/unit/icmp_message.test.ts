import fc from 'fast-check';
import t from 'tap';

import { echoRequest, type IcmpMessage, leastEchoBytes, readIcmp } from '../../src/diagnosis/icmp_message.js';
import { checksumSum, finishChecksum } from '../../src/encap/checksum.js';
import { writeEcho } from '../../src/encap/icmp_echo.js';
import { type IpFamily, parseAddress } from '../../src/ip_address.js';

const FAMILIES: readonly { family: IpFamily; source: string; destination: string; reply: number }[] = [
  { family: 4, source: '192.0.2.1', destination: '192.0.2.2', reply: 0 },
  { family: 6, source: '2001:db8::1', destination: '2001:db8::2', reply: 129 },
];
const ABOUT = { identifier: 0x1234, sequence: 0xfedc };

/** A whole packet of a request of ours. */
function request(family: IpFamily): Uint8Array {
  const { source, destination } = FAMILIES.find((each) => each.family === family)!;
  return writeEcho({
    source: parseAddress(source),
    destination: parseAddress(destination),
    ...ABOUT,
    totalBytes: 100,
  });
}

/** What a raw socket receives: an error that quotes a packet. */
function errorAbout(family: IpFamily, quoted: Uint8Array, type: number, code: number, mtu = 0): Uint8Array {
  const message = Uint8Array.from([type, code, 0, 0, 0, 0, mtu >>> 8, mtu & 255, ...quoted]);
  return family === 4 ? Uint8Array.from([...request(4).subarray(0, 20), ...message]) : message;
}

for (const { family, reply } of FAMILIES) {
  t.test(`IPv${family}: a request has the asked size and is as writeEcho writes it`, (t) => {
    const message = echoRequest(family, 100, ABOUT.identifier, ABOUT.sequence);
    const expected = request(family).slice(family === 4 ? 20 : 40);
    if (family === 6) expected.fill(0, 2, 4); // the kernel's to fill in
    t.strictSame(Uint8Array.from(message), expected);
    if (family === 4) t.equal(finishChecksum(checksumSum(message, 0, message.length)), 0);
    t.equal(echoRequest(family, leastEchoBytes(family), 1, 1).length, 8);
    t.end();
  });

  t.test(`IPv${family}: a reply is told by its identifier and sequence, a request is nothing`, (t) => {
    const packet = request(family);
    const received = family === 4 ? packet : packet.slice(40);
    t.equal(readIcmp(family, received), undefined);
    received[family === 4 ? 20 : 0] = reply;
    t.strictSame(readIcmp(family, received), { kind: 'reply', ...ABOUT });
    t.end();
  });

  t.test(`IPv${family}: an error about our request says what is wrong`, (t) => {
    const cases: readonly { type: number; code: number; mtu?: number; says: Partial<IcmpMessage> }[] =
      family === 4
        ? [
            { type: 3, code: 4, mtu: 1400, says: { kind: 'tooBig', mtuBytes: 1400 } },
            { type: 3, code: 4, says: { kind: 'tooBig', mtuBytes: null } },
            { type: 3, code: 1, says: { kind: 'unreachable', why: 'host unreachable' } },
            { type: 3, code: 99, says: { kind: 'unreachable', why: 'unreachable, code 99' } },
          ]
        : [
            { type: 2, code: 0, mtu: 1400, says: { kind: 'tooBig', mtuBytes: 1400 } },
            { type: 1, code: 3, says: { kind: 'unreachable', why: 'address unreachable' } },
            { type: 1, code: 99, says: { kind: 'unreachable', why: 'unreachable, code 99' } },
          ];
    for (const { type, code, mtu, says } of cases) {
      const received = errorAbout(family, request(family), type, code, mtu);
      t.strictSame(readIcmp(family, received), { ...says, ...ABOUT });
    }
    const exceeded = errorAbout(family, request(family), family === 4 ? 11 : 3, 0);
    t.match(readIcmp(family, exceeded), { kind: 'unreachable', why: /time to live/, ...ABOUT });
    t.end();
  });

  t.test(`IPv${family}: what is about something else, or cut short, is nothing`, (t) => {
    const type = family === 4 ? 3 : 1;
    const udp = request(family);
    udp[family === 4 ? 9 : 6] = 17;
    t.equal(readIcmp(family, errorAbout(family, udp, type, 3)), undefined);
    const replied = request(family);
    replied[family === 4 ? 20 : 40] = reply;
    t.equal(readIcmp(family, errorAbout(family, replied, type, 3)), undefined, 'about a reply of ours');
    t.equal(readIcmp(family, errorAbout(family, request(family), 99, 0)), undefined, 'another type');
    const whole = errorAbout(family, request(family), type, 3);
    const needed = (family === 4 ? 20 + 8 + 20 : 8 + 40) + 8;
    for (let length = 0; length < needed; length++) {
      t.equal(readIcmp(family, whole.subarray(0, length)), undefined, `${length} bytes`);
    }
    t.ok(readIcmp(family, whole.subarray(0, needed)));
    t.end();
  });

  t.test(`IPv${family}: bytes of anybody never throw`, (t) => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 96 }), (bytes) => {
        readIcmp(family, bytes);
      }),
    );
    t.end();
  });
}
