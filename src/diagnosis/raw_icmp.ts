import { createRequire } from 'node:module';

import { messageOf } from '../errors.js';
import type { IpFamily } from '../ip_address.js';
import type { Probing } from './facts.js';

/** What is used of the package `raw-socket`, which has no types of its own. */
interface RawSocketModule {
  createSocket(options: { protocol: number; addressFamily: number; bufferSize: number }): RawSocket;
  readonly AddressFamily: { readonly IPv4: number; readonly IPv6: number };
}

interface RawSocket {
  on(event: 'message', listener: (bytes: Buffer, source: string) => void): this;
  on(event: 'error' | 'close', listener: (error?: Error) => void): this;
  setOption(level: number, option: number, value: number): void;
  setOption(level: number, option: number, value: Buffer, bytes: number): void;
  send(
    message: Buffer,
    offset: number,
    bytes: number,
    address: string,
    onSent: (error: Error | null) => void,
  ): this;
  close(): void;
}

const PROTOCOL = { 4: 1, 6: 58 } as const;
/** An answer is told by its first bytes; the rest of a large one is cut off. */
const RECEIVED_BYTES = 2048;

/** ip(7), ipv6(7); PROBE: with don't-fragment, whatever path MTU the kernel has learned. */
const IPPROTO_IP = 0;
const IP_MTU_DISCOVER = 10;
const IPPROTO_IPV6 = 41;
const IPV6_MTU_DISCOVER = 23;
const IPV6_DONTFRAG = 62;
const PMTUDISC_PROBE = 3;

/** linux/icmp.h: a set bit keeps that type from the socket. Every process that pings would wake us otherwise. */
const SOL_RAW = 255;
const ICMP_FILTER = 1;
const IPV4_TYPES = [0, 3, 11]; // echo reply, unreachable, time exceeded
/** linux/icmpv6.h: the same, of 256 types. */
const SOL_ICMPV6 = 58;
const ICMPV6_FILTER = 1;
const IPV6_TYPES = [1, 2, 3, 129]; // unreachable, packet too big, time exceeded, echo reply

/** Takes what was received. @param bytes the listener's own */
export type IcmpListener = (bytes: Uint8Array, source: string) => void;

/**
 * A raw socket for ICMP of one family, that sends with don't-fragment.
 *
 * Main thread only: the package polls the main thread's loop. It keeps the process alive until {@link RawIcmp.close}.
 */
export class RawIcmp {
  /** Held here: once collected, the package closes the descriptor under us. */
  readonly #socket: RawSocket;
  #closed = false;

  private constructor(socket: RawSocket, listener: IcmpListener) {
    this.#socket = socket;
    // The package reads the next message into the same buffer.
    socket.on('message', (bytes, source) => {
      if (!this.#closed) listener(Uint8Array.from(bytes), source);
    });
    socket.on('error', () => undefined); // of one read; what is missing is asked for again
  }

  /** Opens a socket, or says why there can be none. */
  static open(family: IpFamily, listener: IcmpListener): RawIcmp | (Probing & { available: false }) {
    let rawSocket: RawSocketModule;
    try {
      rawSocket = createRequire(import.meta.url)('raw-socket') as RawSocketModule;
    } catch (error) {
      return unloadable(error);
    }
    let socket: RawSocket | undefined;
    try {
      socket = rawSocket.createSocket({
        protocol: PROTOCOL[family],
        addressFamily: rawSocket.AddressFamily[`IPv${family}`],
        bufferSize: RECEIVED_BYTES,
      });
      configure(socket, family);
      return new RawIcmp(socket, listener);
    } catch (error) {
      socket?.close();
      return unopenable(family, messageOf(error));
    }
  }

  /**
   * Sends a message.
   *
   * @param message without IP header; not to be written to until it is sent
   * @returns undefined, or why the kernel did not take it, as strerror(3) says it
   */
  send(message: Buffer, address: string): Promise<string | undefined> {
    if (this.#closed) return Promise.resolve('closed');
    return new Promise((resolve) => {
      this.#socket.send(message, 0, message.length, address, (error) => resolve(error?.message));
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }
}

function configure(socket: RawSocket, family: IpFamily): void {
  if (family === 4) {
    socket.setOption(IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE);
    const wanted = IPV4_TYPES.reduce((mask, type) => mask | (1 << type), 0);
    socket.setOption(SOL_RAW, ICMP_FILTER, ~wanted >>> 0);
    return;
  }
  socket.setOption(IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE);
  socket.setOption(IPPROTO_IPV6, IPV6_DONTFRAG, 1);
  const filter = new Uint32Array(8).fill(0xffff_ffff); // of this machine's byte order, as the kernel reads it
  for (const type of IPV6_TYPES) filter[type >>> 5]! &= ~(1 << (type & 31));
  const bytes = Buffer.from(filter.buffer);
  socket.setOption(SOL_ICMPV6, ICMPV6_FILTER, bytes, bytes.length);
}

function unloadable(error: unknown): Probing & { available: false } {
  const { code } = error as NodeJS.ErrnoException;
  const isMissing = code === 'MODULE_NOT_FOUND' && !messageOf(error).includes('raw.node');
  return {
    available: false,
    why: isMissing
      ? "the package 'raw-socket' is not installed"
      : `the package 'raw-socket' does not load: ${messageOf(error).split('\n')[0]}`,
    remedy: isMissing
      ? "'npm install raw-socket' beside selvage: it is optional, and needs a C++ compiler and Node's headers (npm_config_nodedir=/usr takes those in /usr)"
      : "'npm rebuild raw-socket' with the Node that runs selvage",
  };
}

function unopenable(family: IpFamily, message: string): Probing & { available: false } {
  const isRefused = /not permitted|denied/i.test(message);
  return {
    available: false,
    why: `no raw socket for IPv${family}: ${message}`,
    remedy: isRefused
      ? 'run it as root, or with CAP_NET_RAW (docker: --cap-add NET_RAW)'
      : `check that this kernel has IPv${family}`,
  };
}
