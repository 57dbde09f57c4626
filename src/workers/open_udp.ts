import { native } from '../native.js';

/** How to bind the underlay sockets. */
export interface UdpOptions {
  /** Address of the underlay interface, of either family: the sockets and all peers are of that one. */
  readonly address: string;
  /** 0..65535; 0 lets the kernel choose. */
  readonly port: number;
  /** One socket for each lane, all on one port. */
  readonly lanes: number;
  /** False turns segmentation and trains off in both directions. */
  readonly offload: boolean;
  /** Bytes asked for, each socket. */
  readonly receiveBufferBytes: number;
  readonly sendBufferBytes: number;
}

/** The bound sockets. */
export interface UdpSockets {
  /** One descriptor per lane, owned by this object. */
  readonly fds: readonly number[];
  readonly port: number;
  readonly gso: boolean;
  readonly gro: boolean;
  readonly receiveBufferBytes: number;
  readonly sendBufferBytes: number;
  /** Datagrams the kernel dropped at full receive buffers since the sockets were opened. */
  receiveOverflow(): number;
  /** Closes the sockets. Call once, when no lane uses them. */
  close(): void;
}

/**
 * Binds one socket for each lane. Several sockets share the port, and the kernel picks one by the inner flow.
 *
 * @throws Error with `code` and `syscall`; the message holds the remedy (see src/native.ts)
 */
export function openUdp(options: UdpOptions): UdpSockets {
  const { address, lanes, offload, receiveBufferBytes, sendBufferBytes } = options;
  const shared = lanes > 1;
  // A train that the kernel put together may hold several inner flows, but it goes to one socket: with several sockets
  // a flow could then be reordered, so trains are not asked for (docs/adr/0003-lanes.md).
  const gro = offload && !shared;
  const fds: number[] = [];
  const open = (port: number, reusePort: boolean) =>
    native.openUdp(address, port, reusePort, gro, receiveBufferBytes, sendBufferBytes);
  try {
    // SO_REUSEPORT would share the port with another daemon of this user; a plain bind first finds that one out.
    const probe = open(options.port, false);
    if (!shared) {
      fds.push(probe.fd);
    } else {
      native.closeFd(probe.fd);
      for (let lane = 0; lane < lanes; lane++) fds.push(open(probe.port, true).fd);
      native.steerUdpSockets(fds[0]!, lanes);
    }
    return {
      fds,
      port: probe.port,
      gso: offload && probe.gso,
      gro: probe.gro,
      receiveBufferBytes: probe.receiveBufferBytes,
      sendBufferBytes: probe.sendBufferBytes,
      receiveOverflow: () => fds.reduce((sum, fd) => sum + Math.max(0, native.udpReceiveOverflow(fd)), 0),
      close: () => fds.forEach((fd) => native.closeFd(fd)),
    };
  } catch (error) {
    fds.forEach((fd) => native.closeFd(fd));
    throw error;
  }
}
