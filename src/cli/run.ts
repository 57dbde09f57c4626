import { once } from 'node:events';

import {
  type Agent,
  type AgentOptions,
  createAgent,
  type EtcdStore,
  openEtcdStore,
  SelvageError,
  ServiceManager,
} from '../index.js';
import { ExitCode } from './exit_code.js';
import { logAgent } from './agent_log.js';
import { commonAgentOptions } from './agent_settings.js';
import { type Logger, openLog } from './log.js';
import type { RunSettings } from './run_settings.js';
import { logReady, logStats } from './stats_log.js';
import { stopSignal } from './stop_signal.js';

/**
 * The daemon: forwards until SIGINT, SIGTERM or SIGHUP.
 *
 * @returns the exit code
 * @throws SelvageError or a system error when it cannot start or go on; everything is given back
 */
export async function run(settings: RunSettings): Promise<number> {
  const log = openLog(settings);
  const stop = stopSignal(log);
  const store = await openStore(settings.source, log);
  try {
    const agent = await openAgent(settings, store, log);
    try {
      return await serve(agent, settings, stop, log);
    } finally {
      await agent.close();
    }
  } finally {
    await store?.close();
  }
}

async function serve(
  agent: Agent,
  settings: RunSettings,
  stop: Promise<string>,
  log: Logger,
): Promise<number> {
  logAgent(agent, log);
  // From the start, as the signal ends a process that does not listen for it.
  process.on('SIGUSR2', () => logStats(log, agent));
  const service = ServiceManager.fromEnvironment(process.env, (message) => log.warn(message));
  const end = Promise.race([stop, fatalFault(agent)]);
  const starting = agent.start();
  starting.catch(() => undefined); // when a signal comes first, closing the agent ends the start
  // A lane that cannot go on never settles.
  const early = await Promise.race([starting, end]);
  if (early === undefined) {
    logReady(log, agent);
    service.ready('forwarding');
    service.startWatchdog(() => agent.status().health.status !== 'failing');
  }
  try {
    return await untilEnd(agent, settings, end, log);
  } finally {
    service.close();
    service.stopping();
  }
}

async function openStore(source: RunSettings['source'], log: Logger): Promise<EtcdStore | undefined> {
  if (source.kind === 'file') return undefined;
  const store = await openEtcdStore(source);
  for (const warning of store.warnings) log.warn(warning);
  return store;
}

/** The status socket at its default place is a convenience: where it cannot be had, the daemon runs without. */
async function openAgent(settings: RunSettings, store: EtcdStore | undefined, log: Logger): Promise<Agent> {
  const options = agentOptions(settings, store);
  const { controlSocket, controlSocketExplicit } = settings;
  if (controlSocket === undefined) return await createAgent(options);
  try {
    return await createAgent({ ...options, controlSocket });
  } catch (error) {
    const optional = error instanceof SelvageError && error.code === 'ERR_CONTROL_SOCKET';
    if (controlSocketExplicit || !optional) throw error;
    log.warn(`'selvage status' will not reach this daemon: ${error.message}`);
    return await createAgent(options);
  }
}

function agentOptions(settings: RunSettings, store: EtcdStore | undefined): AgentOptions {
  const { source, health } = settings;
  return {
    ...commonAgentOptions(settings),
    source:
      source.kind === 'file' || store === undefined
        ? { kind: 'file', path: (source as { path: string }).path }
        : { ...source, kind: 'store', store, networkName: source.prefix },
    ...(health === undefined ? {} : { health }),
  };
}

/** Resolves with what the agent cannot go on after; mostly never. */
async function fatalFault(agent: Agent): Promise<Error> {
  const [error] = (await once(agent, 'fatal')) as [Error];
  return error;
}

/** Waits for a signal or a fatal fault, logging counters meanwhile. */
async function untilEnd(
  agent: Agent,
  settings: RunSettings,
  end: Promise<string | Error>,
  log: Logger,
): Promise<number> {
  const seconds = settings.statsIntervalSeconds;
  const timer = seconds > 0 ? setInterval(() => logStats(log, agent), seconds * 1000) : undefined;
  try {
    const reason = await end;
    if (typeof reason === 'string') log.info({ signal: reason }, 'stopping');
    else if (isLeaseLoss(reason)) log.warn(reason.message);
    else throw reason;
    logStats(log, agent);
    return ExitCode.ok;
  } finally {
    clearInterval(timer);
  }
}

/** With --exit-on-lease-loss the end is asked for: exit code 0, as flanneld's. */
function isLeaseLoss(error: Error): boolean {
  return error instanceof SelvageError && error.code === 'ERR_LEASE_LOST';
}
