import { constants } from 'node:os';

import t from 'tap';

import { parseAddress } from '../../src/ip_address.js';
import { native } from '../../src/native.js';

const { EBADF, EINVAL, EMSGSIZE, ENODEV } = constants.errno;
const LOOPBACK = parseAddress('127.0.0.1').words;
const BUFFER_BYTES = 1 << 16;

function open(): { fd: number; port: number } {
  return native.openUdp('127.0.0.1', 0, false, false, BUFFER_BYTES, BUFFER_BYTES);
}

t.test('the path MTU to this host is that of its loopback interface', (t) => {
  const { fd } = open();
  t.teardown(() => native.closeFd(fd));
  const mtuBytes = native.interfaceMtu('lo');
  t.ok(mtuBytes >= 1280);
  t.equal(native.udpPathMtu(fd, LOOPBACK), Math.min(mtuBytes, 65_535), 'no IPv4 packet is longer');
  t.end();
});

t.test('a probe larger than any path is refused, a small one leaves', (t) => {
  const { fd, port } = open();
  t.teardown(() => native.closeFd(fd));
  t.equal(native.udpSendProbe(fd, LOOPBACK, port, new Uint8Array(100)), 100);
  t.equal(native.udpSendProbe(fd, LOOPBACK, port, new Uint8Array(65_508)), -EMSGSIZE);
  t.end();
});

t.test('too few words, a closed socket and an unknown interface are errors, not crashes', (t) => {
  const { fd, port } = open();
  t.teardown(() => native.closeFd(fd));
  const short = new Int32Array(3);
  t.equal(native.udpPathMtu(fd, short), -EINVAL);
  t.equal(native.udpSendProbe(fd, short, port, new Uint8Array(1)), -EINVAL);
  t.equal(native.udpPathMtu(-1, LOOPBACK), -EBADF);
  t.equal(native.udpSendProbe(-1, LOOPBACK, port, new Uint8Array(1)), -EBADF);
  t.equal(native.interfaceMtu('nosuch0'), -ENODEV);
  t.end();
});

t.test('a text that is no address is refused with a remedy', (t) => {
  for (const address of ['', 'localhost', '192.0.2', 'fd00:::1']) {
    t.throws(() => native.openUdp(address, 0, false, false, 0, 0), {
      code: 'EINVAL',
      syscall: 'inet_pton',
      message: /neither an IPv4 nor an IPv6 address/,
    });
  }
  t.end();
});
