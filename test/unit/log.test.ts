/**
 * The log and the output of commands when what they are written to fails: `/dev/full` answers ENOSPC to every write
 * (null(4)).
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import t, { type Test } from 'tap';

const LOG = new URL('../../src/cli/log.js', import.meta.url).href;
const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

function program(format: string, lines: string): string[] {
  const text = `import { openLog } from ${JSON.stringify(LOG)};
    const log = openLog({ logLevel: 'info', logFormat: ${JSON.stringify(format)} });
    ${lines}
    setTimeout(() => process.stdout.write('alive'), 50);`;
  return ['--input-type=module', '--eval', text];
}

function openFull(t: Test): number {
  const full = openSync('/dev/full', 'w');
  t.teardown(() => closeSync(full));
  return full;
}

t.test('a log on a full disk does not end the daemon', (t) => {
  for (const format of ['json', 'pretty']) {
    const lines = "for (const line of ['one', 'two', 'three']) log.warn(line);";
    const stdio = ['ignore' as const, 'pipe' as const, openFull(t)];
    const { stdout, status } = spawnSync(process.execPath, program(format, lines), { stdio });
    t.strictSame({ stdout: String(stdout), status }, { stdout: 'alive', status: 0 }, format);
  }
  t.end();
});

t.test('the log for people gives a terminal no orders, whatever a key or a name says', (t) => {
  const lines = 'log.warn({ key: "a\\u001b[2Jb", other: "c\\u009bd" }, "host e\\nf\\u001b[31m");';
  const { stderr } = spawnSync(process.execPath, program('pretty', lines));
  t.match(
    String(stderr),
    /^\S+ WARN {2}host e\\u000af\\u001b\[31m key=a\\u001b\[2Jb other=c\\u009bd\n$/,
    'one line, escaped',
  );
  t.end();
});

t.test(
  'output that nobody reads is no fault, output that cannot be written is one of one line',
  async (t) => {
    const unread = spawn(process.execPath, [MAIN, '--help'], { stdio: ['ignore', 'pipe', 'pipe'] });
    unread.stdout.destroy();
    let stderr = '';
    unread.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
    const [status] = (await once(unread, 'close')) as [number];
    t.strictSame({ stderr, status }, { stderr: '', status: 0 });
    const full = spawnSync(process.execPath, [MAIN, '--help'], { stdio: ['ignore', openFull(t), 'pipe'] });
    t.match(String(full.stderr), /^selvage: standard output cannot be written: ENOSPC[^\n]*\n$/);
    t.equal(full.status, 1);
  },
);
