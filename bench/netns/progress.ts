import type { Step } from './matrix.js';

const CLEAR_LINE = '\r\u001b[K';
/** What a step takes besides its load, in seconds: starting a server, closing connections. */
const OVERHEAD_SECONDS = 0.1;
const TIME_WIDTH = '12 min 34 s'.length;

/**
 * Live progress: on a terminal one line that changes, with what is being measured and the time left; otherwise a line
 * for each figure.
 */
export class Progress {
  readonly #steps: number;
  readonly #rounds: number;
  readonly #secondsOfStep: number;
  readonly #out: NodeJS.WriteStream;
  readonly #startedAt = performance.now();
  #done = 0;
  #current = '';

  /** @param seconds how long the load of a step runs */
  constructor(steps: number, rounds: number, seconds: number, out: NodeJS.WriteStream = process.stdout) {
    this.#steps = steps;
    this.#rounds = rounds;
    this.#secondsOfStep = seconds + OVERHEAD_SECONDS;
    this.#out = out;
  }

  begin({ round, scenario, run, path }: Step): void {
    this.#current = `round ${round}/${this.#rounds}  ${scenario.padEnd(10)}  ${run.padEnd(8)}  ${path.padEnd(7)}`;
    this.#show('...');
  }

  end(outcome: string): void {
    this.#done++;
    if (this.#out.isTTY) this.#show(outcome);
    else this.#out.write(`${this.#line(outcome)}\n`);
  }

  /** Removes the line that changes. */
  close(): void {
    if (this.#out.isTTY) this.#out.write(CLEAR_LINE);
  }

  #show(outcome: string): void {
    if (!this.#out.isTTY) return;
    this.#out.write(`${CLEAR_LINE}${this.#line(outcome).slice(0, this.#out.columns - 1)}`);
  }

  #line(outcome: string): string {
    const done = String(this.#done).padStart(String(this.#steps).length);
    const left = timeText(this.#secondsLeft()).padStart(TIME_WIDTH);
    return `[${done}/${this.#steps}, ${left} left]  ${this.#current}  ${outcome}`;
  }

  #secondsLeft(): number {
    const elapsed = (performance.now() - this.#startedAt) / 1000;
    const perStep = this.#done === 0 ? this.#secondsOfStep : elapsed / this.#done;
    return perStep * (this.#steps - this.#done);
  }
}

/** `2 min 05 s`, or `40 s`. */
export function timeText(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`;
}
