import { Piscina } from 'piscina';

import { native } from '../native.js';
import { openTun, type TunDevice } from '../tun/open_tun.js';
import type { CheckedOptions } from './forwarder_options.js';
import { SourceCheck } from './lane_context.js';
import { openUdp, type UdpSockets } from './open_udp.js';
import { PeerFilter } from './peer_filter.js';

/** What belongs to one forwarder, opened together and given back together. */
export interface ForwarderResources {
  readonly tun: TunDevice;
  readonly udp: UdpSockets;
  readonly wakes: readonly number[];
  readonly pool: Piscina;
  /** Undefined where it is not asked for, or the kernel takes none. */
  readonly filter: PeerFilter | undefined;
}

/**
 * Opens what a forwarder needs, without configuring the device.
 *
 * @param warn told now, or later, what works less well than it could
 * @throws a system error with `code` and `syscall`; nothing stays behind
 */
export function openResources(options: CheckedOptions, warn: (message: string) => void): ForwarderResources {
  const { lanes, offload, address, port, receiveBufferBytes, sendBufferBytes } = options;
  const udp = openUdp({ address, port, lanes, offload, receiveBufferBytes, sendBufferBytes });
  const wakes: number[] = [];
  let tun: TunDevice | undefined;
  const filter = isFiltered(options) ? PeerFilter.open(options.underlay, udp.fds, warn) : undefined;
  try {
    tun = openTun({ name: options.tunName, queues: lanes, offload });
    for (let lane = 0; lane < lanes; lane++) wakes.push(native.openWake());
    return { tun, udp, wakes, filter, pool: lanePool(lanes) };
  } catch (error) {
    for (const wake of wakes) native.closeFd(wake);
    tun?.close();
    filter?.close();
    udp.close();
    throw error;
  }
}

function isFiltered({ earlyDrop, sourceCheck }: CheckedOptions): boolean {
  return earlyDrop && sourceCheck !== SourceCheck.off;
}

/** One thread for each lane, for life: a lane is one task that runs until it is told to stop. */
function lanePool(lanes: number): Piscina {
  return new Piscina({
    filename: new URL('./lane_thread.js', import.meta.url).href,
    minThreads: lanes,
    maxThreads: lanes,
    idleTimeout: Infinity,
    concurrentTasksPerWorker: 1,
  });
}

/** The pool goes first: a lane must not outlive its descriptors, whose numbers the process may use again. */
export async function releaseResources({ tun, udp, wakes, filter, pool }: ForwarderResources): Promise<void> {
  await pool.destroy();
  tun.close();
  filter?.close();
  udp.close();
  for (const wake of wakes) native.closeFd(wake);
}

/** What the kernel did not grant, and what that means; for people. */
export function missingCapabilities(options: CheckedOptions, { tun, udp }: ForwarderResources): string[] {
  const warnings = smallBuffers(options, udp);
  if (options.lanes > 1 && !tun.steered) {
    warnings.push(
      'the kernel did not take the queue steering program (needs CAP_BPF): a flow may change lanes once',
    );
  }
  if (!options.offload) return warnings;
  if (!tun.offloads.tso4)
    warnings.push('the kernel refused TCP segmentation offload on TUN: throughput will be low');
  else if (!tun.offloads.uso)
    warnings.push('the kernel has no UDP superframes on TUN (Linux 6.2): UDP will be slower');
  if (!udp.gso)
    warnings.push('the kernel has no UDP segmentation offload (Linux 4.18): sending will be slower');
  if (!udp.gro && options.lanes === 1)
    warnings.push('the kernel has no UDP_GRO (Linux 5.0): receiving will be slower');
  return warnings;
}

function smallBuffers(options: CheckedOptions, udp: UdpSockets): string[] {
  const small = (what: string, granted: number, asked: number, sysctl: string) =>
    granted < asked
      ? [`the ${what} buffer is ${granted} of ${asked} bytes: run with CAP_NET_ADMIN or raise ${sysctl}`]
      : [];
  return [
    ...small('receive', udp.receiveBufferBytes, options.receiveBufferBytes, 'net.core.rmem_max'),
    ...small('send', udp.sendBufferBytes, options.sendBufferBytes, 'net.core.wmem_max'),
  ];
}
