/** What a sender is told of its path, and what a path carries. */

import type { Test } from 'tap';

import { tail, type Child } from './child.js';
import type { End, Namespace } from './namespace.js';
import type { SelvageDaemon } from './selvage.js';
import { until } from './until.js';

/** More than a limit may be away from what really passes, see path_probe.ts. */
const CLOSE_BYTES = 8;

/** Bytes of IP and ICMP headers before a ping's payload. */
function pingHeaders(to: End): number {
  return to.address.includes(':') ? 48 : 28;
}

export interface PingKind {
  /** `do`: is never cut (DF). `dont`: may be, by everyone on the way. */
  readonly cutting: 'do' | 'dont';
  /** 1 without it. */
  readonly count?: number;
}

/** Pings with packets of a whole size, and gives all that ping prints. */
export async function pingOf(from: Namespace, to: End, packetBytes: number, kind: PingKind): Promise<string> {
  const { cutting, count = 1 } = kind;
  const size = String(packetBytes - pingHeaders(to));
  const args = ['-n', '-M', cutting, '-c', String(count), '-i', '0.2', '-W', '2', '-s', size, to.address];
  const { stdout, stderr } = await from.exec('ping', args, { mayFail: true });
  return stdout + stderr;
}

/** Whether packets of a whole size come back, all of them. */
export async function passes(
  from: Namespace,
  to: End,
  packetBytes: number,
  kind: PingKind,
): Promise<boolean> {
  const said = await pingOf(from, to, packetBytes, kind);
  return said.includes(` ${kind.count ?? 1} received`);
}

/** Pings with don't-fragment until somebody says what the path takes, and gives that. */
export async function toldMtu(from: Namespace, to: End, packetBytes: number): Promise<number> {
  return await until(`${from.label} to be told the MTU to ${to.address}`, async () => {
    const said = await pingOf(from, to, packetBytes, { cutting: 'do' });
    const mtu = /mtu ?[=:] ?(\d+)/i.exec(said)?.[1];
    return mtu !== undefined && Number(mtu);
  });
}

/** Most bytes of an inner frame that a daemon sends to a peer; null where that is as much as to all. */
export async function pathMtuTo(daemon: SelvageDaemon, address: string): Promise<number | null> {
  const { forwarder } = await daemon.status();
  const peer = forwarder?.peers.find((each) => each.address === address);
  if (peer === undefined) throw new Error(`${address} is no peer`);
  return peer.pathMtuBytes;
}

/** Asserts that a limit is what passes, or so much less that it is not worth another probe. */
export function isClose(t: Test, limit: number | null, passesBytes: number, rule: string): void {
  const isSo = limit !== null && limit <= passesBytes && limit > passesBytes - CLOSE_BYTES - 1;
  t.ok(isSo, `${rule}: ${limit} of ${passesBytes}`);
}

/** Headers of IP packets that pass an interface, a line each, as tcpdump says them. */
export class HeaderWatch {
  readonly #child: Child;

  private constructor(child: Child) {
    this.#child = child;
  }

  /** @param filter in the language of tcpdump */
  static async start(where: Namespace, device: string, filter: string): Promise<HeaderWatch> {
    const args = ['-i', device, '-n', '-v', '-l', '--immediate-mode', '-Q', 'in', filter];
    const child = where.spawn('tcpdump', args);
    await until(`${child.title} to listen`, () => {
      if (!child.running) throw new Error(`${child.title}: ended\n${tail(child.stderr)}`);
      return child.stderr.includes('listening');
    });
    return new HeaderWatch(child);
  }

  get lines(): readonly string[] {
    return this.#child.stdout.split('\n').filter((line) => /\bIP6? /.test(line));
  }

  /** Those that are pieces of a larger packet. */
  get fragments(): readonly string[] {
    return this.lines.filter((line) => /flags \[\+|offset [1-9]|next-header Fragment/.test(line));
  }

  /** Waits until it has seen as many packets. */
  async seen(count: number): Promise<void> {
    await until(`${count} packets`, () => this.lines.length >= count);
  }

  async stop(): Promise<void> {
    await this.#child.terminate();
  }
}
