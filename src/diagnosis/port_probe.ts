import { createSocket, type Socket } from 'node:dgram';

import { messageOf } from '../errors.js';
import { writeEcho } from '../encap/icmp_echo.js';
import { familyOf, parseAddress } from '../ip_address.js';
import type { PortOutcome } from './facts.js';

export interface PortProbe {
  /** Of this host on the underlay: peers know no other. */
  readonly source: string;
  /** The peer's UDP endpoint. */
  readonly address: string;
  readonly port: number;
  /** Inner addresses of the frame in the datagram: the TUN devices of both. */
  readonly innerSource: string;
  readonly innerDestination: string;
  readonly timeoutMillis: number;
}

/** Datagrams are lost now and then, and so are ICMP messages. */
const TRIES = 3;
const INNER_BYTES = 64;

/**
 * Sends datagrams to a peer's port, and waits for its host to say that nobody listens there. Each holds an echo request, as
 * the daemon itself sends them, so that the peer has nothing to drop. Needs no privilege.
 */
export async function probePort(probe: PortProbe): Promise<PortOutcome> {
  const socket = createSocket(familyOf(probe.address) === 4 ? 'udp4' : 'udp6');
  try {
    return await ask(socket, probe);
  } catch (error) {
    return failure(error);
  } finally {
    socket.close();
  }
}

/** @throws (as rejection) what the socket says */
async function ask(socket: Socket, probe: PortProbe): Promise<PortOutcome> {
  const datagram = writeEcho({
    source: parseAddress(probe.innerSource),
    destination: parseAddress(probe.innerDestination),
    identifier: 0,
    sequence: 0,
    totalBytes: INNER_BYTES,
  });
  return await new Promise<PortOutcome>((resolve, reject) => {
    const timers: NodeJS.Timeout[] = [];
    const end = (then: () => void): void => {
      for (const timer of timers) clearTimeout(timer);
      then();
    };
    socket.once('error', (error) => end(() => reject(error)));
    const send = (): void => {
      socket.send(datagram, (error) => {
        if (error !== null) end(() => reject(error));
      });
    };
    socket.bind({ address: probe.source, port: 0 }, () => {
      socket.connect(probe.port, probe.address, () => {
        for (let i = 0; i < TRIES; i++) timers.push(setTimeout(send, (i * probe.timeoutMillis) / TRIES));
        timers.push(setTimeout(() => end(() => resolve({ kind: 'silent' })), probe.timeoutMillis));
      });
    });
  });
}

function failure(error: unknown): PortOutcome {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ECONNREFUSED' ? { kind: 'refused' } : { kind: 'notSent', why: messageOf(error) };
}
