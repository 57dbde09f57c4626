/**
 * `selvage` as its user meets it: help, mistakes, and what a host may lack.
 *
 * ```text
 *  host1:  selvage run ... ~ u1 192.168.100.1        (host2 is there, and idle)
 * ```
 *
 * Each fault ends in one line on standard error that names the cause and what to do, and leaves nothing behind.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import type { CommandResult } from './child.js';
import { assertOneLine, hasDevice, hasOverlayRoute, openScenario } from './cli_checks.js';
import { SELVAGE_MAIN } from './selvage.js';
import { startToolUntil } from './tool.js';

/** A command that was refused must end; it takes 0.2 s. */
const END_SECONDS = 5;
const PORT = 8285;
/** What a terminal shows without breaking lines. */
const HELP_COLUMNS = 100;
const COMMANDS = [
  'run',
  'status',
  'routes',
  'check',
  'top',
  'trace',
  'lease list',
  'lease show',
  'lease reserve',
  'lease release',
  'firewall show',
  'firewall remove',
];

t.setTimeout(120_000);

t.test('what the command line says', async (t) => {
  const { lab, routesFile } = await openScenario(t);
  const host = lab.host(0);
  const selvage = (args: readonly string[], env: Record<string, string> = {}): Promise<CommandResult> => {
    return host.exec(process.execPath, [SELVAGE_MAIN, ...args], { env, mayFail: true });
  };
  const packageFile = new URL('../../../package.json', import.meta.url);
  const { version } = JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string };

  await t.test('help and version go to standard output with exit code 0', async (t) => {
    const answers = [
      { args: ['--help'], says: /Usage: selvage COMMAND[^]*Exit codes/ },
      { args: ['help'], says: /Usage: selvage COMMAND/ },
      { args: ['run', '--help'], says: /Usage: selvage run[^]*SELVAGE_[^]*--routes FILE[^]*--iface/ },
      { args: ['help', 'run'], says: /Usage: selvage run/ },
      { args: ['lease', '--help'], says: /Usage: selvage lease COMMAND[^]*lease release SUBNET/ },
      { args: ['help', 'firewall'], says: /firewall show/ },
      ...COMMANDS.map((command) => ({
        args: [...command.split(' '), '--help'],
        says: new RegExp(`^Usage: selvage ${command} [^]*Examples:[^]*--help`),
      })),
      { args: ['run', '--version'], says: new RegExp(`^${version.replaceAll('.', '\\.')}\n$`) },
      { args: ['-version'], says: new RegExp(`^${version.replaceAll('.', '\\.')}\n$`) },
      { args: ['--version'], says: new RegExp(`^${version.replaceAll('.', '\\.')}\n$`) },
    ];
    for (const { args, says } of answers) {
      const answer = await selvage(args);
      t.match(answer, { code: 0, stdout: says, stderr: /^$/ }, `selvage ${args.join(' ')}`);
      const wide = answer.stdout.split('\n').filter((line) => line.length > HELP_COLUMNS);
      t.strictSame(wide, [], `selvage ${args.join(' ')}: fits ${HELP_COLUMNS} columns`);
    }
  });

  const run = ['run', '--routes', routesFile, '--iface', 'u1'];
  const mistakes: readonly {
    rule: string;
    args: readonly string[];
    env?: Record<string, string>;
    says: RegExp;
  }[] = [
    { rule: 'no command', args: [], says: /no command/ },
    { rule: 'an unknown command', args: ['fly'], says: /'fly'/ },
    { rule: 'an unknown option', args: [...run, '--frobnicate'], says: /--frobnicate/ },
    { rule: 'an argument that is no option', args: [...run, 'extra'], says: /extra/ },
    { rule: 'an option without its value', args: ['run', '--routes'], says: /--routes/ },
    { rule: 'an option before the command', args: ['-iface', 'u1'], says: /'selvage run -iface'/ },
    { rule: 'half a command', args: ['lease'], says: /'lease' needs a command after it/ },
    { rule: 'a wrong half', args: ['lease', 'lst'], says: /no command 'lease lst'/ },
    { rule: 'an argument that is missing', args: ['lease', 'show'], says: /needs SUBNET\|PUBLIC-IP/ },
    { rule: 'a misspelt option', args: ['run', '-iface-regx', 'u'], says: /did you mean --iface-regex\?/ },
    {
      rule: 'a password with a blank and no quotes',
      args: ['run', '--etcd-username', 'u', '--etcd-password', 'my', 'hunter2'],
      says: /^(?!.*hunter2).*--etcd-password meant to be in quotes/,
    },
    {
      rule: 'a file and etcd',
      args: [...run, '--etcd-prefix', '/x'],
      says: /--routes and --etcd-prefix exclude each other/,
    },
    { rule: 'Kubernetes mode', args: ['run', '-kube-subnet-mgr'], says: /Kubernetes mode is not there yet/ },
    {
      rule: "a bad variable of flanneld's",
      args: run,
      env: { FLANNELD_IP_MASQ: 'maybe' },
      says: /FLANNELD_IP_MASQ: "maybe" is not one of/,
    },
    {
      rule: 'a port that is no number',
      args: [...run, '--port', 'http'],
      says: /--port: "http" is not a whole number from 1 to 65535/,
    },
    { rule: 'a port that is too large', args: [...run, '--port', '65536'], says: /--port: "65536"/ },
    {
      rule: 'no lanes',
      args: [...run, '--lanes', '0'],
      says: /--lanes: "0" is not a whole number from 1 to 64/,
    },
    { rule: 'an MTU that is too small', args: [...run, '--mtu', '67'], says: /--mtu: "67"/ },
    {
      rule: 'an unknown mode',
      args: [...run, '--source-check', 'lax'],
      says: /--source-check: "lax" is not one of strict, peer, off/,
    },
    { rule: 'an unknown level', args: [...run, '--log-level', 'loud'], says: /--log-level: "loud"/ },
    {
      rule: 'a bad environment variable',
      args: run,
      env: { SELVAGE_LANES: 'many' },
      says: /SELVAGE_LANES: "many" is not/,
    },
    {
      rule: 'a bad mode in the environment',
      args: run,
      env: { SELVAGE_SOURCE_CHECK: 'x' },
      says: /SELVAGE_SOURCE_CHECK: "x" is not/,
    },
  ];
  for (const { rule, args, env, says } of mistakes) {
    const result = await selvage(args, env);
    assertOneLine(t, result, 2, says, rule);
    t.match(result.stderr, /selvage --help/, `${rule}: says where to read on`);
  }
  t.notOk(await hasDevice(host, 'flannel0'), 'and no device was made');
});

t.test('what the host lacks', async (t) => {
  const { lab, routesFile } = await openScenario(t);
  const host = lab.host(0);
  const node = [process.execPath, SELVAGE_MAIN];
  const run = [...node, 'run', '--routes', routesFile, '--iface', 'u1'];
  const on = ([command = '', ...args]: readonly string[], env = {}): Promise<CommandResult> => {
    return host.exec(command, args, { mayFail: true, env });
  };

  await t.test('privilege', async (t) => {
    const result = await on(['setpriv', '--bounding-set', '-net_admin', '--inh-caps', '-net_admin', ...run]);
    assertOneLine(t, result, 1, /EPERM.*CAP_NET_ADMIN.*run as root/, 'without CAP_NET_ADMIN');
  });

  await t.test('/dev/net/tun', async (t) => {
    const hidden = ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs tmpfs /dev/net && exec "$@"', 'sh'];
    assertOneLine(t, await on([...hidden, ...run]), 1, /\/dev\/net\/tun: ENOENT.*modprobe tun/, 'missing');
    const empty = [
      'unshare',
      '-m',
      'sh',
      '-c',
      'mount -t tmpfs tmpfs /dev/net && : > /dev/net/tun && exec "$@"',
      'sh',
    ];
    assertOneLine(
      t,
      await on([...empty, ...run]),
      1,
      /\/dev\/net\/tun|TUNSETIFF/,
      'not the device that it should be',
    );
  });

  await t.test('iproute2', async (t) => {
    // The time limit of a command that was never started must not keep the process.
    const result = await host.exec('env', ['PATH=/nonexistent', ...run], {
      mayFail: true,
      timeoutSeconds: END_SECONDS,
    });
    assertOneLine(t, result, 1, /'ip' is not installed: apt-get install iproute2/, 'missing');
  });

  await t.test('the addon', async (t) => {
    assertOneLine(
      t,
      await on(run, { PREBUILDS_ONLY: '1' }),
      1,
      /addon did not load: run 'npm install'/,
      'not built',
    );
  });

  await t.test('the underlay', async (t) => {
    const without = [...node, 'run', '--routes', routesFile];
    assertOneLine(
      t,
      await on(without),
      1,
      /no default route.*--iface.*u1/,
      'no default route and no --iface',
    );
    assertOneLine(
      t,
      await on([...without, '--iface', 'eth9']),
      1,
      /eth9.*there are:.*u1/,
      'no such interface',
    );
    assertOneLine(
      t,
      await on([...without, '--iface', '192.0.2.9']),
      1,
      /192\.0\.2\.9.*192\.168\.100\.1/,
      'no such address',
    );
  });

  await t.test('a free port', async (t) => {
    const holder = await startToolUntil('listening', host, 'udp_sink', host.publicIp, PORT, '/dev/null');
    for (const lanes of ['1', '2']) {
      assertOneLine(
        t,
        await on([...run, '--lanes', lanes]),
        1,
        /192\.168\.100\.1:8285: EADDRINUSE.*another --port/,
        `lanes: ${lanes}`,
      );
    }
    await holder.terminate(0);
  });

  await t.test('a free device name', async (t) => {
    for (const kind of ['tuntap add flannel0 mode tun', 'link add flannel0 type bridge']) {
      await host.ip(kind);
      assertOneLine(
        t,
        await on(run),
        1,
        /flannel0: E[A-Z]+.*a device of that name exists.*ip link delete/,
        `ip ${kind}`,
      );
      t.ok(await hasDevice(host, 'flannel0'), 'the device of the other stays');
      await host.ip('link del flannel0');
    }
  });

  const badFiles: readonly { rule: string; text?: string; says: RegExp }[] = [
    { rule: 'missing', says: /no such file/ },
    { rule: 'not JSON', text: '{ "network": }', says: /not valid JSON at line 1, column 14/ },
    {
      rule: 'a wrong field',
      text: '{ "network": "10.1.0.0/33", "subnet": "10.1.1.0/24", "peers": [] }',
      says: /network: .*10\.1\.0\.0\/33/,
    },
    { rule: 'a missing field', text: '{ "network": "10.1.0.0/16", "peers": [] }', says: /subnet is missing/ },
    {
      rule: 'a subnet outside the network',
      text: '{ "network": "10.1.0.0/16", "subnet": "10.2.1.0/24", "peers": [] }',
      says: /subnet: .*10\.1\.0\.0\/16/,
    },
  ];
  await t.test('a sound routes file', async (t) => {
    for (const { rule, text, says } of badFiles) {
      const file = join(lab.directory, `${rule.replaceAll(' ', '-')}.json`);
      if (text !== undefined) writeFileSync(file, text);
      const result = await on([...node, 'run', '--iface', 'u1', '--routes', file]);
      assertOneLine(t, result, 1, says, rule);
      t.ok(result.stderr.includes(file), `${rule}: names the file`);
    }
    const directory = join(lab.directory, 'directory');
    mkdirSync(directory);
    const result = await on([...node, 'run', '--iface', 'u1', '--routes', directory]);
    assertOneLine(t, result, 1, /not a regular file/, 'a directory');
  });

  t.notOk(await hasDevice(host, 'flannel0'), 'no device was left behind by any of them');
  t.notOk(await hasOverlayRoute(host), 'nor a route');
});
