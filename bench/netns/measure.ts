import { cpuSeconds } from '../../test/netns/cpu_time.js';
import type { Lab } from '../../test/netns/lab.js';
import { parsePing, ping, type PingResult, tcp, type TcpResult, udpFlood } from '../../test/netns/loads.js';
import type { OverlayPath } from '../../test/netns/peers.js';
import type { LoadName, RunName } from './matrix.js';

/** What one run yielded. */
export interface Measurement {
  readonly values: ReadonlyMap<LoadName, number>;
  /** What else is worth knowing, e.g. that pings were lost. */
  readonly remark?: string;
}

const GIBIBYTE = 2 ** 30;
const PING_INTERVAL_SECONDS = 0.001;
/** The load must go on until the last ping is back, so pinging ends this much before it. */
const PING_MARGIN_SECONDS = 0.3;
/** TCP is under way once this much arrives: a handshake and ARP are far below. */
const UNDER_WAY_BITS_PER_SECOND = 10e6;

/**
 * Does one run over `path`, which is up in `lab`.
 *
 * @param seconds how long the load runs, 1 or more
 * @throws Error when the load fails, or nothing comes through
 */
export async function measure(
  run: RunName,
  lab: Lab,
  path: OverlayPath,
  seconds: number,
): Promise<Measurement> {
  switch (run) {
    case 'tcp1':
      return measureTcp1(lab, path, seconds);
    case 'tcp4': {
      const { gbitPerSecond } = await tcp(lab, { seconds, streams: 4 });
      return { values: new Map([['tcp4', positive(gbitPerSecond, 'bits')]]) };
    }
    case 'udp64': {
      const { packetsPerSecond } = await udpFlood(lab, { seconds, bytes: 64 });
      return { values: new Map([['udp64', positive(packetsPerSecond, 'datagrams') / 1000]]) };
    }
    case 'rtt-idle':
      return measureIdleRoundTrip(lab, seconds);
    case 'rtt-load': {
      const result = await pingBesideTcp(lab, seconds);
      return { values: new Map([['rtt-load-p99', result.p99Millis]]), ...lossRemark(result) };
    }
  }
}

async function measureTcp1(lab: Lab, path: OverlayPath, seconds: number): Promise<Measurement> {
  const pids = path.pids();
  const before = cpuSeconds(pids);
  const { gbitPerSecond, bytes } = await tcp(lab, { seconds });
  const spent = cpuSeconds(pids) - before;
  const values = new Map<LoadName, number>([['tcp1', positive(gbitPerSecond, 'bits')]]);
  if (pids.length > 0) values.set('cpu-per-gib', spent / (bytes / GIBIBYTE));
  return { values };
}

async function measureIdleRoundTrip(lab: Lab, seconds: number): Promise<Measurement> {
  const count = Math.round(seconds / PING_INTERVAL_SECONDS);
  const result = answered(await ping(lab, { count, intervalSeconds: PING_INTERVAL_SECONDS }));
  return {
    values: new Map([
      ['rtt-idle-p50', result.p50Millis],
      ['rtt-idle-p99', result.p99Millis],
    ]),
    ...lossRemark(result),
  };
}

/** Pings only while the TCP stream runs: pings before or after it would find an idle path. */
async function pingBesideTcp(lab: Lab, seconds: number): Promise<PingResult> {
  let pinging: Promise<PingResult> | undefined;
  await tcp(lab, {
    seconds,
    progressPerSecond: 20,
    onProgress: ({ elapsedSeconds, perSecond }) => {
      if (perSecond < UNDER_WAY_BITS_PER_SECOND) return;
      pinging ??= pingFor(lab, Math.max(seconds - elapsedSeconds - PING_MARGIN_SECONDS, 0.1));
      pinging.catch(() => {}); // reported below, once TCP has ended
    },
  });
  if (pinging === undefined) throw new Error('the TCP stream beside the pings did not get under way');
  return answered(await pinging);
}

/** Pings for a time and not a count: under load ping may not keep up with its own interval. */
async function pingFor(lab: Lab, seconds: number): Promise<PingResult> {
  const args = ['-n', '-i', String(PING_INTERVAL_SECONDS), '-s', '56', lab.pod(1).address];
  const child = lab.pod(0).spawn('ping', args);
  const timer = setTimeout(() => child.kill('SIGINT'), seconds * 1000); // ping answers it with its summary
  try {
    const { stdout } = await child.result(seconds + 10);
    return parsePing(stdout);
  } finally {
    clearTimeout(timer);
  }
}

function answered(result: PingResult): PingResult {
  if (Number.isNaN(result.p99Millis)) throw new Error(`none of ${result.sent} pings was answered`);
  return result;
}

function positive(value: TcpResult['gbitPerSecond'], what: string): number {
  if (!(value > 0)) throw new Error(`no ${what} came through`);
  return value;
}

function lossRemark({ lost, sent }: PingResult): { remark?: string } {
  const percent = (100 * lost) / sent;
  return percent < 1 ? {} : { remark: `${percent.toFixed(0)} % of the pings were lost` };
}
