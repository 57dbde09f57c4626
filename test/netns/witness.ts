/**
 * Packets as programs see them that share no code with us: dumpcap records them and tshark reads them. tcpdump would give up
 * root's privileges before it records, which root of a user namespace may not.
 */

import { join } from 'node:path';

import { tail, type Child } from './child.js';
import type { Lab } from './lab.js';
import type { Namespace } from './namespace.js';
import { until } from './until.js';

let witnesses = 0;

/** Without these tshark does not look at the checksum of an IPv4 header. */
const CHECKED = ['-o', 'ip.check_checksum:TRUE'];

/** Values of each field that was asked for, outermost packet first: an ICMP error has its quotation's behind its own. */
export type Seen<Field extends string> = Readonly<Record<Field, readonly string[]>>;

/** What passes an interface from now on. Needs the package `tshark`, which brings dumpcap. */
export class Witness {
  readonly #where: Namespace;
  readonly #child: Child;
  readonly #file: string;

  private constructor(where: Namespace, child: Child, file: string) {
    this.#where = where;
    this.#child = child;
    this.#file = file;
  }

  /** @param filter in the language of tcpdump, of outer headers alone: what is recorded at all */
  static async start(lab: Lab, where: Namespace, device: string, filter = ''): Promise<Witness> {
    const file = join(lab.directory, `${where.label}-${device}-${++witnesses}.pcap`);
    const args = ['-q', '-P', '-i', device, '-w', file];
    const child = where.spawn('dumpcap', filter === '' ? args : [...args, '-f', filter]);
    await until(`${child.title} to listen`, () => {
      if (!child.running) throw new Error(`${child.title}: ended\n${tail(child.stderr)}`);
      return child.stderr.includes('File: '); // it is said when both ends are open
    });
    return new Witness(where, child, file);
  }

  /**
   * Waits until so many packets match, and tells of all that do.
   *
   * @param filter in the language of tshark
   * @param fields tshark's names; of one that a packet does not have there is no value
   */
  async seen<Field extends string>(
    filter: string,
    least: number,
    ...fields: readonly Field[]
  ): Promise<Seen<Field>[]> {
    const args = ['-T', 'fields', ...fields.flatMap((field) => ['-e', field])];
    const lines = await this.#untilLines(filter, least, args);
    return lines.map((line) => {
      const values = line.split('\t');
      const pairs = fields.map((field, i) => [
        field,
        (values[i] ?? '').split(',').filter((each) => each !== ''),
      ]);
      return Object.fromEntries(pairs) as Record<Field, string[]>;
    });
  }

  /** The same, but whole packets as they are on the wire. */
  async bytes(filter: string, least: number): Promise<Uint8Array[]> {
    return await until(`${least} packets like ${filter}`, async () => {
      const stdout = await this.#read(filter, ['-T', 'jsonraw']);
      const packets = stdout.trim() === '' ? [] : (JSON.parse(stdout) as RawPacket[]);
      const raw = packets.map(
        ({ _source }) => new Uint8Array(Buffer.from(_source.layers.frame_raw[0], 'hex')),
      );
      return raw.length >= least && raw;
    });
  }

  async close(): Promise<void> {
    await this.#child.terminate();
  }

  async #untilLines(filter: string, least: number, args: readonly string[]): Promise<string[]> {
    return await until(`${least} packets like ${filter}`, async () => {
      const lines = (await this.#read(filter, args)).split('\n').filter((line) => line !== '');
      return lines.length >= least && lines;
    });
  }

  /** The last packet of a file that is still written may be cut: tshark says so by its exit code, and reads the others. */
  async #read(filter: string, args: readonly string[]): Promise<string> {
    const all = ['-r', this.#file, '-n', ...CHECKED, '-Y', filter, ...args];
    const { stdout, stderr } = await this.#where.exec('tshark', all, { mayFail: true });
    if (stderr.includes('not a field') || stderr.includes('Some fields')) throw new Error(tail(stderr));
    return stdout;
  }
}

interface RawPacket {
  readonly _source: { readonly layers: { readonly frame_raw: readonly [string] } };
}
