import type { Agent, LeaseEvent, OwnLease, Segment, SelvageError } from '../index.js';
import type { Logger } from './log.js';

/** Writes a line for everything that an agent tells, but its end. */
export function logAgent(agent: Agent | Segment, log: Logger): void {
  agent.on('warning', (message) => log.warn(message));
  agent.on('lease', (event) => logLeaseEvent(event, log));
  agent.on('routes', (count) => log.info({ routes: count }, 'routes changed'));
  agent.on('routeError', (error) => logRouteError(error, log));
  agent.on('moved', (from, to) =>
    log.warn({ from: from.subnet, to: to.subnet, network: to.network }, 'moved to another subnet'),
  );
  agent.on('laneDown', (lane, error, restartInMillis) =>
    log.error({ lane, restartInMillis, error: error.message }, 'a lane died and will be started again'),
  );
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
