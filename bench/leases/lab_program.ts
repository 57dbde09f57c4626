import { fileURLToPath } from 'node:url';

import { type Child, tail } from '../../test/netns/child.js';
import type { Namespace } from '../../test/netns/namespace.js';
import { until } from '../../test/netns/until.js';

/** On a busy machine everything here takes several times as long; only a fault takes this. */
const PATIENCE_SECONDS = 90;

/** One of the programs beside this file, in a namespace, as this process cannot go there. See `messages.ts`. */
export class LabProgram<M extends { readonly kind: string }> {
  readonly child: Child;
  readonly #told: M[] = [];

  /** @param file name without ending */
  constructor(where: Namespace, file: string, input: unknown) {
    const path = fileURLToPath(new URL(`./${file}.js`, import.meta.url));
    this.child = where.spawn(process.execPath, [path, JSON.stringify(input)]);
    this.child.onLine((line, stream) => {
      if (stream === 'stdout') this.#told.push(JSON.parse(line) as M);
    });
  }

  /** Waits until it has told a message of this kind, and takes it. @throws Error when it ends first */
  async told<K extends M['kind']>(kind: K): Promise<Extract<M, { readonly kind: K }>> {
    const look = (): number => this.#told.findIndex((message) => message.kind === kind);
    const at = await until(
      `${this.child.title} to tell "${kind}"`,
      async () => {
        if (!this.child.running) await this.child.exited; // by then the last of its output has been read
        const found = look();
        if (found < 0 && !this.child.running) {
          throw new Error(`${this.child.title}: ended\n${tail(this.child.stderr)}`);
        }
        return found >= 0 && { found };
      },
      PATIENCE_SECONDS,
    );
    return this.#told.splice(at.found, 1)[0] as Extract<M, { readonly kind: K }>;
  }

  async stop(): Promise<void> {
    await this.child.terminate(10);
  }
}
