import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import t, { type Test } from 'tap';

import type { SelvageError } from '../../src/errors.js';
import { type FileReading, readTextFile, statSignature } from '../../src/lease/file/file_reader.js';
import { FileSource } from '../../src/lease/file/file_source.js';
import type { RouteChange, RouteListener, RouteSnapshot } from '../../src/lease/route_source.js';

/** The bound on waiting for something that must happen; far above what it takes. */
const PATIENCE_MS = 15_000;
/** How long nothing must happen, where nothing should: a poll, a debounce and all retries fit into it. */
const QUIET_MS = 1_000;

/** Keeps what a source says, in order, and lets a test wait for the next of it. */
class Recorder implements RouteListener {
  readonly heard: (RouteSnapshot | SelvageError)[] = [];
  #wake: () => void = () => {};

  onChanges(changes: readonly RouteChange[]): void {
    for (const change of changes) if (change.kind === 'snapshot') this.#keep(change.snapshot);
  }

  onError(error: SelvageError): void {
    this.#keep(error);
  }

  /** The first thing not yet taken. */
  async next(): Promise<RouteSnapshot | SelvageError> {
    const late = AbortSignal.timeout(PATIENCE_MS);
    while (this.heard.length === 0) {
      if (late.aborted) throw new Error(`heard nothing for ${PATIENCE_MS} ms`);
      await Promise.race([new Promise<void>((resolve) => (this.#wake = resolve)), sleep(250)]);
    }
    return this.heard.shift()!;
  }

  /** The next thing, which must be a snapshot: its first peer's subnet. */
  async nextPeer(): Promise<string | undefined> {
    const next = await this.next();
    if (next instanceof Error) throw next;
    return next.peers[0]?.subnet;
  }

  async nextError(): Promise<SelvageError> {
    const next = await this.next();
    if (!(next instanceof Error)) throw new Error(`expected an error, heard ${JSON.stringify(next)}`);
    return next;
  }

  #keep(what: RouteSnapshot | SelvageError): void {
    this.heard.push(what);
    this.#wake();
  }
}

/** Text of a file whose one peer has subnet 10.1.`n`.0/24. Every n gives the same number of bytes for n in 10..99. */
function textFor(n: number): string {
  return JSON.stringify({
    network: '10.1.0.0/16',
    subnet: '10.1.1.0/24',
    peers: [{ subnet: `10.1.${n}.0/24`, publicIp: '192.0.2.2' }],
  });
}

function subnet(n: number): string {
  return `10.1.${n}.0/24`;
}

interface Opened {
  readonly source: FileSource;
  readonly recorder: Recorder;
  readonly first: RouteSnapshot;
}

/**
 * Opens a file that was last written long ago, and waits for the look that follows the opening: what a test does next is
 * then found by an event or the poll, not by that look.
 */
async function openSource(t: Test, path: string): Promise<Opened> {
  utimesSync(path, 1_000_000_000, 1_000_000_000);
  const source = new FileSource(path);
  t.teardown(() => source.close());
  const recorder = new Recorder();
  const first = await source.open(recorder);
  await sleep(100);
  return { source, recorder, first };
}

t.test('open returns the file as it is', async (t) => {
  const path = `${t.testdir({ 'routes.json': textFor(10) })}/routes.json`;
  const { first } = await openSource(t, path);
  t.strictSame(first, { ...(JSON.parse(textFor(10)) as object), underlay: 4 });
});

t.test('every way of editing takes effect', async (t) => {
  const edits: [string, (path: string) => void][] = [
    ['written in place', (path) => writeFileSync(path, textFor(11))],
    [
      'renamed over',
      (path) => {
        writeFileSync(`${path}.new`, textFor(11));
        renameSync(`${path}.new`, path);
      },
    ],
    [
      'removed and made anew',
      (path) => {
        unlinkSync(path);
        writeFileSync(path, textFor(11));
      },
    ],
    [
      'moved away to a backup and made anew',
      (path) => {
        renameSync(path, `${path}~`);
        writeFileSync(path, textFor(11));
      },
    ],
    [
      'truncated, then filled',
      (path) => {
        truncateSync(path, 0);
        appendFileSync(path, textFor(11).slice(0, 20));
        appendFileSync(path, textFor(11).slice(20));
      },
    ],
    [
      'written by another process',
      (path) => execFileSync('sh', ['-c', 'printf %s "$1" > "$2"', 'sh', textFor(11), path]),
    ],
    [
      'written with its old time stamp and size',
      (path) => {
        const { atime, mtime } = statSync(path);
        writeFileSync(path, textFor(11));
        utimesSync(path, atime, mtime);
      },
    ],
  ];
  for (const [name, edit] of edits) {
    await t.test(name, async (t) => {
      const path = `${t.testdir({ 'routes.json': textFor(10) })}/routes.json`;
      const { recorder } = await openSource(t, path);
      edit(path);
      t.equal(await recorder.nextPeer(), subnet(11));
    });
  }
});

t.test('a ConfigMap-style swap of the link above takes effect', async (t) => {
  const root = t.testdir();
  for (const n of [10, 11]) {
    mkdirSync(`${root}/v${n}`);
    writeFileSync(`${root}/v${n}/routes.json`, textFor(n));
  }
  symlinkSync('v10', `${root}/..data`);
  symlinkSync('..data/routes.json', `${root}/routes.json`);
  const { recorder } = await openSource(t, `${root}/routes.json`);
  symlinkSync('v11', `${root}/..data_tmp`);
  renameSync(`${root}/..data_tmp`, `${root}/..data`);
  t.equal(await recorder.nextPeer(), subnet(11));
});

t.test('an edit behind a link to another directory, where no event tells, takes effect', async (t) => {
  const root = t.testdir({ real: { 'file.json': textFor(10) }, etc: {} });
  symlinkSync('../real/file.json', `${root}/etc/routes.json`);
  const { recorder } = await openSource(t, `${root}/etc/routes.json`);
  writeFileSync(`${root}/real/file.json`, textFor(11));
  t.equal(await recorder.nextPeer(), subnet(11));
});

t.test('a directory that is replaced as a whole takes effect', async (t) => {
  const root = t.testdir({ etc: { 'routes.json': textFor(10) }, next: { 'routes.json': textFor(11) } });
  const { recorder } = await openSource(t, `${root}/etc/routes.json`);
  renameSync(`${root}/etc`, `${root}/old`);
  renameSync(`${root}/next`, `${root}/etc`);
  t.equal(await recorder.nextPeer(), subnet(11));
});

t.test('every one of many edits ends in the last state', async (t) => {
  const path = `${t.testdir({ 'routes.json': textFor(10) })}/routes.json`;
  const { recorder } = await openSource(t, path);
  for (let n = 11; n <= 60; n++) {
    writeFileSync(path, textFor(n));
    if (n % 5 === 0) await sleep(7);
  }
  let last = await recorder.nextPeer();
  while (last !== subnet(60)) last = await recorder.nextPeer();
  t.equal(last, subnet(60));
});

t.test('two edits of one size within one tick of the clock are both seen', async (t) => {
  const path = `${t.testdir({ 'routes.json': textFor(10) })}/routes.json`;
  const { recorder } = await openSource(t, path);
  for (let n = 11; n <= 40; n++) {
    writeFileSync(path, textFor(n));
    t.equal(await recorder.nextPeer(), subnet(n)); // the next edit follows at once
  }
});

t.test(
  'the status of a file that was just written is not trusted, as the next write may leave it the same',
  async (t) => {
    const path = `${t.testdir({ 'routes.json': textFor(10) })}/routes.json`;
    const reading = (): Promise<FileReading> => readTextFile(path, 1000, 'ERR_ROUTES_FILE');
    t.equal((await reading()).signature, '');
    await sleep(300);
    t.equal((await reading()).signature, await statSignature(path), 'later it is');
    utimesSync(path, 1, 1);
    t.equal((await reading()).signature, '', 'an old time stamp of the content does not make it old');
  },
);

t.test('content that did not change is not told', async (t) => {
  const path = `${t.testdir({ 'routes.json': textFor(10) })}/routes.json`;
  const { recorder } = await openSource(t, path);
  writeFileSync(path, textFor(10));
  utimesSync(path, 1, 1);
  writeFileSync(`${path}.new`, textFor(10));
  renameSync(`${path}.new`, path);
  await sleep(QUIET_MS);
  t.strictSame(recorder.heard, []);
  writeFileSync(path, textFor(11));
  t.equal(await recorder.nextPeer(), subnet(11), 'and the next change is');
});

t.test('a broken edit is told once per content, and the last good state holds', async (t) => {
  const path = `${t.testdir({ 'routes.json': textFor(10) })}/routes.json`;
  const { recorder } = await openSource(t, path);
  writeFileSync(path, '{"network": 7}');
  const error = await recorder.nextError();
  t.match(error, {
    code: 'ERR_ROUTES_FILE',
    message: `${path}: network: 7 is not an IPv4 prefix like 10.1.0.0/16; `,
  });
  t.match((error as SelvageError & { problems: string[] }).problems, { length: 3 });
  writeFileSync(path, '{"network": 7}');
  utimesSync(path, 1, 1);
  await sleep(QUIET_MS);
  t.strictSame(recorder.heard, [], 'the same content again is not news');
  writeFileSync(path, '{"network": 8}');
  t.match(await recorder.nextError(), { message: /network: 8 is not/ }, 'another one is');
  writeFileSync(path, textFor(10));
  await sleep(QUIET_MS);
  t.strictSame(recorder.heard, [], 'back to the last good content: nothing to change');
  writeFileSync(path, '{"network": 8}');
  t.match(await recorder.nextError(), { message: /network: 8 is not/ }, 'broken anew after that: told again');
  writeFileSync(path, textFor(11));
  t.equal(await recorder.nextPeer(), subnet(11));
});

t.test('a file that is being written is not reported', async (t) => {
  const path = `${t.testdir({ 'routes.json': textFor(10) })}/routes.json`;
  const { recorder } = await openSource(t, path);
  const text = textFor(11);
  writeFileSync(path, '');
  for (let at = 0; at < text.length; at += 20) {
    appendFileSync(path, text.slice(at, at + 20));
    await sleep(30); // seen in between, and not JSON yet
  }
  t.equal(await recorder.nextPeer(), subnet(11), 'the first thing heard is the whole file');
});

t.test('a file that goes away is told once; when it is back, it counts', async (t) => {
  const path = `${t.testdir({ 'routes.json': textFor(10) })}/routes.json`;
  const { recorder } = await openSource(t, path);
  unlinkSync(path);
  t.match(await recorder.nextError(), { code: 'ERR_ROUTES_FILE', message: `${path}: no such file` });
  await sleep(QUIET_MS);
  t.strictSame(recorder.heard, []);
  writeFileSync(path, textFor(11));
  t.equal(await recorder.nextPeer(), subnet(11));
});

t.test('a directory that goes away with the file and comes back counts too', async (t) => {
  const root = t.testdir({ etc: { 'routes.json': textFor(10) } });
  const { recorder } = await openSource(t, `${root}/etc/routes.json`);
  rmSync(`${root}/etc`, { recursive: true });
  t.match(await recorder.nextError(), { message: /no such file/ });
  mkdirSync(`${root}/etc`);
  writeFileSync(`${root}/etc/routes.json`, textFor(11));
  t.equal(await recorder.nextPeer(), subnet(11));
});

t.test('open refuses what cannot be used, and says why', async (t) => {
  const root = t.testdir({ 'mistake.json': '{"network": "10.1.0.0/16"', dir: {} });
  writeFileSync(`${root}/latin1.json`, Buffer.from([0x22, 0xe9, 0x22]));
  execFileSync('mkfifo', [`${root}/fifo`]);
  writeFileSync(`${root}/large.json`, '');
  truncateSync(`${root}/large.json`, 64 * 1024 * 1024 + 1);
  const rows: [string, RegExp][] = [
    ['absent.json', /absent\.json: no such file$/],
    ['none/absent.json', /none\/absent\.json: no such file$/],
    [
      'mistake.json',
      /mistake\.json: not valid JSON at line 1, column 26: the file ends where "," or "}" is expected$/,
    ],
    ['dir', /dir: not a regular file$/],
    ['fifo', /fifo: not a regular file$/],
    ['latin1.json', /latin1\.json: not UTF-8 text$/],
    ['large.json', /large\.json: 67108865 bytes is more than the most allowed, 67108864$/],
  ];
  for (const [name, message] of rows) {
    const source = new FileSource(`${root}/${name}`);
    await t.rejects(source.open(new Recorder()), { code: 'ERR_ROUTES_FILE', message }, name);
    await t.rejects(
      source.open(new Recorder()),
      { message: /the source is closed/ },
      'a source is opened once',
    );
  }
});

t.test('a relative path is watched as well', async (t) => {
  const root = t.testdir({ 'routes.json': textFor(10) });
  const before = process.cwd();
  process.chdir(root);
  t.teardown(() => process.chdir(before));
  const { recorder } = await openSource(t, 'routes.json');
  writeFileSync('routes.json', textFor(11));
  t.equal(await recorder.nextPeer(), subnet(11));
});

t.test('nothing is heard after close, and close may be called again', async (t) => {
  const path = `${t.testdir({ 'routes.json': textFor(10) })}/routes.json`;
  const { source, recorder } = await openSource(t, path);
  writeFileSync(path, textFor(11));
  await source.close();
  await source.close();
  writeFileSync(path, textFor(12));
  await sleep(QUIET_MS);
  t.strictSame(recorder.heard, []);
});

t.test('close while opening ends the opening', async (t) => {
  const path = `${t.testdir({ 'routes.json': textFor(10) })}/routes.json`;
  const source = new FileSource(path);
  const opening = source.open(new Recorder());
  const rejected = t.rejects(opening, { message: /closed while it was opened/ });
  await source.close();
  await rejected;
});
