/**
 * sd_notify(3): what a service manager hears, and that it cannot do harm.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import { ServiceManager } from '../../src/host/service_manager.js';
import { native } from '../../src/native.js';
import { until } from '../netns/until.js';

const { errno } = constants;

/** A service manager's end of the socket: prints each datagram as a line of JSON. */
const RECEIVER = `
import json, socket, sys
path = sys.argv[1]
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind('\\0' + path[1:] if path[0] == '@' else path)
print('"listening"', flush=True)
while True:
    print(json.dumps(receiver.recv(65536).decode()), flush=True)
`;

/** Not tap's own directory: the address of a socket has room for 108 bytes. */
function shortDirectory(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'selvage-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  return directory;
}

async function startReceiver(t: Test, path: string): Promise<string[]> {
  const child = spawn('python3', ['-c', RECEIVER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(async () => {
    child.kill('SIGKILL');
    await once(child, 'close');
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const heard: string[] = [];
  child.stdout.on('data', () => {
    const lines = output.split('\n').slice(0, -1);
    heard.splice(0, heard.length, ...lines.map((line) => JSON.parse(line) as string));
  });
  await until('the receiver to listen', () => heard[0] === 'listening');
  return heard;
}

function managerOf(
  t: Test,
  environment: Record<string, string>,
  send?: (path: string, text: string) => number,
): { manager: ServiceManager; warnings: string[] } {
  const warnings: string[] = [];
  const manager = ServiceManager.fromEnvironment(environment, (message) => warnings.push(message), send);
  t.teardown(() => manager.close());
  return { manager, warnings };
}

for (const [kind, pathIn] of [
  ['a name in the file system', (t: Test) => `${shortDirectory(t)}/notify`],
  ['an abstract name', () => `@selvage-test-${process.pid}`],
] as const) {
  t.test(`states reach the socket: ${kind}`, async (t) => {
    const path = pathIn(t);
    const heard = await startReceiver(t, path);
    const { manager, warnings } = managerOf(t, { NOTIFY_SOCKET: path, WATCHDOG_USEC: '60000000' });
    manager.ready('10.5.52.0/24, 3 peers');
    manager.status('etcd is away\nREADY=1');
    manager.startWatchdog(() => true);
    manager.stopping();
    await until('four datagrams', () => heard.length === 5);
    t.strictSame(heard.slice(1), [
      'READY=1\nSTATUS=10.5.52.0/24, 3 peers\n',
      'STATUS=etcd is away READY=1\n',
      'WATCHDOG=1\n',
      'STOPPING=1\n',
    ]);
    t.strictSame(warnings, []);
  });
}

t.test('without a service manager nothing is sent', (t) => {
  for (const environment of [{}, { NOTIFY_SOCKET: '', WATCHDOG_USEC: '1000' }]) {
    const { manager, warnings } = managerOf(t, environment, () => {
      throw new Error('sent');
    });
    manager.ready('x');
    manager.status('x');
    manager.startWatchdog(() => true);
    manager.stopping();
    t.strictSame(warnings, []);
  }
  t.end();
});

t.test('a service manager that is not there is one warning', (t) => {
  const { manager, warnings } = managerOf(t, { NOTIFY_SOCKET: `${shortDirectory(t)}/absent` });
  manager.ready('x');
  manager.stopping();
  t.equal(warnings.length, 1);
  t.match(warnings[0], /NOTIFY_SOCKET .*absent: ENOENT$/);
  t.end();
});

t.test('the watchdog is fed while the daemon is healthy, and only then', async (t) => {
  const sent: string[] = [];
  const environment = { NOTIFY_SOCKET: '/x', WATCHDOG_USEC: '10000', WATCHDOG_PID: String(process.pid) };
  const { manager } = managerOf(t, environment, (_path, text) => sent.push(text));
  let asked = 0;
  let healthy = true;
  manager.startWatchdog(() => {
    asked++;
    return healthy;
  });
  // Its timer does not keep the process alive; this one does.
  await until('some pings', () => sent.length >= 3);
  healthy = false;
  const before = sent.length;
  const askedBefore = asked;
  await until('it to be asked again', () => asked > askedBefore + 3);
  t.equal(sent.length, before, 'none while it is not');
  healthy = true;
  await until('a ping', () => sent.length > before);
  t.ok(sent.every((text) => text === 'WATCHDOG=1\n'));
  manager.close();
  const askedAtEnd = asked;
  await sleep(50);
  t.equal(asked, askedAtEnd, 'none after close');
});

t.test('a watchdog that is not ours is not fed', (t) => {
  const rows: [rule: string, environment: Record<string, string>, fed: boolean][] = [
    ['ours', { WATCHDOG_USEC: '60000000', WATCHDOG_PID: String(process.pid) }, true],
    ['of any process', { WATCHDOG_USEC: '60000000' }, true],
    ['an interval longer than any timer', { WATCHDOG_USEC: '9000000000000000' }, true],
    ["another process's", { WATCHDOG_USEC: '60000000', WATCHDOG_PID: String(process.ppid) }, false],
    ['none', {}, false],
    ['zero', { WATCHDOG_USEC: '0' }, false],
    ['no number', { WATCHDOG_USEC: '1s' }, false],
  ];
  for (const [rule, environment, fed] of rows) {
    const sent: string[] = [];
    const send = (_path: string, text: string): number => sent.push(text);
    const { manager } = managerOf(t, { NOTIFY_SOCKET: '/x', ...environment }, send);
    manager.startWatchdog(() => true);
    manager.startWatchdog(() => true);
    t.equal(sent.length, fed ? 1 : 0, rule);
  }
  t.end();
});

t.test('native says why a text cannot be sent', (t) => {
  const rows: [rule: string, path: string, expected: number][] = [
    ['nobody has the name', `${shortDirectory(t)}/absent`, -errno.ENOENT],
    ['nobody has the abstract name', `@selvage-test-absent-${process.pid}`, -errno.ECONNREFUSED],
    ['no path', '', -errno.EAFNOSUPPORT],
    ['another kind of address', 'vsock:2:1234', -errno.EAFNOSUPPORT],
    ['a name that is too long', `/${'x'.repeat(108)}`, -errno.ENAMETOOLONG],
    ['the longest abstract name', `@${'x'.repeat(107)}`, -errno.ECONNREFUSED],
  ];
  for (const [rule, path, expected] of rows) t.equal(native.notify(path, 'READY=1\n'), expected, rule);
  t.end();
});
