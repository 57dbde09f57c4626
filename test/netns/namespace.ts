import { Child, tail, type ChildOptions, type CommandResult } from './child.js';

export interface ExecOptions extends ChildOptions {
  /** Seconds after which the command is killed and the call rejects; 20 without it. */
  readonly timeoutSeconds?: number;
  /** Resolve whatever the exit code is; without it a code other than 0 rejects with the command's output. */
  readonly mayFail?: boolean;
}

/**
 * Starts processes and keeps hold of those that run, so that all can be ended.
 */
export class ChildSet {
  readonly #running = new Set<Child>();
  #closed = false;

  /** @throws Error once the set is closed: a lab that goes away takes no new work */
  start(argv: readonly string[], options: ChildOptions, title: string): Child {
    if (this.#closed) throw new Error(`${title}: the lab is closed`);
    const child = new Child(argv, options, title);
    this.#running.add(child);
    void child.exited.then(() => this.#running.delete(child));
    return child;
  }

  /** Ends all and refuses new ones. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#running].map((child) => child.terminate()));
  }

  /** Kills all without waiting. */
  killNow(): void {
    this.#closed = true;
    for (const child of this.#running) child.killNow();
  }
}

/**
 * A network namespace made with `ip netns add`, and what runs in it.
 */
export class Namespace {
  /** As `ip netns list` shows it. */
  readonly name: string;
  /** Short name in drawings and messages, e.g. `host1`. */
  readonly label: string;
  readonly #children: ChildSet;

  constructor(name: string, label: string, children: ChildSet) {
    this.name = name;
    this.label = label;
    this.#children = children;
  }

  /** This namespace as an end of loads and transfers, by one of its addresses of either family. */
  at(address: string): End {
    return new End(this.name, this.label, this.#children, address);
  }

  /** Starts a process here; it ends with the lab at the latest. */
  spawn(command: string, args: readonly string[] = [], options: ChildOptions = {}): Child {
    // nsenter and not `ip netns exec`: the latter mounts /sys anew, which containers often forbid.
    const argv = ['nsenter', `--net=/run/netns/${this.name}`, '--', command, ...args];
    return this.#children.start(argv, options, `[${this.label}] ${[command, ...args].join(' ')}`);
  }

  /**
   * Runs a command here to its end.
   *
   * @throws Error with the command and the end of its output when it fails (see `mayFail`) or takes too long
   */
  async exec(
    command: string,
    args: readonly string[] = [],
    options: ExecOptions = {},
  ): Promise<CommandResult> {
    const child = this.spawn(command, args, options);
    const result = await child.result(options.timeoutSeconds ?? 20);
    if (result.code !== 0 && options.mayFail !== true) {
      throw new Error(`${child.title}: exit code ${result.code}\n${tail(result.stderr || result.stdout)}`);
    }
    return result;
  }

  /** Runs the lines of `batch` here as commands of `ip`; stops at the first that fails. */
  async ip(batch: string): Promise<void> {
    const lines = batch.split('\n').map((line) => line.trim());
    await this.exec('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
  }

  /** Writes sysctls, e.g. `{ 'net/ipv4/ip_forward': 1 }`. */
  async sysctl(values: Readonly<Record<string, number | string>>): Promise<void> {
    const lines = Object.entries(values).map(([key, value]) => `echo '${value}' > /proc/sys/${key}`);
    await this.exec('sh', ['-e'], { input: `${lines.join('\n')}\n` });
  }
}

/** A namespace, and the address in it that a load or a transfer comes from or goes to. */
export class End extends Namespace {
  readonly address: string;

  constructor(name: string, label: string, children: ChildSet, address: string) {
    super(name, label, children);
    this.address = address;
  }
}
