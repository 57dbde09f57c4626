import type { ForwarderStats } from '../index.js';
import type { Logger } from './log.js';

/** Who has counters, while it forwards. */
interface Counting {
  stats(): ForwarderStats | undefined;
}

/** The line that says what was set up. */
export function logReady(log: Logger, counting: Counting): void {
  const stats = counting.stats();
  if (stats === undefined) return;
  const { device, socket, lanes, routes } = stats;
  log.info(
    {
      device: device.name,
      address: device.address,
      mtu: device.mtuBytes,
      listen: `${socket.address}:${socket.port}`,
      lanes: lanes.length,
      routes: routes.count,
      offloads: { ...device.offloads, udpGso: socket.gso, udpGro: socket.gro },
    },
    'ready',
  );
}

/** A line is written at once, so it must not hold 65,536 peers. */
const LOGGED_PEERS = 256;

function loggedStats(stats: ForwarderStats): ForwarderStats & { readonly peersLeftOut: number } {
  const peers = stats.peers.slice(0, LOGGED_PEERS);
  return { ...stats, peers, peersLeftOut: stats.peers.length - peers.length };
}

/** All counters; nothing while there is no forwarder. */
export function logStats(log: Logger, counting: Counting): void {
  const stats = counting.stats();
  if (stats !== undefined) log.info({ stats: loggedStats(stats) }, 'stats');
}
