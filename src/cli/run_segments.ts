import {
  createSegments,
  type EtcdStore,
  openEtcdStore,
  type Segment,
  type SegmentOptions,
  type Segments,
  type SegmentsOptions,
  SelvageError,
  ServiceManager,
} from '../index.js';
import { commonAgentOptions } from './agent_settings.js';
import { logAgent } from './agent_log.js';
import { ExitCode } from './exit_code.js';
import { type Logger, openLog } from './log.js';
import { type CliValues, usageError } from './option_table.js';
import { type RunSettings, runSettings } from './run_settings.js';
import { readSegmentsFile, type SegmentSettings } from './segments_file.js';
import { logReady, logStats } from './stats_log.js';
import { stopSignal } from './stop_signal.js';

/** Name of the control socket: there is no TUN device to name it after. */
const CONTROL_NAME = 'segments';

/**
 * The daemon with several networks: forwards until SIGINT, SIGTERM or SIGHUP, whatever happens to any of them.
 *
 * @returns the exit code
 * @throws SelvageError ERR_SEGMENTS_FILE, ERR_SEGMENT_CONFLICT, ERR_USAGE, ERR_HEALTH_PORT, ERR_CONTROL_SOCKET; nothing stays
 */
export async function runSegments(path: string, values: CliValues): Promise<number> {
  if (values.isOn('exit-on-lease-loss')) {
    throw usageError(
      `${values.label('exit-on-lease-loss')} and ${values.label('segments')} exclude each other: ` +
        'one network must not end the others; a lost lease is taken again',
    );
  }
  const settings = runSettings(values, CONTROL_NAME);
  const parts = await readSegmentsFile(path, values);
  const log = openLog(settings);
  const stop = stopSignal(log);
  const segments = await openSegments(settings, parts, log);
  try {
    return await serve(segments, settings, stop, log);
  } finally {
    await segments.close();
  }
}

async function serve(
  segments: Segments,
  settings: RunSettings,
  stop: Promise<string>,
  log: Logger,
): Promise<number> {
  const each = segments.segments.map((segment) => ({ segment, log: log.child({ segment: segment.name }) }));
  const logAllStats = (): void => each.forEach((one) => logStats(one.log, one.segment));
  for (const { segment, log } of each) logSegment(segment, log);
  process.on('SIGUSR2', logAllStats);
  const service = ServiceManager.fromEnvironment(process.env, (message) => log.warn(message));
  void firstForwards(segments).then(() => {
    service.ready('forwarding');
    service.startWatchdog(() => segments.status().health.status !== 'failing');
  });
  const seconds = settings.statsIntervalSeconds;
  const timer = seconds > 0 ? setInterval(logAllStats, seconds * 1000) : undefined;
  segments.start();
  try {
    log.info({ signal: await stop }, 'stopping');
    logAllStats();
    return ExitCode.ok;
  } finally {
    clearInterval(timer);
    service.close();
    service.stopping();
  }
}

function logSegment(segment: Segment, log: Logger): void {
  logAgent(segment, log);
  segment.on('ready', () => logReady(log, segment));
  segment.on('failed', (error, restartInMillis) => {
    const { code } = error as { code?: unknown };
    log.error({ code, restartInMillis }, `the segment failed and will be started again: ${error.message}`);
  });
}

/**
 * Resolves once one segment forwards and each other one does too, has failed, or says that it waits for its store: a network
 * whose etcd is away must not hold back what is ordered after the service.
 */
function firstForwards({ segments }: Segments): Promise<void> {
  return new Promise((resolve) => {
    const undecided = new Set(segments);
    let forwarding = false;
    for (const segment of segments) {
      const decide = (forwards: boolean): void => {
        undecided.delete(segment);
        forwarding ||= forwards;
        if (forwarding && undecided.size === 0) resolve();
      };
      segment.on('ready', () => decide(true));
      segment.on('failed', () => decide(false));
      segment.on('lease', (event) => {
        if (event.kind === 'waiting' || event.kind === 'connection') decide(false);
      });
    }
  });
}

/** The status socket at its default place is a convenience: where it cannot be had, the daemon runs without. */
async function openSegments(
  settings: RunSettings,
  parts: readonly SegmentSettings[],
  log: Logger,
): Promise<Segments> {
  const { controlSocket, controlSocketExplicit, health } = settings;
  const options: SegmentsOptions = {
    segments: parts.map((part) => segmentOptions(part, log)),
    ...(health === undefined ? {} : { health }),
  };
  if (controlSocket === undefined) return await createSegments(options);
  try {
    return await createSegments({ ...options, controlSocket });
  } catch (error) {
    const optional = error instanceof SelvageError && error.code === 'ERR_CONTROL_SOCKET';
    if (controlSocketExplicit || !optional) throw error;
    log.warn(`'selvage status' will not reach this daemon: ${error.message}`);
    return await createSegments(options);
  }
}

function segmentOptions({ name, settings }: SegmentSettings, log: Logger): SegmentOptions {
  const { source } = settings;
  const common = commonAgentOptions(settings);
  if (source.kind === 'file')
    return { name, agent: { ...common, source: { kind: 'file', path: source.path } } };
  return {
    name,
    agent: {
      ...common,
      source: {
        kind: 'store',
        networkName: source.prefix,
        endpoints: source.endpoints,
        renewMarginSeconds: source.renewMarginSeconds,
        openStore: () => openStore(source, log.child({ segment: name })),
      },
    },
  };
}

async function openStore(source: Parameters<typeof openEtcdStore>[0], log: Logger): Promise<EtcdStore> {
  const store = await openEtcdStore(source);
  for (const warning of store.warnings) log.warn(warning);
  return store;
}
