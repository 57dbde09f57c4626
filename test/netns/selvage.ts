import { writeFileSync, existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { type AgentStatus, type ForwarderStats, readStatus } from '../../src/index.js';
import { tail, type Child, type ExitStatus } from './child.js';
import type { Lab } from './lab.js';

/** The daemon's entry point beside this file in the build output. */
export const SELVAGE_MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

/** Content of a `--routes` file. A pair of network and subnet for each family that the network carries, one at least. */
export interface RoutesDocument {
  readonly network?: string;
  readonly subnet?: string;
  readonly ipv6Network?: string;
  readonly ipv6Subnet?: string;
  /** A subnet of each family that the peer has. All `publicIp` are of the underlay's family. */
  readonly peers: readonly {
    readonly subnet?: string;
    readonly ipv6Subnet?: string;
    readonly publicIp: string;
    readonly port?: number;
  }[];
}

/** What a network carries: IPv4, IPv6, or both. */
export type Families = '4' | '6' | '46';

/** What goes over what. */
export interface NetworkKind {
  /** What the pods speak; '4' without it. */
  readonly families?: Families;
  /** What the hosts speak to each other; without it IPv4, and IPv6 where the pods speak nothing else. */
  readonly underlay?: 'ipv4' | 'ipv6';
}

export interface SelvageOptions extends NetworkKind {
  /** More arguments of `selvage run`. */
  readonly extraArgs?: readonly string[];
  /** Instead of routes to every other host. */
  readonly routes?: RoutesDocument;
  /** Join the network of this etcd (`http://host:port,...`) instead of reading a routes file. */
  readonly etcd?: string;
  /** With etcd: whether to ask for the subnet that the lab's pods have; true without it. */
  readonly labSubnet?: boolean;
  /** Whether to return without waiting for `ready`. */
  readonly started?: 'ready' | 'spawned';
  /** Added to the daemon's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Arguments of node itself, before the program. */
  readonly nodeArgs?: readonly string[];
  /** A command and its arguments that end by executing what follows them, such as setpriv. */
  readonly under?: readonly string[];
}

/** A line of the daemon's log. */
export interface LogLine {
  readonly msg: string;
  readonly level?: number | string;
  readonly [key: string]: unknown;
}

/** Probes of paths would be frames that no test sent: a test about them asks for them by an argument. */
const QUIET = { SELVAGE_PATH_PROBE_SECONDS: '0' };
/** Node and its workers start slowly on a busy machine. */
const READY_SECONDS = 30;
const STATS_SECONDS = 5;

/** Where one host's daemon keeps its files; the namespaces of a lab share a file system. */
export interface DaemonFiles {
  /** Given as `--routes`, without etcd. */
  readonly routes: string;
  /** `--subnet-file`, with etcd. */
  readonly subnetEnv: string;
  readonly state: string;
  readonly socket: string;
}

/** The files of host `index` (counted from 0) of a lab. */
export function daemonFiles(lab: Lab, index: number): DaemonFiles {
  const path = (name: string): string => join(lab.directory, `${lab.host(index).label}-${name}`);
  return {
    routes: path('routes.json'),
    subnetEnv: path('subnet.env'),
    state: path('state'),
    socket: path('control.sock'),
  };
}

/** A running `selvage run`, its log and its files. */
export class SelvageDaemon {
  readonly child: Child;
  readonly files: DaemonFiles;
  /** All log lines that are JSON, oldest first. */
  readonly log: LogLine[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(child: Child, files: DaemonFiles) {
    this.child = child;
    this.files = files;
    child.onLine((line, stream) => {
      if (stream === 'stderr') this.#take(line);
    });
    void child.exited.then(() => this.#wake());
  }

  get pid(): number {
    return this.child.pid;
  }

  /**
   * Waits for a log line, one already written included.
   *
   * @param from index into `log` of the first line that counts; 0 without it
   * @throws Error with the end of the log when the daemon ends or `seconds` pass without it
   */
  async logged(matches: (line: LogLine) => boolean, seconds: number, from = 0): Promise<LogLine> {
    const deadline = Date.now() + seconds * 1000;
    for (;;) {
      const ended = !this.child.running;
      if (ended) await this.child.exited; // by then the last of its output has been read
      const found = this.log.slice(from).find(matches);
      if (found !== undefined) return found;
      if (ended) throw this.#failure('it ended first');
      if (Date.now() >= deadline) throw this.#failure(`not within ${seconds} s`);
      await this.#change(deadline - Date.now());
    }
  }

  /** Its counters now: SIGUSR2 makes it log them. */
  async stats(): Promise<ForwarderStats> {
    const from = this.log.length;
    this.child.kill('SIGUSR2');
    const line = await this.logged(({ msg }) => msg === 'stats', STATS_SECONDS, from);
    return line['stats'] as ForwarderStats;
  }

  /** What `selvage status --json` says. */
  async status(): Promise<AgentStatus> {
    return await readStatus(this.files.socket);
  }

  /** The file given as `--routes`. */
  get routesFile(): string {
    return this.files.routes;
  }

  /** Replaces the routes file by rename, as editors do. */
  writeRoutes(routes: RoutesDocument): void {
    writeRoutes(this.routesFile, routes);
  }

  /** SIGTERM, and SIGKILL when it has not ended after the grace. */
  stop(graceSeconds = 5): Promise<ExitStatus> {
    return this.child.terminate(graceSeconds);
  }

  #take(line: string): void {
    const parsed = parseLogLine(line);
    if (parsed === null) return;
    this.log.push(parsed);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  #change(millis: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, millis);
      this.#waiting.add(done);
    });
  }

  #failure(why: string): Error {
    return new Error(`${this.child.title}: waiting for a log line: ${why}\n${tail(this.child.stderr)}`);
  }
}

/** The routes of host `index` (counted from 0) to every other host of the lab. */
export function routesOf(lab: Lab, index: number, kind: NetworkKind = {}): RoutesDocument {
  const host = lab.host(index);
  const families = kind.families ?? '4';
  const peers = lab.othersOf(host).map((other) => ({
    ...(families.includes('4') ? { subnet: other.subnet } : {}),
    ...(families.includes('6') ? { ipv6Subnet: other.ipv6Subnet } : {}),
    publicIp: underlayOf(kind) === 'ipv6' ? other.publicIpv6 : other.publicIp,
  }));
  return {
    ...(families.includes('4') ? { network: lab.network, subnet: host.subnet } : {}),
    ...(families.includes('6') ? { ipv6Network: lab.ipv6Network, ipv6Subnet: host.ipv6Subnet } : {}),
    peers,
  };
}

/** What a network config in etcd says of a network, as flannel reads it. */
export function networkConfig(lab: Lab, { families = '4' }: NetworkKind = {}): Record<string, unknown> {
  return {
    ...(families.includes('4') ? { Network: lab.network } : { EnableIPv4: false }),
    ...(families.includes('6') ? { EnableIPv6: true, IPv6Network: lab.ipv6Network, IPv6SubnetLen: 64 } : {}),
  };
}

/** Bytes that selvage puts before a frame. */
export function overheadBytes(kind: NetworkKind = {}): number {
  return underlayOf(kind) === 'ipv6' ? 48 : 28;
}

function underlayOf({ families, underlay }: NetworkKind): 'ipv4' | 'ipv6' {
  return underlay ?? (families === '6' ? 'ipv6' : 'ipv4');
}

/** See {@link Lab.startSelvage}. */
export async function startSelvage(lab: Lab, index: number, options: SelvageOptions): Promise<SelvageDaemon> {
  if (!existsSync(SELVAGE_MAIN)) throw new Error(`${SELVAGE_MAIN} is missing: run npm install`);
  const host = lab.host(index);
  const files = daemonFiles(lab, index);
  const { nodeArgs = [], under = [] } = options;
  const node = [process.execPath, ...nodeArgs, SELVAGE_MAIN, ...runArgs(lab, index, options, files)];
  const [command = '', ...args] = [...under, ...node];
  const child = host.spawn(command, args, { env: { ...QUIET, ...options.env } });
  const daemon = new SelvageDaemon(child, files);
  if (options.started === 'spawned') return daemon;
  try {
    await daemon.logged(({ msg }) => msg === 'ready', READY_SECONDS);
  } catch (error) {
    await daemon.stop(0);
    throw error;
  }
  return daemon;
}

function runArgs(lab: Lab, index: number, options: SelvageOptions, files: DaemonFiles): string[] {
  const common = [
    ...['run', '--iface', lab.host(index).underlay, '--log-format', 'json'],
    ...['--control-socket', files.socket, '--state-dir', files.state],
  ];
  const extra = options.extraArgs ?? [];
  if (options.etcd !== undefined) {
    if (options.labSubnet !== false) rememberSubnet(lab, index, files.subnetEnv, options);
    const underlay = options.underlay === undefined ? [] : ['--underlay-family', options.underlay];
    const etcd = ['--etcd-endpoints', options.etcd, '--subnet-file', files.subnetEnv];
    return [...common, ...etcd, ...underlay, ...extra];
  }
  writeRoutes(files.routes, options.routes ?? routesOf(lab, index, options));
  return [...common, '--routes', files.routes, ...extra];
}

/** Lets the daemon find the lab's subnets as its previous ones, unless it has had some already. */
function rememberSubnet(lab: Lab, index: number, subnetEnv: string, { families = '4' }: NetworkKind): void {
  if (existsSync(subnetEnv)) return;
  const { bridgeIp, bridgeIpv6 } = lab.host(index);
  const ipv4 = `FLANNEL_NETWORK=${lab.network}\nFLANNEL_SUBNET=${bridgeIp}/24\n`;
  const ipv6 = `FLANNEL_IPV6_NETWORK=${lab.ipv6Network}\nFLANNEL_IPV6_SUBNET=${bridgeIpv6}/64\n`;
  writeFileSync(subnetEnv, `${families.includes('4') ? ipv4 : ''}${families.includes('6') ? ipv6 : ''}`);
}

function writeRoutes(path: string, routes: RoutesDocument): void {
  const next = `${path}.next`;
  writeFileSync(next, `${JSON.stringify(routes, null, 2)}\n`);
  renameSync(next, path);
}

function parseLogLine(line: string): LogLine | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && 'msg' in value ? (value as LogLine) : null;
  } catch {
    return null; // not every line on standard error is the log's: Node writes its warnings there too
  }
}
