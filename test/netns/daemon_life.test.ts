/**
 * What `selvage run` sets up, how it ends, and what it outlives.
 *
 * ```text
 *  pod1 --- cni0 - flannel0 ~ selvage run ~ u1 ==== u2 ~ selvage run ~ flannel0 - cni0 --- pod2
 * ```
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import t from 'tap';

import type { Child } from './child.js';
import { assertOneLine, hasDevice, hasOverlayRoute, openScenario } from './cli_checks.js';
import { ping } from './loads.js';
import type { Scenario } from './scenario.js';
import { daemonFiles, SELVAGE_MAIN, SelvageDaemon } from './selvage.js';
import { startTool, startToolUntil } from './tool.js';
import { until } from './until.js';

/**
 * Bound on a stop. It takes some 50 ms, and the promise is one second; a machine busy with other work may need longer, and
 * a stop that hangs takes for ever.
 */
const STOP_SECONDS = 5;

/** Makes each lane die as it begins, as for lack of memory. */
const NO_LANES = `
  const { isMainThread } = require('node:worker_threads');
  const Module = require('node:module');
  const load = Module._load;
  const exit = () => process.exit(1);
  if (!isMainThread) Module._load = function (request, ...rest) {
    const loaded = load.call(this, request, ...rest);
    return request === 'node-gyp-build' ? (root) => ({ ...loaded(root), attachLane: exit }) : loaded;
  };`;

t.setTimeout(120_000);

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
    const daemon = new SelvageDaemon(child, daemonFiles(lab, 0));
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

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    for (const lanes of signal === 'SIGHUP' ? [1] : [1, 2]) {
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

  await t.test('SIGTERM while no lane comes up: exit code 0 and no device', async (t) => {
    const preload = join(lab.directory, 'no_lanes.cjs');
    writeFileSync(preload, NO_LANES);
    const daemon = await scenario.start(0, { started: 'spawned', nodeArgs: ['--require', preload] });
    await daemon.logged(({ msg }) => msg.startsWith('a lane died'), 30);
    t.equal((await daemon.stop(20)).code, 0);
    t.notOk(await hasDevice(host1, 'flannel0'));
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

/** Lines on standard error that are not the JSON log's. */
function plainLines(child: Child): string[] {
  return child.stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
}

/** TCP both ways between the pods that goes on until it is ended. */
async function endlessLoad({ lab }: Scenario): Promise<Child[]> {
  const [from, to] = [lab.pod(0), lab.pod(1)];
  const args = [to.address, 7004, 1, 1e12, 1];
  const listener = await startToolUntil('listening', to, 'tcp_transfer', 'listen', ...args);
  return [startTool(from, 'tcp_transfer', 'connect', ...args), listener];
}
