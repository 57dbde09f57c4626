import { cpSync, lstatSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

import type { Test } from 'tap';

import { Lab, type LabOptions } from './lab.js';
import type { Namespace } from './namespace.js';
import { ensurePackages, LAB_PACKAGES, type PackageName } from './packages.js';
import { ensurePrivileges } from './privileges.js';
import { overheadBytes, type SelvageDaemon, type SelvageOptions } from './selvage.js';
import { until } from './until.js';

export interface ScenarioOptions extends LabOptions {
  /** Debian packages that the test needs beside those of the lab. */
  readonly packages?: readonly PackageName[];
  /**
   * Record every namespace's packets, for a failure. Not for loads: at speed the recording would be most of the work;
   * `NETNS_PCAP=1` in the environment records them all the same.
   */
  readonly record?: boolean;
}

/** Packets kept per namespace, and bytes of each: headers, and the inner headers behind them. */
const RECORDED_PACKETS = 50_000;
const RECORDED_BYTES = 256;

/** What is asked of every namespace after a failure. */
const QUESTIONS = [
  ...[
    'ip -s -s link',
    'ip address',
    'ip -4 route show table all',
    'ip -6 route show table all',
    'ip rule',
    'ip neigh',
  ],
  ...['ss -aunpm', 'nstat -asz', 'nft list ruleset'],
];
/** What a lab's router is made with. */
const ROUTER_PACKAGES: readonly PackageName[] = ['ethtool', 'nftables'];

/** One test's lab, and what is kept of it when the test fails. */
export class Scenario {
  readonly lab: Lab;
  readonly #t: Test;
  readonly #daemons: SelvageDaemon[] = [];

  private constructor(t: Test, lab: Lab) {
    this.#t = t;
    this.lab = lab;
  }

  /** Builds the lab; it goes when the test ends. */
  static async open(t: Test, options: ScenarioOptions = {}): Promise<Scenario> {
    await ensurePrivileges();
    const ofRouter = options.router === true ? ROUTER_PACKAGES : [];
    ensurePackages([...LAB_PACKAGES, 'python3', 'tcpdump', ...ofRouter, ...(options.packages ?? [])]);
    const scenario = new Scenario(t, await Lab.create(options));
    t.teardown(() => scenario.#close());
    if (options.record === true || process.env['NETNS_PCAP'] === '1') await scenario.#record();
    return scenario;
  }

  /** Starts `selvage run` on host `index` (from 0) and waits until it forwards. */
  async start(index: number, options: SelvageOptions = {}): Promise<SelvageDaemon> {
    const daemon = await this.lab.startSelvage(index, options);
    this.#daemons.push(daemon);
    return daemon;
  }

  /** Starts `selvage run` on the first two hosts, and gives the pods the overlay's MTU. */
  async startPair(options: SelvageOptions = {}): Promise<[SelvageDaemon, SelvageDaemon]> {
    const pair = await Promise.all([this.start(0, options), this.start(1, options)]);
    await this.#setOverlayMtu(options);
    return pair;
  }

  /** Starts `selvage run` on every host, and gives the pods the overlay's MTU. */
  async startAll(options: SelvageOptions = {}): Promise<SelvageDaemon[]> {
    const daemons = await Promise.all(this.lab.hosts.map((_, i) => this.start(i, options)));
    await this.#setOverlayMtu(options);
    return daemons;
  }

  /** Stops the daemons that still run. */
  async stopAll(): Promise<void> {
    await Promise.all(this.#daemons.map((daemon) => daemon.stop()));
  }

  async #setOverlayMtu(options: SelvageOptions): Promise<void> {
    await this.lab.setPodMtu(this.lab.underlayMtu - overheadBytes(options));
  }

  async #record(): Promise<void> {
    for (const namespace of this.#namespaces()) {
      const file = join(this.lab.directory, `${namespace.label}.pcap`);
      const limits = ['-s', String(RECORDED_BYTES), '-c', String(RECORDED_PACKETS)];
      const child = namespace.spawn('tcpdump', ['-i', 'any', '-n', '-U', ...limits, '-w', file]);
      await until(`${child.title} to listen`, () => child.stderr.includes('listening') || !child.running);
    }
  }

  async #close(): Promise<void> {
    try {
      if (!this.#t.passing()) await this.#keepEvidence();
    } finally {
      await this.lab.close();
    }
  }

  async #keepEvidence(): Promise<void> {
    const parent = process.env['NETNS_EVIDENCE'] ?? join(tmpdir(), 'selvage-failures');
    mkdirSync(parent, { recursive: true });
    const directory = mkdtempSync(join(parent, `${basename(process.argv[1] ?? 'netns', '.test.js')}-`));
    for (const [i, daemon] of this.#daemons.entries()) {
      if (daemon.child.running) await daemon.stats().catch(() => undefined); // so that the log ends with the counters
      const { title, stdout, stderr } = daemon.child;
      writeFileSync(join(directory, `selvage-${i + 1}.log`), `${title}\n${stdout}${stderr}`);
    }
    for (const namespace of this.#namespaces()) {
      const { stdout } = await namespace.exec(
        'sh',
        ['-c', QUESTIONS.map((each) => `echo "# ${each}"; ${each} 2>&1`).join('; ')],
        {
          mayFail: true,
        },
      );
      writeFileSync(join(directory, `${namespace.label}.txt`), stdout);
    }
    // Control sockets cannot be copied.
    const isKept = (path: string): boolean => !lstatSync(path).isSocket();
    cpSync(this.lab.directory, directory, { recursive: true, filter: isKept });
    this.#t.comment(`logs, counters and what was recorded: ${directory}`);
  }

  #namespaces(): readonly Namespace[] {
    return this.lab.namespaces;
  }
}
