import { spawn, type ChildProcess } from 'node:child_process';
import { constants } from 'node:os';

/** How a process ended. */
export interface ExitStatus {
  /** Exit code; 128 + the signal's number when a signal ended it, as shells report it; 127 when it could not start. */
  readonly code: number;
  readonly signal: NodeJS.Signals | null;
}

/** What a command printed, and how it ended. */
export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number;
}

export interface ChildOptions {
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Written to the child's standard input, which is then closed; without it the child reads /dev/null. */
  readonly input?: string;
}

/** Characters kept of each output stream; past that the oldest go. Ten thousand lines of ping are 0.7 million. */
const OUTPUT_LIMIT = 16 * 1024 * 1024;
/** Directories that hold `ip`, `ethtool` and daemons, missing from the PATH of ordinary users on Debian. */
const SYSTEM_PATH = '/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin';

/** `PATH` with the directories of system administration behind it. */
export function searchPath(): string {
  return process.env.PATH === undefined ? SYSTEM_PATH : `${process.env.PATH}:${SYSTEM_PATH}`;
}

/**
 * One process, its output and its end.
 *
 * It runs in a session of its own, so that Ctrl-C on the terminal reaches only this process, which then ends its
 * children in its own order. The kernel kills it when this process dies in any other way (PR_SET_PDEATHSIG).
 */
export class Child {
  readonly pid: number;
  /** The command as a person would type it, for messages. */
  readonly title: string;
  /** Resolves when the process has ended and its output has been read; never rejects. */
  readonly exited: Promise<ExitStatus>;
  #running = true;
  readonly #process: ChildProcess;
  readonly #output = { stdout: '', stderr: '' };
  readonly #lineListeners: ((line: string, stream: 'stdout' | 'stderr') => void)[] = [];
  readonly #partialLine = { stdout: '', stderr: '' };

  /** @param argv the program, found through {@link searchPath}, and its arguments */
  constructor(argv: readonly string[], options: ChildOptions = {}, title = argv.join(' ')) {
    this.title = title;
    // setpriv and the programs behind it replace themselves by exec, so the pid stays that of the last one.
    this.#process = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...argv], {
      cwd: options.cwd,
      detached: true,
      env: { ...process.env, PATH: searchPath(), LC_ALL: 'C', ...options.env },
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    this.pid = this.#process.pid ?? -1;
    this.exited = this.#watchExit();
    this.#watchOutput('stdout');
    this.#watchOutput('stderr');
    if (options.input !== undefined) {
      this.#process.stdin?.on('error', () => {}); // EPIPE: the exit code and the output say why it stopped reading
      this.#process.stdin?.end(options.input);
    }
  }

  get running(): boolean {
    return this.#running;
  }

  /** Standard output so far, at most its last 16 million characters. */
  get stdout(): string {
    return this.#output.stdout;
  }

  /** Standard error so far, at most its last 16 million characters. */
  get stderr(): string {
    return this.#output.stderr;
  }

  /** Calls `listener` with each whole line printed from now on. */
  onLine(listener: (line: string, stream: 'stdout' | 'stderr') => void): void {
    this.#lineListeners.push(listener);
  }

  /** Sends `signal` to the process if it still runs. */
  kill(signal: NodeJS.Signals): void {
    if (this.#running) this.#process.kill(signal);
  }

  /**
   * Ends the process: SIGTERM, and SIGKILL to it and what it started when it is still there after the grace.
   *
   * @param graceSeconds 0 kills at once
   */
  async terminate(graceSeconds = 2): Promise<ExitStatus> {
    this.kill('SIGTERM');
    const timer = setTimeout(() => this.killNow(), graceSeconds * 1000);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
    }
  }

  /** SIGKILL to the process and what it started; does not wait. Safe in a process 'exit' listener. */
  killNow(): void {
    if (this.#running && this.pid >= 0) this.#killGroup();
  }

  /** Waits for the end, at most `seconds`; the process is killed then and the promise rejects. */
  async result(seconds: number): Promise<CommandResult> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.killNow();
    }, seconds * 1000);
    const { code } = await this.exited;
    clearTimeout(timer);
    if (late)
      throw new Error(`${this.title}: still running after ${seconds} s, killed\n${tail(this.stderr)}`);
    return { stdout: this.stdout, stderr: this.stderr, code };
  }

  #killGroup(): void {
    try {
      process.kill(-this.pid, 'SIGKILL'); // it leads a group of its own, see `detached`
    } catch {
      // ESRCH: nobody is left
    }
  }

  #watchExit(): Promise<ExitStatus> {
    return new Promise((resolve) => {
      this.#process.once('error', (error) => {
        if (this.pid >= 0) return; // a signal that could not be sent; the end is still to come
        this.#running = false;
        this.#output.stderr += `${error.message} (setpriv is in the Debian package util-linux)\n`;
        resolve({ code: 127, signal: null });
      });
      this.#process.once('exit', () => {
        this.#running = false;
        this.#killGroup(); // what it left behind would hold its output, and a namespace, open
      });
      this.#process.once('close', (code, signal) => {
        resolve({ code: code ?? 128 + (signal === null ? 0 : constants.signals[signal]), signal });
      });
    });
  }

  #watchOutput(stream: 'stdout' | 'stderr'): void {
    this.#process[stream]?.setEncoding('utf8').on('data', (text: string) => {
      const all = this.#output[stream] + text;
      this.#output[stream] = all.length > OUTPUT_LIMIT ? all.slice(-OUTPUT_LIMIT / 2) : all;
      const lines = (this.#partialLine[stream] + text).split('\n');
      this.#partialLine[stream] = lines.pop() ?? '';
      for (const line of lines) for (const listener of this.#lineListeners) listener(line, stream);
    });
  }
}

/** The last `lines` lines of `text`, indented, for an error message. */
export function tail(text: string, lines = 15): string {
  return text
    .trimEnd()
    .split('\n')
    .slice(-lines)
    .map((line) => `    ${line}`)
    .join('\n');
}
