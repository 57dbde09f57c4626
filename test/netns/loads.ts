import { readFileSync } from 'node:fs';

import { tail, type Child } from './child.js';
import type { Lab } from './lab.js';
import type { End } from './namespace.js';

/** What a load runs between: from the first pod to the second, by IPv4, without it. */
export interface LoadEnds {
  readonly from?: End;
  readonly to?: End;
}

export interface LoadProgress {
  readonly elapsedSeconds: number;
  /**
   * Rate since the last report. TCP: bits that passed the second pod's `eth0`, headers included. UDP: datagrams that
   * its kernel handed to the receiver.
   */
  readonly perSecond: number;
}

export interface LoadOptions extends LoadEnds {
  /** How long the sender sends; 1 to 3600. */
  readonly seconds: number;
  /** Called about `progressPerSecond` times a second while the load runs. */
  readonly onProgress?: (progress: LoadProgress) => void;
  /** 1 without it. */
  readonly progressPerSecond?: number;
}

export interface TcpOptions extends LoadOptions {
  /** Connections at once; 1 without it. */
  readonly streams?: number;
  /** The second pod sends. */
  readonly reverse?: boolean;
}

export interface TcpResult {
  /** Payload that the receiver got. */
  readonly gbitPerSecond: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly retransmits: number;
}

export interface UdpOptions extends LoadOptions {
  /** UDP payload bytes of each datagram; 64 without it. */
  readonly bytes?: number;
  /** Bits of payload per second to offer; as fast as it can without it. */
  readonly bitsPerSecond?: number;
}

export interface UdpResult {
  /** Datagrams sent minus those the receiver missed, per second. */
  readonly packetsPerSecond: number;
  readonly sent: number;
  readonly lost: number;
  /** lost / sent, 0 to 1. */
  readonly lossRatio: number;
}

export interface PingOptions extends LoadEnds {
  /** Echo requests. */
  readonly count: number;
  /** Between two requests; 0.001 without it. */
  readonly intervalSeconds?: number;
  /** ICMP payload bytes; 56 without it. */
  readonly bytes?: number;
}

export interface PingResult {
  readonly sent: number;
  readonly lost: number;
  /** Round-trip times in milliseconds; NaN when nothing came back. */
  readonly p50Millis: number;
  readonly p99Millis: number;
  readonly avgMillis: number;
}

/** iperf3 may need this much longer than its load to connect, drain and report; then it is killed. */
const GRACE_SECONDS = 10;
const IPERF_PORT = 5201;

/** TCP as fast as it goes. Rejects when iperf3 fails or does not end. */
export async function tcp(lab: Lab, options: TcpOptions): Promise<TcpResult> {
  const args = ['-P', String(options.streams ?? 1), ...(options.reverse === true ? ['-R'] : [])];
  const { end } = await iperf3(lab, args, options);
  return {
    gbitPerSecond: end.sum_received.bits_per_second / 1e9,
    bytes: end.sum_received.bytes,
    seconds: end.sum_received.seconds,
    retransmits: end.sum_sent.retransmits ?? 0,
  };
}

/** UDP datagrams of one size, as fast as the sender can by default. Rejects when iperf3 fails or does not end. */
export async function udpFlood(lab: Lab, options: UdpOptions): Promise<UdpResult> {
  const args = ['-u', '-l', String(options.bytes ?? 64), '-b', String(options.bitsPerSecond ?? 0)];
  const { end } = await iperf3(lab, args, options);
  const { packets, lost_packets: lost, seconds } = end.sum;
  return {
    packetsPerSecond: (packets - lost) / seconds,
    sent: packets,
    lost,
    lossRatio: packets === 0 ? 0 : lost / packets,
  };
}

/** Round-trip times of single pings. Rejects when ping cannot run; lost answers are counted. */
export async function ping(lab: Lab, options: PingOptions): Promise<PingResult> {
  const { count, intervalSeconds = 0.001, bytes = 56 } = options;
  const { from, to } = endsOf(lab, options);
  // No -w: with it ping sends on past `count` until that many were answered, and stops at the first ICMP error.
  const args = ['-n', '-i', String(intervalSeconds), '-c', String(count), '-s', String(bytes), '-W', '2'];
  const { stdout, stderr, code } = await from.exec('ping', [...args, to.address], {
    mayFail: true,
    timeoutSeconds: count * intervalSeconds * 2 + GRACE_SECONDS,
  });
  if (code > 1) throw new Error(`[${from.label}] ping ${to.address}: exit code ${code}\n${tail(stderr)}`); // 1: no answer
  return parsePing(stdout);
}

/** Reads what ping prints per packet: its own summary has no percentiles. */
export function parsePing(output: string): PingResult {
  const times = [...output.matchAll(/ time[=<]([\d.]+) ms(?! \(DUP!\))/g)].map((match) => Number(match[1]));
  const sent = Number(/^(\d+) packets transmitted/m.exec(output)?.[1]);
  if (Number.isNaN(sent)) throw new Error(`no summary in the output of ping:\n${tail(output)}`);
  times.sort((a, b) => a - b);
  const sum = times.reduce((total, time) => total + time, 0);
  return {
    sent,
    lost: sent - times.length,
    p50Millis: percentile(times, 0.5),
    p99Millis: percentile(times, 0.99),
    avgMillis: sum / times.length,
  };
}

/** Nearest-rank percentile of sorted values; NaN of none. */
function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? NaN;
}

/** The part of iperf3's JSON that is read here, iperf 3.12. */
interface IperfReport {
  readonly error?: string;
  readonly end: {
    readonly sum: { readonly packets: number; readonly lost_packets: number; readonly seconds: number };
    readonly sum_sent: { readonly retransmits?: number };
    readonly sum_received: {
      readonly bits_per_second: number;
      readonly bytes: number;
      readonly seconds: number;
    };
  };
}

function endsOf(lab: Lab, { from, to }: LoadEnds): { from: End; to: End } {
  return { from: from ?? lab.pod(0), to: to ?? lab.pod(1) };
}

async function iperf3(lab: Lab, args: readonly string[], options: LoadOptions): Promise<IperfReport> {
  const { from, to } = endsOf(lab, options);
  const server = await startServer(to);
  const stopProgress = reportProgress(server.pid, args, options);
  try {
    const where = ['-c', to.address, '-p', String(IPERF_PORT), '-t', String(options.seconds), '-J'];
    const client = from.spawn('iperf3', [...where, ...args]);
    const { stdout, stderr } = await client.result(options.seconds + GRACE_SECONDS);
    return parseIperf(stdout, `${client.title}\n${tail(stderr)}\n${tail(server.stdout + server.stderr)}`);
  } finally {
    stopProgress();
    await server.terminate(0);
  }
}

function parseIperf(stdout: string, context: string): IperfReport {
  let report: IperfReport;
  try {
    report = JSON.parse(stdout) as IperfReport;
  } catch (error) {
    throw new Error(`iperf3 did not print its report: ${context}`, { cause: error });
  }
  if (report.error !== undefined) throw new Error(`iperf3: ${report.error}: ${context}`);
  return report;
}

/** Starts a server for one load and waits until it listens. */
async function startServer(end: End): Promise<Child> {
  const server = end.spawn('iperf3', [
    '-s',
    '-1',
    '-p',
    String(IPERF_PORT),
    '-B',
    end.address,
    '--forceflush',
  ]);
  const listening = new Promise<boolean>((resolve) => {
    server.onLine((line) => {
      if (line.includes('listening')) resolve(true);
    });
    void server.exited.then(() => resolve(false));
    setTimeout(() => resolve(false), GRACE_SECONDS * 1000).unref();
  });
  if (await listening) return server;
  await server.terminate(0);
  throw new Error(`${server.title}: does not listen\n${tail(server.stdout + server.stderr)}`);
}

/** Reports from the counters of the pod that process `pid` lives in: iperf3's JSON comes only at the end. */
function reportProgress(pid: number, args: readonly string[], options: LoadOptions): () => void {
  const { onProgress, progressPerSecond = 1 } = options;
  if (onProgress === undefined) return () => {};
  const read = (): number => {
    if (args.includes('-u')) return readDatagramsReceived(pid);
    return readInterfaceBytes(pid, args.includes('-R') ? 'sent' : 'received') * 8;
  };
  const started = performance.now();
  let lastTime = started;
  let last = read();
  const timer = setInterval(() => {
    const now = performance.now();
    const total = read();
    if (total < last) return; // the server has just gone
    onProgress({
      elapsedSeconds: (now - started) / 1000,
      perSecond: (total - last) / ((now - lastTime) / 1000),
    });
    [lastTime, last] = [now, total];
  }, 1000 / progressPerSecond);
  return () => clearInterval(timer);
}

/** Bytes that `eth0` has carried in the network namespace of `pid`. @see proc_pid_net(5), dev */
function readInterfaceBytes(pid: number, direction: 'received' | 'sent'): number {
  const fields = /^\s*eth0:(.*)$/m.exec(readProc(pid, 'net/dev'))?.[1]?.trim().split(/\s+/);
  return Number(fields?.[direction === 'received' ? 0 : 8] ?? 0);
}

/** UDP datagrams that sockets in the network namespace of `pid` have taken. @see RFC 4113, udpInDatagrams; both families */
function readDatagramsReceived(pid: number): number {
  const ipv4 = Number(/^Udp: (\d+)/m.exec(readProc(pid, 'net/snmp'))?.[1] ?? 0);
  return ipv4 + Number(/^Udp6InDatagrams\s+(\d+)/m.exec(readProc(pid, 'net/snmp6'))?.[1] ?? 0);
}

function readProc(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return ''; // the process has gone
  }
}
