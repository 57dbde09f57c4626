import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';

import t, { type Test } from 'tap';

import { ControlServer } from '../../src/agent/control_server.js';
import { DropReason } from '../../src/encap/drop_reason.js';
import { INBOUND, OUTBOUND } from '../../src/workers/counters.js';
import { until } from '../netns/until.js';
import { readPcapng } from '../reference/pcapng_reader.js';
import { view } from './agent_fixture.js';
import { numbered, type Traced, traced, tracedBurst } from './trace_fixture.js';

const CLI = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

interface Daemon extends Traced {
  readonly directory: string;
  readonly socketPath: string;
}

async function daemon(t: Test): Promise<Daemon> {
  const directory = mkdtempSync(`${tmpdir()}/selvage-test-`);
  t.teardown(() => rmSync(directory, { recursive: true }));
  const socketPath = `${directory}/flannel0.sock`;
  const ends = traced();
  const server = await ControlServer.open({
    view: () => view(),
    socketPath,
    trace: (options, listener) => ends.start(options, listener),
  });
  t.teardown(() => server.close());
  return { ...ends, directory, socketPath };
}

/** A `selvage trace` that runs, and what it printed so far. */
class Command {
  readonly #child: ChildProcess;
  readonly ended: Promise<unknown>;
  #out: Buffer[] = [];
  err = '';

  constructor(t: Test, ...args: string[]) {
    this.#child = spawn(process.execPath, [CLI, 'trace', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.ended = once(this.#child, 'close');
    this.#child.stdout!.on('data', (chunk: Buffer) => this.#out.push(chunk));
    this.#child.stderr!.on('data', (chunk: Buffer) => (this.err += chunk.toString()));
    t.teardown(() => this.#child.kill('SIGKILL'));
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#out);
  }

  get out(): string {
    return this.bytes.toString();
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Its reader goes away. */
  closeOutput(): void {
    this.#child.stdout!.destroy();
  }

  async tracing(): Promise<void> {
    await until('the trace is on', () => this.err.includes('tracing flannel0 (1 lane)'));
  }

  async end(): Promise<number | null> {
    await this.ended;
    return this.#child.exitCode;
  }
}

/** Offers frames 0..count-1. */
function offer({ tracers }: Traced, count: number, fate = 1): void {
  const rows = Array.from({ length: count }, (_, i) => ({ frame: numbered(i), fate }));
  tracers[0]!.record(OUTBOUND, tracedBurst(rows), count, 0, false);
}

t.test('lines go to standard output until a signal; the last line says what was not shown', async (t) => {
  const host = await daemon(t);
  const command = new Command(t, '--socket', host.socketPath, '--rate', '15');
  await command.tracing();
  offer(host, 5, -DropReason.noRoute);
  await until('lines', () => command.out.split('\n').length > 3);
  command.kill('SIGINT');
  t.equal(await command.end(), 0);
  const lines = command.out.trimEnd().split('\n');
  t.equal(lines.length, 3);
  t.match(lines[0], /lane0 out 10\.1\.1\.2:40000 > 10\.1\.2\.2:80 udp 40 DROP noRoute: No route covers/);
  t.match(command.err, /selvage: 3 frames shown, 5 matched .*; not shown: 2 above --rate\n$/);
  await until('the lanes are left alone', () => host.reader.idle);
});

t.test('--count ends it after so many, and --json prints an object a line', async (t) => {
  const host = await daemon(t);
  const command = new Command(t, '--socket', host.socketPath, '--json', '--count', '2', '--direction', 'out');
  await command.tracing();
  offer(host, 7);
  t.equal(await command.end(), 0);
  const records = command.out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
  t.match(records, [
    {
      device: 'flannel0',
      time: '1970-01-01T00:00:00.000Z',
      direction: 'outbound',
      nextHop: { address: '192.0.2.2', port: 8285 },
      head: Buffer.from(numbered(0)).toString('base64'),
    },
    { head: Buffer.from(numbered(1)).toString('base64') },
  ]);
  t.equal(records.length, 2);
  t.match(command.err, /2 frames shown, 7 matched .*; not shown: 5 behind the last one asked for\n$/);
});

t.test('--seconds ends it, also when nothing matches', async (t) => {
  const { socketPath } = await daemon(t);
  const command = new Command(t, '--socket', socketPath, '--seconds', '1');
  t.equal(await command.end(), 0);
  t.equal(command.out, '');
  t.match(command.err, /0 frames shown, 0 matched/);
});

t.test('a capture is complete after Ctrl-C, in a file and on standard output', async (t) => {
  const host = await daemon(t);
  const file = `${host.directory}/trace.pcapng`;
  for (const pcap of [file, '-']) {
    const command = new Command(t, '--socket', host.socketPath, '--pcap', pcap);
    await command.tracing();
    offer(host, 3);
    const long = { frame: new Uint8Array(300).fill(0x45), segments: 4, length: 5000, wireBytes: 1448 };
    host.tracers[0]!.record(INBOUND, tracedBurst([long]), 1, 1500, false);
    const written = (): Buffer =>
      pcap === '-' ? command.bytes : existsSync(file) ? readFileSync(file) : Buffer.alloc(0);
    await until('four packets', () => written().includes('superframe'));
    command.kill('SIGTERM');
    t.equal(await command.end(), 0);
    const { interfaces, packets } = readPcapng(written());
    t.match(interfaces, [{ name: 'flannel0' }]);
    t.equal(packets.length, 4);
    t.match(packets[1], { nanos: 0n, direction: 2, originalBytes: 40, comment: 'lane0, -> 192.0.2.2:8285' });
    t.strictSame(packets[1]!.bytes, Buffer.from(numbered(1)));
    t.match(packets[3], {
      nanos: 1_500_000_000n,
      direction: 1,
      originalBytes: 5000,
      comment: 'lane0, superframe of 4 segments, 1448 bytes each at most, <- 192.0.2.2',
    });
    t.equal(packets[3]!.bytes.length, 120);
    if (pcap === file) t.equal(command.out, '');
    await until('the lanes are left alone', () => host.reader.idle);
  }
});

t.test('when nobody reads its output, it ends', async (t) => {
  const host = await daemon(t);
  const command = new Command(t, '--socket', host.socketPath);
  await command.tracing();
  command.closeOutput();
  offer(host, 3);
  await until('a write fails', () => {
    offer(host, 1);
    return host.reader.idle;
  });
  t.equal(await command.end(), 0);
});

t.test('what keeps it from tracing is one line and an exit code', async (t) => {
  const { directory, socketPath } = await daemon(t);
  const rows: [string[], number, RegExp][] = [
    [['--socket', `${directory}/none.sock`], 1, /no selvage runs there/],
    [
      ['--socket', socketPath, '--pcap', `${directory}/no/such/place`],
      1,
      /--pcap .*\(ENOENT\); choose a file/,
    ],
    [
      ['--socket', socketPath, '--pcap', '/dev/full'],
      1,
      /--pcap \/dev\/full: it cannot be written \(ENOSPC\)/,
    ],
    [['--reason', 'noRute'], 2, /--reason: "noRute" is not a drop reason; did you mean noRoute\?/],
  ];
  for (const [args, code, message] of rows) {
    const command = new Command(t, ...args);
    t.equal(await command.end(), code, args.join(' '));
    t.match(command.err, message);
    t.notMatch(command.err, /\n {4}at /);
  }
});
