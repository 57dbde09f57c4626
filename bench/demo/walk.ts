import { setTimeout as sleep } from 'node:timers/promises';

import { messageOf } from '../../src/errors.js';
import type { ForwarderStats } from '../../src/index.js';
import { tail } from '../../test/netns/child.js';
import type { EtcdServer } from '../../test/netns/etcd_server.js';
import type { Lab, LabPod } from '../../test/netns/lab.js';
import { ping, tcp, udpFlood } from '../../test/netns/loads.js';
import type { SelvageDaemon } from '../../test/netns/selvage.js';
import { daemonOptions, outage, showNetwork } from './control_plane.js';
import { drawPath } from './drawing.js';
import { bitRate, bytes, count } from './format.js';
import { Progress } from './progress.js';

const PINGS = 20;
const PING_INTERVAL_SECONDS = 0.05;
const QUIET_POLLS = 50;
const QUIET_MILLIS = 100;

/**
 * Pings, a TCP transfer and a UDP flood from pod to pod through two daemons; prints what they counted. With etcd, also what
 * is in it, and what happens while it is away.
 *
 * @param seconds of each load
 * @param etcd with the config of the network; undefined for routes files
 * @throws Error with the end of both daemons' logs
 */
export async function walkThrough(lab: Lab, seconds: number, etcd: EtcdServer | undefined): Promise<void> {
  const options = daemonOptions(etcd);
  const daemons = [await lab.startSelvage(0, options), await lab.startSelvage(1, options)] as const;
  try {
    const { device } = await daemons[0].stats();
    await lab.setPodMtu(device.mtuBytes);
    console.log(`  two daemons run; ${device.name} and the pods have an MTU of ${device.mtuBytes} bytes\n`);
    if (etcd !== undefined) await showNetwork(etcd, daemons[0]);
    await Promise.race([loads(lab, seconds), anyEnd(daemons)]);
    const pods = [await socketFull(lab.pod(0)), await socketFull(lab.pod(1))] as const;
    const drawing = drawPath(lab, await quietStats(daemons), pods);
    console.log(`\nWhat they counted, in wire-sized frames\n\n${drawing.join('\n')}`);
    if (etcd !== undefined) await outage(lab, etcd, daemons);
  } catch (error) {
    const logs = daemons.map(({ child }) => `${child.title}\n${tail(child.stderr, 40)}`);
    throw new Error(`${messageOf(error)}\n${logs.join('\n')}`, { cause: error });
  }
  const ends = await Promise.all(daemons.map((daemon) => daemon.stop()));
  if (ends.some(({ code }) => code !== 0)) {
    throw new Error(
      `selvage run ended with code ${ends.map(({ code }) => code).join(' and ')} after SIGTERM`,
    );
  }
}

/** Rejects when a daemon ends, which under load it must not. */
function anyEnd(daemons: readonly SelvageDaemon[]): Promise<never> {
  const ends = daemons.map(async ({ child }): Promise<never> => {
    const { code, signal } = await child.exited;
    throw new Error(`${child.title}: ended under load (${signal ?? `code ${code}`})`);
  });
  return Promise.race(ends);
}

async function loads(lab: Lab, seconds: number): Promise<void> {
  const pings = new Progress('ping  ', PINGS * PING_INTERVAL_SECONDS);
  const echo = await ping(lab, { count: PINGS, intervalSeconds: PING_INTERVAL_SECONDS });
  pings.done(`${echo.sent} sent, ${echo.lost} lost, round trip ${echo.p50Millis.toFixed(3)} ms (median)`);
  if (echo.lost === echo.sent) throw new Error('no ping came back');

  const transfer = new Progress('TCP   ', seconds);
  const stream = await tcp(lab, {
    seconds,
    progressPerSecond: transfer.perSecond,
    onProgress: (now) => transfer.show(now.elapsedSeconds, bitRate(now.perSecond)),
  });
  transfer.done(
    `${bytes(stream.bytes)} in ${stream.seconds.toFixed(1)} s, ${bitRate(stream.gbitPerSecond * 1e9)}`,
  );

  const flood = new Progress('UDP   ', seconds);
  const datagrams = await udpFlood(lab, {
    seconds,
    progressPerSecond: flood.perSecond,
    onProgress: (now) => flood.show(now.elapsedSeconds, `${count(now.perSecond)} datagrams/s`),
  });
  const loss = `${(datagrams.lossRatio * 100).toFixed(0)} % of ${count(datagrams.sent)} lost`;
  flood.done(`${count(datagrams.packetsPerSecond)} datagrams of 64 bytes a second delivered, ${loss}`);
}

/** UDP datagrams that found the socket of their program in the pod full. See proc_pid_net(5), snmp RcvbufErrors. */
async function socketFull(pod: LabPod): Promise<number> {
  const { stdout } = await pod.exec('cat', ['/proc/net/snmp']);
  const [names, values] = stdout.split('\n').filter((line) => line.startsWith('Udp:'));
  const column = names?.split(' ').indexOf('RcvbufErrors') ?? -1;
  return Number(values?.split(' ')[column] ?? 0);
}

/** Counters once the queues have run dry: two readings alike. */
async function quietStats(
  daemons: readonly [SelvageDaemon, SelvageDaemon],
): Promise<[ForwarderStats, ForwarderStats]> {
  let last = '';
  for (let polls = 0; ; polls++) {
    const stats: [ForwarderStats, ForwarderStats] = [await daemons[0].stats(), await daemons[1].stats()];
    const now = JSON.stringify(stats.map(({ outbound, inbound, kernel }) => [outbound, inbound, kernel]));
    if (now === last || polls >= QUIET_POLLS) return stats;
    last = now;
    await sleep(QUIET_MILLIS);
  }
}
