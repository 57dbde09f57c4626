/**
 * `selvage` as its user meets it: help, mistakes, faults of the host, signals.
 *
 * ```text
 *  pod1 --- cni0 - flannel0 ~ selvage run ~ u1 ==== u2 ~ selvage run ~ flannel0 - cni0 --- pod2
 * ```
 *
 * Each fault ends in one line on standard error that names the cause and what to do, and leaves nothing behind.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import t, { type Test } from 'tap';

import type { Child, CommandResult } from './child.js';
import type { LabHost } from './lab.js';
import { ping } from './loads.js';
import { Scenario } from './scenario.js';
import { routesOf, SELVAGE_MAIN, SelvageDaemon } from './selvage.js';
import { startTool, startToolUntil } from './tool.js';
import { until } from './until.js';

/**
 * Bound on a stop. It takes some 50 ms, and the promise is one second; a machine busy with other work may need longer, and
 * a stop that hangs takes for ever.
 */
const STOP_SECONDS = 5;
const PORT = 8285;

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
      {
        args: ['run', '--help'],
        says: /Usage: selvage run[^]*--routes FILE[^]*SELVAGE_ROUTES[^]*Signals:[^]*Exit codes:/,
      },
      { args: ['--version'], says: new RegExp(`^${version.replaceAll('.', '\\.')}\n$`) },
    ];
    for (const { args, says } of answers) {
      t.match(await selvage(args), { code: 0, stdout: says, stderr: /^$/ }, `selvage ${args.join(' ')}`);
    }
  });

  await t.test('run --help names every option and its environment variable', async (t) => {
    const { stdout } = await selvage(['run', '--help']);
    const options = [...stdout.matchAll(/^ {2}--([a-z-]+)/gm)]
      .map((match) => match[1] ?? '')
      .filter((name) => name !== 'help');
    const variables = [...stdout.matchAll(/^ {2}(SELVAGE_[A-Z_]+)/gm)].map((match) => match[1]);
    t.ok(options.length >= 12, `${options.length} options`);
    t.strictSame(
      variables,
      options.map((name) => `SELVAGE_${name.toUpperCase().replaceAll('-', '_')}`),
    );
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
    { rule: 'no routes file', args: ['run'], says: /--routes FILE is required/ },
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
      says: /lanes: "many" is not/i,
    },
    {
      rule: 'a bad mode in the environment',
      args: run,
      env: { SELVAGE_SOURCE_CHECK: 'x' },
      says: /source.check: "x" is not/i,
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
      timeoutSeconds: STOP_SECONDS,
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

t.test('what run sets up, and takes down', async (t) => {
  const { scenario, lab, routesFile } = await openScenario(t);
  const [host1, host2] = [lab.host(0), lab.host(1)];

  await t.test('device, address, MTU and route are as flannel expects', async (t) => {
    const daemon = await scenario.start(0);
    const [link] = JSON.parse(
      (await host1.exec('ip', ['-json', '-4', 'address', 'show', 'dev', 'flannel0'])).stdout,
    ) as [Link];
    t.equal(link.mtu, 1472, 'the MTU is that of the underlay less 28');
    t.match(
      link.addr_info,
      [{ local: '10.1.1.0', prefixlen: 32 }],
      'the address is the first of the subnet, alone',
    );
    t.ok(await hasOverlayRoute(host1), 'the overlay network is routed to it');
    const sockets = (await host1.exec('ss', ['-Hunl'])).stdout;
    t.match(sockets, /192\.168\.100\.1:8285\s/, 'the port is bound on the underlay address');
    t.equal((await daemon.stop()).code, 0);
  });

  await t.test('a second daemon for the same device is refused, and the first goes on', async (t) => {
    const [daemon] = await scenario.startPair();
    const args = [SELVAGE_MAIN, 'run', '--routes', routesFile, '--iface', 'u1', '--port', '8286'];
    const second = await host1.exec(process.execPath, args, { mayFail: true });
    assertOneLine(t, second, 1, /flannel0: EBUSY.*another selvage/, 'same device, another port');
    const { lost } = await ping(lab, { count: 5, intervalSeconds: 0.01 });
    t.equal(lost, 0, 'the first one forwards');
    t.equal((await daemon.stop()).code, 0);
    await scenario.stopAll();
  });

  await t.test('the environment sets options, and the command line wins', async (t) => {
    const env = {
      SELVAGE_ROUTES: routesFile,
      SELVAGE_IFACE: host1.publicIp,
      SELVAGE_PORT: '9999',
      SELVAGE_TUN: 'ov%d',
    };
    const more = {
      SELVAGE_LANES: '2',
      SELVAGE_MTU: '1400',
      SELVAGE_LOG_FORMAT: 'json',
      SELVAGE_NO_OFFLOAD: 'true',
    };
    const child = host1.spawn(process.execPath, [SELVAGE_MAIN, 'run', '--mtu', '1300'], {
      env: { ...env, ...more },
    });
    const daemon = new SelvageDaemon(child, routesFile);
    const ready = await daemon.logged(({ msg }) => msg === 'ready', 30);
    t.match(ready, {
      device: 'ov0',
      listen: '192.168.100.1:9999',
      lanes: 2,
      mtu: 1300,
      offloads: { udpGso: false, tso4: false },
    });
    t.equal((await daemon.stop()).code, 0);
  });

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    for (const lanes of [1, 2]) {
      await t.test(
        `${signal} under load, lanes: ${lanes}: exit code 0, and the device is gone`,
        async (t) => {
          const [daemon] = await scenario.startPair({ extraArgs: ['--lanes', String(lanes)] });
          const load = await endlessLoad(scenario);
          await until('frames both ways', async () => {
            const { inbound, outbound } = await daemon.stats();
            return inbound.framesSent > 1000 && outbound.framesSent > 1000;
          });
          const started = performance.now();
          daemon.child.kill(signal);
          const { code } = await daemon.child.result(20);
          const seconds = (performance.now() - started) / 1000;
          t.equal(code, 0, 'exit code');
          t.notOk(await hasDevice(host1, 'flannel0'), 'the device is gone');
          t.notOk(await hasOverlayRoute(host1), 'its route too');
          t.ok(seconds < STOP_SECONDS, `it took ${seconds.toFixed(2)} s`);
          t.match(daemon.log.at(-2), { msg: 'stopping', signal }, 'the log says why');
          t.match(daemon.log.at(-1), { msg: 'stats' }, 'and ends with the counters');
          await Promise.all(load.map((child) => child.terminate(0)));
          await scenario.stopAll();
        },
      );
    }
  }

  await t.test('SIGTERM at any moment of the start: exit code 0 and no device', async (t) => {
    // 0.25 s is about when it is ready; before its handlers are there, the signal itself is the end.
    for (const millis of [0, 50, 100, 150, 200, 250, 300, 400]) {
      const args = [SELVAGE_MAIN, 'run', '--routes', routesFile, '--iface', 'u1', '--log-format', 'json'];
      const child = host1.spawn(process.execPath, args);
      await sleep(millis);
      child.kill('SIGTERM');
      const { code } = await child.result(20);
      t.ok(code === 0 || (code === 128 + 15 && child.stderr === ''), `after ${millis} ms: exit code ${code}`);
      t.notOk(await hasDevice(host1, 'flannel0'), `after ${millis} ms: no device`);
    }
  });

  await t.test('a second signal at once: it ends, and the device is gone', async (t) => {
    const daemon = await scenario.start(0);
    daemon.child.kill('SIGTERM');
    daemon.child.kill('SIGINT');
    const { code, signal } = await daemon.child.exited;
    t.ok(signal === null && (code === 0 || code === 1), `exit code ${code}`);
    t.notOk(await hasDevice(host1, 'flannel0'));
  });

  await t.test('the device is deleted: exit code 1, and one line says so', async (t) => {
    for (const lanes of ['1', '2']) {
      const daemon = await scenario.start(0, { extraArgs: ['--lanes', lanes] });
      await host1.ip('link del flannel0');
      t.equal((await daemon.child.result(20)).code, 1, `lanes: ${lanes}`);
      const last = plainLines(daemon.child);
      t.equal(last.length, 1, 'one line that is not the log');
      t.match(last[0], /^selvage: .*device was deleted.*start selvage again/);
    }
  });

  await t.test('the underlay goes and comes back: drops are counted, and frames go on', async (t) => {
    const [daemon] = await scenario.startPair();
    await host1.ip('link set u1 down');
    await lab
      .pod(0)
      .exec('ping', ['-n', '-c', '3', '-i', '0.05', '-W', '0.2', lab.pod(1).address], { mayFail: true });
    await until(
      'the drops to be counted',
      async () => (await daemon.stats()).outbound.drops.underlayUnreachable > 0,
    );
    await host1.ip('link set u1 up');
    await until('a ping to return', async () => {
      const { code } = await lab
        .pod(0)
        .exec('ping', ['-n', '-c', '1', '-W', '1', lab.pod(1).address], { mayFail: true });
      return code === 0;
    });
    t.equal(daemon.child.running, true);
    await scenario.stopAll();
  });

  await t.test('counters come by SIGUSR2, and by --stats-interval', async (t) => {
    const daemon = await scenario.start(1, { extraArgs: ['--stats-interval', '1'] });
    t.match(await daemon.stats(), { device: { name: 'flannel0' }, routes: { count: 1 } }, 'SIGUSR2');
    await daemon.logged(({ msg }) => msg === 'stats', 20, daemon.log.length);
    t.notOk(await hasDevice(host2, 'flannel1'));
    await daemon.stop();
  });
});

interface Link {
  readonly mtu: number;
  readonly addr_info: readonly { readonly local: string; readonly prefixlen: number }[];
}

interface Opened {
  readonly scenario: Scenario;
  readonly lab: Scenario['lab'];
  /** A sound file of host1. */
  readonly routesFile: string;
}

async function openScenario(t: Test): Promise<Opened> {
  const scenario = await Scenario.open(t, { record: true });
  const { lab } = scenario;
  const routesFile = join(lab.directory, 'sound.json');
  writeFileSync(routesFile, JSON.stringify(routesOf(lab, 0)));
  return { scenario, lab, routesFile };
}

function assertOneLine(t: Test, result: CommandResult, code: number, says: RegExp, rule: string): void {
  const { stdout, stderr } = result;
  t.equal(result.code, code, `${rule}: exit code ${code}`);
  t.match(stderr, /^selvage: [^\n]+\n$/, `${rule}: one line on standard error`);
  t.match(stderr, says, `${rule}: cause and remedy`);
  t.equal(stdout, '', `${rule}: nothing on standard output`);
}

/** Lines on standard error that are not the JSON log's. */
function plainLines(child: Child): string[] {
  return child.stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
}

async function hasDevice(host: LabHost, name: string): Promise<boolean> {
  return (await host.exec('ip', ['link', 'show', 'dev', name], { mayFail: true })).code === 0;
}

async function hasOverlayRoute(host: LabHost): Promise<boolean> {
  return (await host.exec('ip', ['-4', 'route', 'show', '10.1.0.0/16'])).stdout.includes('dev flannel0');
}

/** TCP both ways between the pods that goes on until it is ended. */
async function endlessLoad({ lab }: Scenario): Promise<Child[]> {
  const [from, to] = [lab.pod(0), lab.pod(1)];
  const args = [to.address, 7004, 1, 1e12, 1];
  const listener = await startToolUntil('listening', to, 'tcp_transfer', 'listen', ...args);
  return [startTool(from, 'tcp_transfer', 'connect', ...args), listener];
}
