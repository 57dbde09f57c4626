import { COALESCE, native, type TunOffloads } from '../native.js';

/** How to create a TUN device. */
export interface TunOptions {
  /** Up to 15 bytes; may hold one `%d` for the next free number. */
  readonly name: string;
  /** One queue for each lane, 1..256. */
  readonly queues: number;
  /** False leaves every offload off: each read and write is then one wire-sized frame. */
  readonly offload: boolean;
}

/** A TUN device and its queues. It vanishes, with its address and routes, when the last queue is closed. */
export interface TunDevice {
  readonly name: string;
  /** One descriptor per queue, owned by this object. */
  readonly fds: readonly number[];
  readonly offloads: TunOffloads;
  /** Superframes that may be written to it: a set of COALESCE bits. */
  readonly coalesceKinds: number;
  /** Whether the kernel picks the queue by inner flow; true for one queue. */
  readonly steered: boolean;
  /** Closes the queues. Call once, when no lane uses them. */
  close(): void;
}

/**
 * Creates a TUN device, which must not exist yet, without configuring it.
 *
 * @throws Error with `code` and `syscall`; the message holds the remedy (see src/native.ts)
 */
export function openTun(options: TunOptions): TunDevice {
  const { name, queues, offload } = options;
  const opened = native.openTun(name, queues, offload);
  return {
    ...opened,
    steered: queues === 1 || native.steerTunQueues(opened.fds[0]!, queues),
    coalesceKinds: coalesceKindsOf(opened.offloads),
    close: () => opened.fds.forEach((fd) => native.closeFd(fd)),
  };
}

/** A kind of superframe may be written where the device says it can take one from the other side. */
function coalesceKindsOf({ tso4, tso6, uso }: TunOffloads): number {
  return (tso4 ? COALESCE.tcp4 : 0) | (tso6 ? COALESCE.tcp6 : 0) | (uso ? COALESCE.udp4 | COALESCE.udp6 : 0);
}
