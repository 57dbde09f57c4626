import type {
  Agent,
  LeaseEvent,
  OwnLease,
  PathChange,
  RouteSnapshot,
  Segment,
  SelvageError,
} from '../index.js';
import type { Logger } from './log.js';

/** Writes a line for everything that an agent tells, but its end. */
export function logAgent(agent: Agent | Segment, log: Logger): void {
  agent.on('warning', (message) => log.warn(message));
  agent.on('lease', (event) => logLeaseEvent(event, log));
  agent.on('routes', (count) => log.info({ routes: count }, 'routes changed'));
  agent.on('routeError', (error) => logRouteError(error, log));
  agent.on('moved', (from, to) =>
    log.warn(
      { from: subnetOf(from), to: subnetOf(to), network: to.network ?? to.ipv6Network },
      'moved to another subnet',
    ),
  );
  agent.on('mtu', (mtuBytes) =>
    log.info({ mtu: mtuBytes }, 'the underlay has another MTU, and the overlay with it'),
  );
  agent.on('pathMtu', ({ peer, mtuBytes, known }) => logPathMtu(peer, mtuBytes, known, log));
  agent.on('refused', ({ reason, frames, outerSource, innerSource }) =>
    log.warn(
      { reason, frames, from: outerSource, ...(innerSource === undefined ? {} : { innerSource }) },
      reason === 'spoofedSource'
        ? 'a peer sent frames with a source that is not its own: they were dropped'
        : 'somebody who is no peer sent datagrams: they were dropped',
    ),
  );
  agent.on('laneDown', (lane, error, restartInMillis) =>
    log.error({ lane, restartInMillis, error: error.message }, 'a lane died and will be started again'),
  );
}

function subnetOf({ subnet, ipv6Subnet }: RouteSnapshot): string | undefined {
  return subnet ?? ipv6Subnet;
}

function logPathMtu(peer: string, mtuBytes: number, known: PathChange['known'], log: Logger): void {
  if (mtuBytes === 0) return log.info({ peer }, 'the path to a peer takes full size again');
  const why = known === 'icmp' ? 'as the kernel was told' : 'larger packets vanish on it without a word';
  log.warn({ peer, mtu: mtuBytes }, `the path to a peer takes less than the underlay interface: ${why}`);
}

function logRouteError(error: SelvageError, log: Logger): void {
  log.error({ code: error.code }, `the routes stay as they were: ${error.message}`);
}

function logLeaseEvent(event: LeaseEvent, log: Logger): void {
  switch (event.kind) {
    case 'waiting':
      return log.warn(`waiting: ${event.reason}`);
    case 'acquired':
      return log.info({ ...leaseFields(event.lease), how: event.how }, 'lease acquired');
    case 'renewed':
      return log.info(leaseFields(event.lease), 'lease renewed');
    case 'renewalFailed':
      return log.warn(
        { retryInSeconds: event.retryInSeconds },
        `the lease could not be renewed: ${event.reason}`,
      );
    case 'lost':
      return log.error(leaseFields(event.lease), `lease lost: ${event.reason}`);
    case 'regained':
      return log.warn(leaseFields(event.lease), 'the same subnet was free: lease acquired again');
    case 'moved':
      return log.warn(
        { ...leaseFields(event.to), from: event.from.subnets.ipv4 ?? event.from.subnets.ipv6 },
        'another host has the old subnet: lease acquired for another',
      );
    case 'duplicatePublicIp':
      return log.error(
        { publicIp: event.publicIp, other: event.other },
        `another host uses the public IP ${event.publicIp}: give each host its own with --public-ip or --iface`,
      );
    case 'connection':
      if (event.connection.connected) return log.info('the store answers');
      return log.warn(`the store is away, the routes stay: ${event.connection.reason}`);
    case 'relisted':
      return log.info({ leases: event.leases }, `leases listed anew: ${event.reason}`);
    case 'adopted':
      return log.info(leaseFields(event.lease), `the lease was changed and stays ours: ${event.reason}`);
    case 'warning':
      return log.warn(event.reason);
    case 'skipped':
      return log.warn({ key: event.key }, `lease not routed to: ${event.reason}`);
  }
}

function leaseFields({ subnets, expiresAt, reserved, value }: OwnLease): Record<string, unknown> {
  return {
    subnet: subnets.ipv4,
    ...(subnets.ipv6 === undefined ? {} : { ipv6Subnet: subnets.ipv6 }),
    publicIp: value.publicIp,
    ...(reserved ? { reserved } : { expiresAt: expiresAt?.toISOString() }),
  };
}
