import { readFileSync } from 'node:fs';

import { messageOf } from '../../src/errors.js';
import { EtcdServer } from '../../test/netns/etcd_server.js';
import type { Lab } from '../../test/netns/lab.js';
import { ping } from '../../test/netns/loads.js';
import { ensurePackages } from '../../test/netns/packages.js';
import type { SelvageDaemon, SelvageOptions } from '../../test/netns/selvage.js';
import { until } from '../../test/netns/until.js';
import { Progress } from './progress.js';

/** Where flanneld's documentation puts a network, and what selvage takes without an option. */
const PREFIX = '/coreos.com/network';
const PINGS = 200;
const PING_INTERVAL_SECONDS = 0.01;

/** @returns why there is no etcd for the demo; undefined when there is, which may have been installed just now */
export function whyNoEtcd(): string | undefined {
  try {
    ensurePackages(['etcd-server', 'etcd-client']);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** Starts etcd beside the hosts, with the config of a network. */
export async function startEtcd(lab: Lab): Promise<EtcdServer> {
  const { namespace, address } = lab.controlPlane;
  const etcd = await EtcdServer.start({ host: namespace, address });
  await etcd.put(`${PREFIX}/config`, JSON.stringify({ Network: lab.network, Backend: { Type: 'udp' } }));
  return etcd;
}

/** How a daemon of the demo is started: in the network of `etcd`, or with a routes file. */
export function daemonOptions(etcd: EtcdServer | undefined): SelvageOptions {
  return etcd === undefined ? {} : { etcd: etcd.endpoint };
}

/** What two daemons wrote into etcd and for the CNI plugin of the first host. */
export async function showNetwork(etcd: EtcdServer, daemon: SelvageDaemon): Promise<void> {
  const { stdout } = await etcd.etcdctl(['get', '--prefix', PREFIX]);
  console.log(`  $ etcdctl get --prefix ${PREFIX}\n${indented(stdout)}\n`);
  console.log(`  host1$ cat subnet.env\n${indented(readFileSync(daemon.files.subnetEnv, 'utf8'))}\n`);
}

/**
 * Kills etcd, pings from pod to pod without it, and starts it again.
 *
 * @throws Error when a ping is lost
 */
export async function outage(
  lab: Lab,
  etcd: EtcdServer,
  daemons: readonly [SelvageDaemon, SelvageDaemon],
): Promise<void> {
  console.log('\nWithout etcd');
  const step = new Progress('killed', PINGS * PING_INTERVAL_SECONDS);
  await etcd.kill();
  await allConnected(daemons, false);
  const { sent, lost } = await ping(lab, { count: PINGS, intervalSeconds: PING_INTERVAL_SECONDS });
  step.done(`forwarding goes on: ${sent} pings from pod to pod, ${lost} lost`);
  if (lost > 0) throw new Error(`${lost} of ${sent} pings were lost without etcd`);
  const { status, reasons } = (await daemons[0].status()).health;
  console.log(`  $ selvage status: ${status}${reasons.map(({ message }) => `, ${message}`).join('')}`);
  const back = new Progress('back  ', 1);
  await etcd.restart();
  await allConnected(daemons, true);
  const { health } = await daemons[0].status();
  back.done(`etcd is there again and both daemons follow it: ${health.status}`);
}

async function allConnected(daemons: readonly SelvageDaemon[], connected: boolean): Promise<void> {
  await until(`the daemons to be ${connected ? 'connected' : 'cut off'}`, async () => {
    const all = await Promise.all(daemons.map((daemon) => daemon.status()));
    return all.every(({ source }) => source.kind === 'store' && source.connection.connected === connected);
  });
}

function indented(text: string): string {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => `    ${line}`)
    .join('\n');
}
