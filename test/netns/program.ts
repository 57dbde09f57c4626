import { fileURLToPath } from 'node:url';

import { tail, type Child } from './child.js';
import type { Namespace } from './namespace.js';
import { until } from './until.js';

const SOURCES = fileURLToPath(new URL('../../src/', import.meta.url));

export interface ProgramOptions {
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Lines of JavaScript that run in a namespace, as this process cannot go there: a module with `load(path)`, which imports from
 * `src/`, `tell(value)`, which the test gets, and `input`.
 */
export class Program {
  readonly child: Child;
  /** What was told so far. */
  readonly told: unknown[] = [];

  constructor(where: Namespace, code: string, input: unknown, options: ProgramOptions = {}) {
    const module = `
      const load = (path) => import(${JSON.stringify(`file://${SOURCES}`)} + path);
      const tell = (value) => console.log(JSON.stringify(value));
      const input = ${JSON.stringify(input)};
      ${code}`;
    this.child = where.spawn(process.execPath, ['--input-type=module', '-e', module], options);
    this.child.onLine((line, stream) => {
      if (stream === 'stdout') this.told.push(JSON.parse(line));
    });
  }

  /** Waits until `count` values were told, and gives the last. */
  async telling<T>(count: number): Promise<T> {
    await until(`the program to tell ${count} times`, () => {
      if (!this.child.running && this.told.length < count)
        throw new Error(`it ended\n${tail(this.child.stderr)}`);
      return this.told.length >= count;
    });
    return this.told[count - 1] as T;
  }
}

/** Runs a program to its end, and gives what it told last. */
export async function evaluate<T>(
  where: Namespace,
  code: string,
  input: unknown,
  options: ProgramOptions = {},
): Promise<T> {
  const program = new Program(where, code, input, options);
  const { code: exitCode, stderr } = await program.child.result(30);
  if (exitCode !== 0) throw new Error(`exit code ${exitCode}\n${tail(stderr)}`);
  return program.told.at(-1) as T;
}
