import { once } from 'node:events';

import {
  createForwarder,
  FileSource,
  findUnderlay,
  followSource,
  type Forwarder,
  type ForwarderStats,
  type RouteChange,
  type RouteListener,
  routeOfPeer,
  type RouteSnapshot,
  type SelvageError,
} from '../index.js';
import { ExitCode } from './exit_code.js';
import { type Logger, openLog } from './log.js';
import { usageError } from './option_table.js';
import type { RunSettings } from './run_settings.js';

/**
 * The daemon: forwards until SIGINT, SIGTERM or SIGHUP.
 *
 * @returns the exit code
 * @throws SelvageError or a system error when it cannot start; everything is given back
 */
export async function run(settings: RunSettings): Promise<number> {
  const log = openLog(settings);
  const stop = stopSignal(log);
  let forwarder: Forwarder | undefined;
  // From the start, as the signal ends a process that does not listen for it.
  process.on('SIGUSR2', () => {
    if (forwarder !== undefined) logStats(log, forwarder);
  });
  let following: RouteListener | undefined;
  const early: RouteChange[] = []; // edits that arrive while the forwarder is being made
  if (settings.source.kind !== 'file') throw usageError('--routes FILE is required');
  const source = new FileSource(settings.source.path);
  try {
    const first = await source.open({
      onChanges: (changes) =>
        following === undefined ? early.push(...changes) : following.onChanges(changes),
      onError: (error) => logRouteError(log, error),
    });
    forwarder = await start(settings, first, log);
    const end = Promise.race([stop, fatalFault(forwarder)]);
    try {
      forwarder.routes.replace(first.peers.map(routeOfPeer));
      following = followSource(forwarder, first, {
        onRoutes: (count) => log.info({ routes: count }, 'routes changed'),
        onError: (error) => logRouteError(log, error),
      });
      if (early.length > 0) following.onChanges(early);
      // A lane that cannot go on never settles.
      if ((await Promise.race([forwarder.settled(), end])) === undefined) logReady(log, forwarder);
      return await untilEnd(forwarder, settings, end, log);
    } finally {
      await forwarder.close();
    }
  } finally {
    await source.close();
  }
}

async function start(
  settings: RunSettings,
  { network, subnet }: RouteSnapshot,
  log: Logger,
): Promise<Forwarder> {
  const { address } = await findUnderlay(settings.underlay);
  const forwarder = await createForwarder({ ...settings.forwarder, network, subnet, address });
  forwarder.on('warning', (message) => log.warn(message));
  forwarder.on('laneDown', (lane, error, restartInMillis) =>
    log.error({ lane, restartInMillis, error: error.message }, 'a lane died and will be started again'),
  );
  return forwarder;
}

/** Resolves with what the forwarder cannot go on after; mostly never. */
async function fatalFault(forwarder: Forwarder): Promise<Error> {
  const [error] = (await once(forwarder, 'fatal')) as [Error];
  return error;
}

/** Waits for a signal or a fatal fault, logging counters meanwhile. */
async function untilEnd(
  forwarder: Forwarder,
  settings: RunSettings,
  end: Promise<string | Error>,
  log: Logger,
): Promise<number> {
  const seconds = settings.statsIntervalSeconds;
  const timer = seconds > 0 ? setInterval(() => logStats(log, forwarder), seconds * 1000) : undefined;
  try {
    const reason = await end;
    if (typeof reason !== 'string') throw reason;
    log.info({ signal: reason }, 'stopping');
    logStats(log, forwarder);
    return ExitCode.ok;
  } finally {
    clearInterval(timer);
  }
}

/** A line is written at once, so it must not hold 65,536 peers. */
const LOGGED_PEERS = 256;

function loggedStats(stats: ForwarderStats): ForwarderStats & { readonly peersLeftOut: number } {
  const peers = stats.peers.slice(0, LOGGED_PEERS);
  return { ...stats, peers, peersLeftOut: stats.peers.length - peers.length };
}

/** Resolves with the first SIGINT, SIGTERM or SIGHUP; the second ends the process at once. */
function stopSignal(log: Logger): Promise<string> {
  return new Promise((resolve) => {
    let stopping = false;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => {
        if (stopping) {
          log.warn('second signal: ending at once');
          process.exit(ExitCode.failed);
        }
        stopping = true;
        resolve(signal);
      });
    }
  });
}

function logReady(log: Logger, forwarder: Forwarder): void {
  const { device, socket, lanes, routes } = forwarder.stats();
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

function logStats(log: Logger, forwarder: Forwarder): void {
  log.info({ stats: loggedStats(forwarder.stats()) }, 'stats');
}

function logRouteError(log: Logger, error: SelvageError): void {
  log.error({ code: error.code }, `the routes stay as they were: ${error.message}`);
}
