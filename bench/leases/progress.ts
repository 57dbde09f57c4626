import { timeText } from '../netns/progress.js';

const CLEAR_LINE = '\r\u001b[K';

/** Steps of the bench as they end: on a terminal one line that changes, otherwise a line for each. */
export class StepProgress {
  readonly #steps: number;
  readonly #out: NodeJS.WriteStream;
  readonly #startedAt = performance.now();
  #done = 0;

  constructor(steps: number, out: NodeJS.WriteStream = process.stdout) {
    this.#steps = steps;
    this.#out = out;
  }

  begin(title: string): void {
    if (this.#out.isTTY) this.#out.write(`${CLEAR_LINE}${this.#line(`${title} ...`)}`);
  }

  end(title: string, outcome: string): void {
    this.#done++;
    const line = this.#line(`${title}  ${outcome}`);
    this.#out.write(this.#out.isTTY ? `${CLEAR_LINE}${line}` : `${line}\n`);
  }

  /** Removes the line that changes. */
  close(): void {
    if (this.#out.isTTY) this.#out.write(CLEAR_LINE);
  }

  #line(text: string): string {
    const elapsed = timeText((performance.now() - this.#startedAt) / 1000);
    const done = String(this.#done).padStart(String(this.#steps).length);
    const line = `[${done}/${this.#steps}, ${elapsed}]  ${text}`;
    return this.#out.isTTY ? line.slice(0, this.#out.columns - 1) : line;
  }
}
