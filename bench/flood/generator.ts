import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { searchPath } from '../../test/netns/child.js';
import type { Lab } from '../../test/netns/lab.js';
import type { End, Namespace } from '../../test/netns/namespace.js';
import { reportOf } from '../../test/netns/tool.js';
import { until } from '../../test/netns/until.js';

const SOURCE = fileURLToPath(new URL('../../../bench/flood/flood.cc', import.meta.url));
/** UDP payload of each datagram. */
const DATAGRAM_BYTES = 64;

export interface FloodReport {
  /** Datagrams that the sender's kernel took. */
  readonly sent: number;
  readonly seconds: number;
}

/** A flood that runs, until it is told to end or its time is over. */
export interface Flood {
  end(): Promise<FloodReport>;
}

/** The program that floods, compiled for this machine; bound to the last core in every row, so that it costs all the same. */
export class FloodGenerator {
  readonly #program: string;
  readonly #from: Namespace;

  private constructor(program: string, from: Namespace) {
    this.#program = program;
    this.#from = from;
  }

  /** @throws Error with the compiler's output */
  static compile(lab: Lab, from: Namespace): FloodGenerator {
    const program = join(lab.directory, 'flood');
    const args = ['-std=c++20', '-O2', '-Wall', '-Wextra', '-Werror', SOURCE, '-o', program];
    execFileSync('g++', args, { env: { ...process.env, PATH: searchPath() } });
    return new FloodGenerator(program, from);
  }

  /** @param perSecond most datagrams a second, 0 for as many as it can */
  async start(to: End, port: number, seconds: number, perSecond: number): Promise<Flood> {
    const numbers = [port, DATAGRAM_BYTES, seconds, Math.round(perSecond), cpus().length - 1];
    const child = this.#from.spawn(this.#program, [to.address, ...numbers.map(String)]);
    await until('the flood', () => child.stdout.includes('flooding') || !child.running);
    return {
      end: () => {
        child.kill('SIGINT');
        return reportOf<FloodReport>(child);
      },
    };
  }
}
