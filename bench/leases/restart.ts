import { existsSync, readdirSync } from 'node:fs';

import type { Child } from '../../test/netns/child.js';
import type { SelvageDaemon } from '../../test/netns/selvage.js';
import { until } from '../../test/netns/until.js';
import type { BenchLab } from './bench_lab.js';
import type { LeaseFigures } from './figures.js';

/** Between two pings. */
const PING_SECONDS = '0.001';
/** So long without an answer, and what comes then is no answer of before. */
const SILENCE_MILLIS = 50;
const READY_SECONDS = 60;

/** Two daemons of a network with so many leases, and a ping a millisecond between their pods. */
export class RestartBench {
  readonly #bench: BenchLab;
  readonly #leases: number;
  readonly #peer: SelvageDaemon;
  readonly #ping: Child;
  #daemon: SelvageDaemon;
  /** On performance.now(). */
  #answeredAt = -Infinity;
  #onAnswer: () => void = () => {};

  private constructor(bench: BenchLab, leases: number, daemons: readonly [SelvageDaemon, SelvageDaemon]) {
    this.#bench = bench;
    this.#leases = leases;
    [this.#daemon, this.#peer] = daemons;
    const { lab } = bench;
    this.#ping = lab.pod(0).spawn('ping', ['-n', '-i', PING_SECONDS, lab.pod(1).address]);
    this.#ping.onLine((line) => {
      if (!line.includes('bytes from')) return;
      this.#answeredAt = performance.now();
      this.#onAnswer();
    });
  }

  /** Waits until pings pass, and the daemon that will be killed has saved its routes. */
  static async open(bench: BenchLab, leases: number): Promise<RestartBench> {
    const daemons = await Promise.all([startDaemon(bench, leases, 0), startDaemon(bench, leases, 1)]);
    const restart = new RestartBench(bench, leases, daemons);
    await restart.#passing();
    const [{ files }] = daemons;
    const saved = (): boolean =>
      existsSync(files.state) && readdirSync(files.state).includes(`bench-${leases}.json`);
    await until('the daemon to save its routes', saved);
    return restart;
  }

  /** Kills one daemon and starts it again. @returns milliseconds from its start to the first ping that came back */
  async measure(figures: LeaseFigures, etcd: 'there' | 'away'): Promise<number> {
    if (etcd === 'away') await this.#bench.etcd.kill();
    this.#daemon.child.kill('SIGKILL');
    await this.#daemon.child.exited;
    await until('pings to fail', () => performance.now() - this.#answeredAt > SILENCE_MILLIS);
    const answered = new Promise<number>((resolve) => {
      this.#onAnswer = () => resolve(this.#answeredAt);
    });
    const startedAt = performance.now();
    this.#daemon = await startDaemon(this.#bench, this.#leases, 0);
    const millis = (await answered) - startedAt;
    if (etcd === 'away') await this.#bench.etcd.restart();
    await until('etcd and the daemon to agree', async () => {
      const { source } = await this.#daemon.status();
      return source.kind === 'store' && source.connection.connected && !source.stale;
    });
    figures.add(this.#leases, etcd === 'there' ? 'restart-etcd' : 'restart-away', millis);
    figures.add(this.#leases, 'node-alone', await this.#nodeAlone());
    return millis;
  }

  async close(): Promise<void> {
    await this.#ping.terminate();
    await Promise.all([this.#daemon.stop(), this.#peer.stop()]);
  }

  /** A program that does nothing, on the same way into the namespace. */
  async #nodeAlone(): Promise<number> {
    const startedAt = performance.now();
    await this.#bench.lab.host(0).exec(process.execPath, ['-e', '0']);
    return performance.now() - startedAt;
  }

  async #passing(): Promise<void> {
    const from = performance.now();
    await until('a ping to pass', () => this.#answeredAt > from);
  }
}

async function startDaemon(bench: BenchLab, leases: number, index: number): Promise<SelvageDaemon> {
  const { endpoint, prefix } = bench.place(leases);
  const daemon = await bench.lab.startSelvage(index, {
    etcd: endpoint,
    extraArgs: ['--etcd-prefix', prefix],
    started: 'spawned',
  });
  await daemon.logged(({ msg }) => msg === 'ready', READY_SECONDS);
  return daemon;
}
