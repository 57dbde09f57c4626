/**
 * The peer filter on sockets of the loopback device. Only the machine's root may load it; for anybody else the rule is that
 * forwarding goes on without it, and that this is said.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import t, { type Test } from 'tap';

import { ADDRESS_WORDS, parseAddress, type IpFamily } from '../../src/ip_address.js';
import { native } from '../../src/native.js';
import { PeerFilter } from '../../src/workers/peer_filter.js';
import { isMachineRoot } from './privileges.js';
import { until } from './until.js';

const PORT = 8285;

interface Hosts {
  readonly family: IpFamily;
  readonly host: string;
  /** Who sends. The loopback device has one IPv6 address, so there the host sends to itself. */
  readonly sender: string;
  readonly peer: string;
}

const FAMILIES: readonly Hosts[] = [
  { family: 4, host: '127.0.0.1', sender: '127.0.0.2', peer: '192.0.2.1' },
  { family: 6, host: '::1', sender: '::1', peer: '2001:db8::1' },
];

/** As the route table has them: id 0, this host, is zeros. */
function endpointsOf(...addresses: string[]): Int32Array {
  const rowWords = ADDRESS_WORDS + 1;
  const rows = new Int32Array(rowWords * (addresses.length + 1));
  addresses.forEach((address, i) => {
    rows.set(parseAddress(address).words, rowWords * (i + 1));
    rows[rowWords * (i + 1) + ADDRESS_WORDS] = PORT;
  });
  return rows;
}

async function boundSocket(family: IpFamily, address: string): Promise<Socket> {
  const socket = createSocket(family === 4 ? 'udp4' : 'udp6');
  socket.bind(0, address);
  await once(socket, 'listening');
  return socket;
}

/** The descriptor under Node's socket, which has no name of its own in the API. */
function descriptorOf(socket: Socket): number {
  return (socket as unknown as { _handle: { fd: number } })._handle.fd;
}

/** A receiving socket, what it received, and a sender to it. */
async function openPair(t: Test, { family, host, sender }: Hosts) {
  const receiver = await boundSocket(family, host);
  const from = await boundSocket(family, sender);
  let received = 0;
  receiver.on('message', () => received++);
  t.teardown(() => {
    receiver.close();
    from.close();
  });
  return {
    fd: descriptorOf(receiver),
    received: () => received,
    send: () => from.send('frame', receiver.address().port, host),
  };
}

function openFilter(t: Test, family: IpFamily, fds: readonly number[]): PeerFilter {
  const filter = PeerFilter.open(family, fds, (message) => t.fail(message));
  if (filter === undefined) throw new Error('the filter did not open');
  return filter;
}

if (isMachineRoot()) {
  for (const hosts of FAMILIES) {
    const { family, sender, peer } = hosts;
    const label = `IPv${family}`;

    t.test(`${label}: a stranger is refused, counted and named; once a peer it is let in`, async (t) => {
      const pair = await openPair(t, hosts);
      const filter = openFilter(t, family, [pair.fd]);
      t.teardown(() => filter.close());
      filter.admit(endpointsOf(peer));
      t.strictSame(filter.refused(), { datagrams: 0, lastSource: undefined });
      pair.send();
      await until('the refusal', () => filter.refused().datagrams === 1);
      t.strictSame(filter.refused(), { datagrams: 1, lastSource: sender });

      filter.admit(endpointsOf(peer, sender));
      pair.send();
      await until('the datagram', () => pair.received() === 1);

      filter.retain(endpointsOf(peer));
      pair.send();
      await until('the second refusal', () => filter.refused().datagrams === 2);
      t.equal(pair.received(), 1, 'the socket received nothing of what was refused');
    });

    t.test(`${label}: a refusal is no loss at a full buffer`, async (t) => {
      const pair = await openPair(t, hosts);
      const filter = openFilter(t, family, [pair.fd]);
      t.teardown(() => filter.close());
      filter.admit(endpointsOf(peer));
      for (let i = 0; i < 3; i++) pair.send();
      await until('the drops', () => native.udpReceiveOverflow(pair.fd) === 3);
      t.equal(filter.overflow(native.udpReceiveOverflow(pair.fd)), 0);
      t.equal(filter.overflow(native.udpReceiveOverflow(pair.fd) + 2), 2, 'two more that it did not refuse');
      t.equal(filter.overflow(native.udpReceiveOverflow(pair.fd)), 2, 'it never falls');
      t.equal(filter.overflow(2 ** 32 + 3 + 4), 4, "the sockets' counts wrap at 2^32");
    });

    t.test(`${label}: closing gives every descriptor back and lets everybody in`, async (t) => {
      const pair = await openPair(t, hosts);
      const before = readdirSync('/proc/self/fd').length;
      const filter = openFilter(t, family, [pair.fd]);
      filter.admit(endpointsOf(peer));
      t.ok(readdirSync('/proc/self/fd').length > before, 'it has descriptors');
      filter.close();
      t.equal(readdirSync('/proc/self/fd').length, before);
      pair.send();
      await until('the datagram', () => pair.received() === 1);
    });
  }

  t.test('a filter that cannot let a peer in goes off, and says so once', async (t) => {
    const hosts = FAMILIES[0]!;
    const pair = await openPair(t, hosts);
    const warnings: string[] = [];
    const filter = PeerFilter.open(4, [pair.fd], (message) => warnings.push(message));
    t.teardown(() => filter?.close());
    const rowWords = ADDRESS_WORDS + 1;
    const tooMany = new Int32Array(140_000 * rowWords);
    for (let at = 0; at < tooMany.length; at += rowWords) {
      tooMany[at] = at + 1;
      tooMany[at + ADDRESS_WORDS] = PORT;
    }
    filter?.admit(endpointsOf(hosts.peer));
    filter?.admit(tooMany);
    filter?.admit(endpointsOf(hosts.peer));
    filter?.retain(endpointsOf(hosts.peer));
    t.match(warnings, [/no longer refused in the kernel, lanes do it: E2BIG$/]);
    t.equal(warnings.length, 1);
    pair.send();
    await until('the datagram', () => pair.received() === 1);
  });

  t.test('a socket that is none is refused when the filter is to be put on it', (t) => {
    const warnings: string[] = [];
    const filter = PeerFilter.open(4, [1 << 20], (message) => warnings.push(message));
    filter?.admit(endpointsOf('192.0.2.1'));
    filter?.close();
    t.match(warnings, [/EBADF$/]);
    t.end();
  });
} else {
  t.test('without CAP_BPF there is no filter, and it is said why', async (t) => {
    const pair = await openPair(t, FAMILIES[0]!);
    const warnings: string[] = [];
    t.equal(
      PeerFilter.open(4, [pair.fd], (message) => warnings.push(message)),
      undefined,
    );
    t.match(warnings, [/lanes do it: BPF_MAP_CREATE peers: EPERM \(needs CAP_BPF/]);
  });
}
