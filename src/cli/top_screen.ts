/** Alternate screen, cursor hidden; and back (xterm control sequences, which all terminals of today know). */
const ENTER = '\x1b[?1049h\x1b[?25l';
const LEAVE = '\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H';
const ERASE_TO_LINE_END = '\x1b[K';
const ERASE_BELOW = '\x1b[J';
const CTRL_C = '\x03';
const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** Of a terminal that does not tell its size. */
const DEFAULT_COLUMNS = 80;
const DEFAULT_ROWS = 24;

export interface TopScreenListener {
  /** q, Ctrl-C, a signal, or the terminal is gone. */
  onQuit(): void;
  onKey(key: string): void;
  onResize(): void;
}

/**
 * The terminal while `selvage top` has it. {@link TopScreen.close} gives it back as it was; should the process end
 * otherwise, leaving it does.
 */
export class TopScreen {
  readonly #listener: TopScreenListener;
  readonly #onData = (data: Buffer | string): void => this.#take(String(data));
  readonly #onResize = (): void => this.#listener.onResize();
  readonly #onStop = (): void => this.#listener.onQuit();
  readonly #onExit = (): void => this.close();
  #open = true;

  constructor(listener: TopScreenListener) {
    this.#listener = listener;
    process.stdout.write(ENTER);
    process.stdout.on('resize', this.#onResize).on('error', this.#onStop);
    if (process.stdin.isTTY) {
      process.stdin.setRawMode(true);
      process.stdin.on('data', this.#onData).on('end', this.#onStop).on('error', this.#onStop).resume();
    }
    for (const signal of STOP_SIGNALS) process.on(signal, this.#onStop);
    process.on('exit', this.#onExit);
  }

  get columns(): number {
    return process.stdout.columns || DEFAULT_COLUMNS;
  }

  get rows(): number {
    return process.stdout.rows || DEFAULT_ROWS;
  }

  /** Replaces the picture; without erasing it first, so that it does not flicker. */
  show(lines: readonly string[]): void {
    if (!this.#open) return;
    const text = lines.map((line) => `${line}${ERASE_TO_LINE_END}`).join('\r\n');
    process.stdout.write(`${HOME}${text}${ERASE_BELOW}`);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    process.stdout.off('resize', this.#onResize).off('error', this.#onStop);
    if (process.stdin.isTTY) {
      process.stdin.off('data', this.#onData).off('end', this.#onStop).off('error', this.#onStop);
      process.stdin.setRawMode(false);
      process.stdin.pause();
    }
    for (const signal of STOP_SIGNALS) process.off(signal, this.#onStop);
    process.off('exit', this.#onExit);
    process.stdout.write(LEAVE);
  }

  /** Several keys may come at once. */
  #take(keys: string): void {
    for (const key of keys) {
      if (key === 'q' || key === CTRL_C) return this.#listener.onQuit();
      this.#listener.onKey(key);
    }
  }
}
