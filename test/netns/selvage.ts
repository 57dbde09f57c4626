import { writeFileSync, existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import type { ForwarderStats } from '../../src/index.js';
import { tail, type Child, type ExitStatus } from './child.js';
import type { Lab } from './lab.js';

/** The daemon's entry point beside this file in the build output. */
export const SELVAGE_MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

/** Content of a `--routes` file. */
export interface RoutesDocument {
  readonly network: string;
  readonly subnet: string;
  readonly peers: readonly { readonly subnet: string; readonly publicIp: string; readonly port?: number }[];
}

export interface SelvageOptions {
  /** More arguments of `selvage run`. */
  readonly extraArgs?: readonly string[];
  /** Instead of one route to every other host. */
  readonly routes?: RoutesDocument;
  /** Added to the daemon's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Arguments of node itself, before the program. */
  readonly nodeArgs?: readonly string[];
}

/** A line of the daemon's log. */
export interface LogLine {
  readonly msg: string;
  readonly level?: number | string;
  readonly [key: string]: unknown;
}

/** Node and its workers start slowly on a busy machine. */
const READY_SECONDS = 30;
const STATS_SECONDS = 5;

/** A running `selvage run`, its log and its routes file. */
export class SelvageDaemon {
  readonly child: Child;
  /** The file given as `--routes`. */
  readonly routesFile: string;
  /** All log lines that are JSON, oldest first. */
  readonly log: LogLine[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(child: Child, routesFile: string) {
    this.child = child;
    this.routesFile = routesFile;
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
export function routesOf(lab: Lab, index: number): RoutesDocument {
  const host = lab.host(index);
  const peers = lab.othersOf(host).map(({ subnet, publicIp }) => ({ subnet, publicIp }));
  return { network: lab.network, subnet: host.subnet, peers };
}

/** See {@link Lab.startSelvage}. */
export async function startSelvage(lab: Lab, index: number, options: SelvageOptions): Promise<SelvageDaemon> {
  if (!existsSync(SELVAGE_MAIN)) throw new Error(`${SELVAGE_MAIN} is missing: run npm install`);
  const host = lab.host(index);
  const routesFile = join(lab.directory, `routes-${host.label}.json`);
  writeRoutes(routesFile, options.routes ?? routesOf(lab, index));
  const run = ['run', '--routes', routesFile, '--iface', host.underlay, '--log-format', 'json'];
  const args = [...(options.nodeArgs ?? []), SELVAGE_MAIN, ...run, ...(options.extraArgs ?? [])];
  const child = host.spawn(process.execPath, args, options.env === undefined ? {} : { env: options.env });
  const daemon = new SelvageDaemon(child, routesFile);
  try {
    await daemon.logged(({ msg }) => msg === 'ready', READY_SECONDS);
  } catch (error) {
    await daemon.stop(0);
    throw error;
  }
  return daemon;
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
