/**
 * `selvage top` in a terminal that `script` (util-linux) makes, and without one.
 */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import type { Child } from './child.js';
import type { Namespace } from './namespace.js';
import { Scenario } from './scenario.js';
import { SELVAGE_MAIN } from './selvage.js';
import { until } from './until.js';

const ENTER = '\x1b[?1049h';
const LEAVE = '\x1b[?1049l';
const SHOW_CURSOR = '\x1b[?25h';

t.setTimeout(120_000);

/** A shell line in a terminal of 24 by 80, and the keyboard: a pipe with a name, as a lab's children have no input of their own. */
class Terminal {
  readonly child: Child;
  readonly #keyboard: number;

  private constructor(child: Child, keyboard: number) {
    this.child = child;
    this.#keyboard = keyboard;
  }

  static async open(t: Test, where: Namespace, line: string): Promise<Terminal> {
    const directory = mkdtempSync(join(tmpdir(), 'selvage-terminal-'));
    const pipe = join(directory, 'keyboard');
    await where.exec('mkfifo', [pipe]);
    const keyboard = openSync(pipe, 'r+'); // of both directions, so that it waits for nobody
    t.teardown(() => {
      closeSync(keyboard);
      rmSync(directory, { recursive: true });
    });
    const command = 'exec script -q -e -f -c "$LINE" /dev/null < "$KEYBOARD"';
    const child = where.spawn('sh', ['-c', command], {
      env: { TERM: 'xterm', SHELL: '/bin/sh', LINE: `stty rows 24 columns 80; ${line}`, KEYBOARD: pipe },
    });
    return new Terminal(child, keyboard);
  }

  type(keys: string): void {
    writeSync(this.#keyboard, keys);
  }

  get shown(): string {
    return this.child.stdout;
  }
}

t.test('rates are shown, and the terminal is given back', async (t) => {
  const scenario = await Scenario.open(t);
  const [daemon] = await scenario.startPair();
  const { lab } = scenario;
  const host = lab.host(0);
  const top = `${process.execPath} ${SELVAGE_MAIN} top --socket ${daemon.files.socket}`;
  const ping = lab.pod(0).spawn('ping', ['-i', '0.1', lab.pod(1).address]);

  await t.test('without a terminal it prints once, over one interval', async (t) => {
    await until('the ping to be answered', () => ping.stdout.includes('bytes from'));
    const { code, stdout } = await host.exec('sh', ['-c', top]);
    t.equal(code, 0);
    t.notMatch(stdout, /\x1b/, 'plain text'); // eslint-disable-line no-control-regex
    t.match(stdout, /^out +[\d.]+ frames\/s +[\d.]+ k?bit\/s$/m);
    t.match(stdout, /^lanes 1 of 1 running$/m);
    t.match(stdout, new RegExp(`^${lab.host(1).publicIp}:8285 +[\\d.]+ k?bit/s`, 'm'));
  });

  await t.test('no daemon is one line', async (t) => {
    const args = [SELVAGE_MAIN, 'top', '--once', '--socket', '/nowhere.sock'];
    const nowhere = await host.exec(process.execPath, args, { mayFail: true });
    t.match(nowhere, { code: 1, stdout: '', stderr: /^selvage: .*no selvage runs there.*\n$/ });
  });

  for (const { how, keys } of [
    { how: 'q', keys: 'q' },
    { how: 'Ctrl-C', keys: '\x03' },
  ]) {
    await t.test(`${how} ends it`, async (t) => {
      // `stty -a` afterwards tells whether the terminal waits for lines and echoes again.
      const terminal = await Terminal.open(t, host, `${top}; echo "exit $?"; stty -a`);
      await until('the picture', () => terminal.shown.includes('peers by rate'));
      terminal.type('s');
      await until('the next order', () => terminal.shown.includes('peers by out'));
      terminal.type(keys);
      const { code, stdout } = await terminal.child.result(20);
      t.equal(code, 0);
      t.ok(stdout.indexOf(ENTER) < stdout.indexOf('health'), 'a screen of its own');
      const after = stdout.slice(stdout.lastIndexOf(`${SHOW_CURSOR}${LEAVE}`));
      t.match(after, /exit 0/, 'the screen of before is back');
      t.match(after, / icanon /);
      t.match(after, / echo /);
    });
  }

  await t.test('a signal ends it, and the terminal is given back', async (t) => {
    const pidFile = join(lab.directory, 'top.pid');
    // exec: so that it is in the foreground, with the pid that the shell tells.
    const line = `sh -c 'echo $$ > ${pidFile}; exec ${top}'; echo "exit $?"; stty -a`;
    const terminal = await Terminal.open(t, host, line);
    await until('the picture', () => terminal.shown.includes('peers by rate'));
    process.kill(Number(readFileSync(pidFile, 'utf8')), 'SIGTERM');
    const { stdout } = await terminal.child.result(20);
    const after = stdout.slice(stdout.lastIndexOf(`${SHOW_CURSOR}${LEAVE}`));
    t.match(after, /exit 0/);
    t.match(after, / icanon /);
  });

  await t.test('a new size of the terminal is followed', async (t) => {
    const sizeFile = join(lab.directory, 'terminal');
    const terminal = await Terminal.open(t, host, `tty > ${sizeFile}; ${top}`);
    await until('the picture', () => terminal.shown.includes('peers by rate'));
    const device = readFileSync(sizeFile, 'utf8').trim();
    await host.exec('stty', ['-F', device, 'rows', '4', 'columns', '20']);
    await until('the small picture', () => {
      const lines = lastPicture(terminal.shown);
      return lines.length === 4 && lines.every((line) => line.length <= 20);
    });
    terminal.type('q');
    t.equal((await terminal.child.result(20)).code, 0);
  });

  ping.kill('SIGINT');
});

/** The lines drawn last, without control sequences. */
function lastPicture(shown: string): string[] {
  const picture = shown.slice(shown.lastIndexOf('\x1b[H'));
  return picture.replace(/\x1b\[[\d?]*[A-Za-z]|\r/g, '').split('\n'); // eslint-disable-line no-control-regex
}
