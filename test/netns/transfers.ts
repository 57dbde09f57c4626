import type { Test } from 'tap';

import { TEST_SEED } from '../unit/test_seed.js';
import type { End } from './namespace.js';
import { reportOf, startTool, startToolUntil } from './tool.js';

const TCP_PORT = 7001;
const UDP_PORT = 7002;
const ECHO_PORT = 7000;
/** Of IPv4 and UDP, and of IPv6 and UDP. */
const UDP_HEADERS = { ipv4: 28, ipv6: 48 };

/** Connections, and the bytes that each end sends on each of them. */
export interface TcpLoad {
  readonly streams: number;
  readonly listenBytes: number;
  readonly connectBytes: number;
}

interface StreamReport {
  readonly sent: string;
  readonly sentBytes: number;
  readonly received: string;
  readonly receivedBytes: number;
}

/** TCP between two ends of one family, such as `pod` or `pod.ipv6`; asserts that each end received byte for byte what the other sent. */
export async function checkedTcp(t: Test, from: End, to: End, load: TcpLoad, rule: string): Promise<void> {
  const where = [to.address, TCP_PORT, load.streams];
  const listener = await startToolUntil(
    'listening',
    to,
    'tcp_transfer',
    'listen',
    ...where,
    load.listenBytes,
    TEST_SEED,
  );
  const connector = startTool(from, 'tcp_transfer', 'connect', ...where, load.connectBytes, TEST_SEED);
  const [near, far] = await Promise.all([
    reportOf<StreamReport[]>(connector),
    reportOf<StreamReport[]>(listener),
  ]);
  const sent = (streams: StreamReport[]): unknown => streams.map((each) => [each.sentBytes, each.sent]);
  const received = (streams: StreamReport[]): unknown =>
    streams.map((each) => [each.receivedBytes, each.received]);
  t.equal(near.length, load.streams, `${rule}: all streams ran`);
  t.strictSame(received(far), sent(near), `${rule}: arrives byte for byte (TEST_SEED=${TEST_SEED})`);
  t.strictSame(received(near), sent(far), `${rule}: and so does what comes back`);
}

export interface UdpLoad {
  readonly flows: number;
  readonly datagrams: number;
  /** Largest payload. */
  readonly mostBytes: number;
  /** Whether the sender lets the kernel cut superframes (UDP_SEGMENT). */
  readonly superframes: boolean;
}

/** UDP flows of mixed sizes; asserts that all arrive unchanged, once, and in the order of their flow. */
export async function checkedFlows(t: Test, from: End, to: End, load: UdpLoad): Promise<void> {
  const { flows, datagrams, mostBytes, superframes } = load;
  const receiver = await startToolUntil('listening', to, 'udp_flows', 'receive', to.address, UDP_PORT);
  const args = [flows, datagrams, mostBytes, TEST_SEED, ...(superframes ? ['--gso'] : [])];
  const sender = startTool(from, 'udp_flows', 'send', to.address, UDP_PORT, ...args);
  const [{ sent }, got] = await Promise.all([reportOf<{ sent: number }>(sender), reportOf(receiver)]);
  const rule = `${flows} UDP flows of mixed sizes${superframes ? ', sent as superframes' : ''}`;
  t.ok(sent >= datagrams, `${rule}: ${sent} datagrams were sent`);
  const whole = { received: sent, lost: 0, wrong: 0, strange: 0 };
  t.match(got, whole, `${rule}: each arrives whole and in its flow's order (TEST_SEED=${TEST_SEED})`);
}

/** A UDP datagram of every size up to an MTU; asserts that each comes back unchanged. */
export async function checkedSizes(t: Test, from: End, to: End, mtuBytes: number): Promise<void> {
  const server = await startToolUntil('listening', to, 'udp_echo', 'serve', to.address, ECHO_PORT);
  const headers = to.address.includes(':') ? UDP_HEADERS.ipv6 : UDP_HEADERS.ipv4;
  const mostBytes = mtuBytes - headers;
  const sweep = startTool(from, 'udp_echo', 'sweep', to.address, ECHO_PORT, 0, mostBytes, TEST_SEED);
  const rule = `every inner packet from ${headers} bytes to the full MTU ${mtuBytes} returns unchanged`;
  t.match(
    await reportOf(sweep),
    { returned: 2 * (mostBytes + 1), fault: null },
    `${rule} (TEST_SEED=${TEST_SEED})`,
  );
  await server.terminate(0);
}
