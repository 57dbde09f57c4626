import type { EchoOutcome } from './facts.js';

/** `warning`: it works, and wants a look. `fault`: something does not work. */
export type Severity = 'ok' | 'warning' | 'fault';

/** One thing that was found. */
export interface Finding {
  /** Stable, so that scripts can match it; listed in docs/check.md. */
  readonly code: string;
  readonly severity: Severity;
  /** `daemon`, `peer 192.0.2.2:8285` or `address 10.1.2.5`. */
  readonly subject: string;
  /** One line. */
  readonly message: string;
  /** What to do, one line; null for what is well. */
  readonly remedy: string | null;
}

/** Makes findings about one subject. */
export class FindingsAbout {
  readonly #subject: string;
  readonly list: Finding[] = [];

  constructor(subject: string) {
    this.#subject = subject;
  }

  ok(code: string, message: string): void {
    this.#add(code, 'ok', message, null);
  }

  warn(code: string, message: string, remedy: string): void {
    this.#add(code, 'warning', message, remedy);
  }

  fault(code: string, message: string, remedy: string): void {
    this.#add(code, 'fault', message, remedy);
  }

  #add(code: string, severity: Severity, message: string, remedy: string | null): void {
    this.list.push({ code, severity, subject: this.#subject, message, remedy });
  }
}

/** What became of an echo, as the end of a sentence. */
export function echoText(outcome: EchoOutcome): string {
  switch (outcome.kind) {
    case 'answered':
      return `answered after ${millisText(outcome.millis)}`;
    case 'silent':
      return 'no answer';
    case 'tooBig':
      return outcome.by === null
        ? 'larger than the interface of this host takes'
        : `${outcome.by} says that ${outcome.mtuBytes === null ? 'less' : `${outcome.mtuBytes} bytes`} would pass`;
    case 'unreachable':
      return `${outcome.by} says: ${outcome.why}`;
    case 'notSent':
      return `this host did not send it: ${outcome.why}`;
  }
}

function millisText(millis: number): string {
  return `${millis < 10 ? millis.toFixed(2) : millis.toFixed(0)} ms`;
}
