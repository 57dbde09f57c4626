import type { WriteStream } from 'node:tty';

const BAR_CELLS = 24;

/**
 * One step of the demo as it runs: on a terminal a line that is drawn over, elsewhere a line a second.
 */
export class Progress {
  readonly #out: WriteStream;
  readonly #title: string;
  readonly #seconds: number;

  /** @param seconds how long the step lasts */
  constructor(title: string, seconds: number, out: WriteStream = process.stdout) {
    this.#title = title;
    this.#seconds = seconds;
    this.#out = out;
    if (this.#out.isTTY) this.show(0, '');
    else this.#out.write(`  ${title} ...\n`);
  }

  /** Reports a second that {@link show} should be called: often on a terminal, once elsewhere. */
  get perSecond(): number {
    return this.#out.isTTY ? 5 : 1;
  }

  show(elapsedSeconds: number, text: string): void {
    if (this.#out.isTTY) this.#out.write(`\r  ${this.#title} ${this.#bar(elapsedSeconds)} ${text}\x1b[K`);
    else this.#out.write(`    ${elapsedSeconds.toFixed(0)} s  ${text}\n`);
  }

  /** The step is over; `text` is its result. */
  done(text: string): void {
    this.#out.write(this.#out.isTTY ? `\r  ${this.#title} ${text}\x1b[K\n` : `  ${this.#title} ${text}\n`);
  }

  #bar(elapsedSeconds: number): string {
    const filled = Math.min(BAR_CELLS, Math.round((elapsedSeconds / this.#seconds) * BAR_CELLS));
    return `[${'#'.repeat(filled)}${'-'.repeat(BAR_CELLS - filled)}]`;
  }
}
