import type { AgentStatus } from '../../src/index.js';
import { EtcdServer, type EtcdServerOptions } from './etcd_server.js';
import type { Lab, LabHost, LabPod } from './lab.js';
import type { Namespace } from './namespace.js';
import type { SelvageDaemon } from './selvage.js';
import { until } from './until.js';

/** What flanneld's keys begin with by default. */
export const PREFIX = '/coreos.com/network';
/** Of the daemons here, on loopback of their own namespace. */
const HEALTH_PORT = 8286;
export const HEALTH_ARGS = ['--healthz-ip', '127.0.0.1', '--healthz-port', String(HEALTH_PORT)];
/** A bound on waiting, not a measurement: a connection that fell silent is noticed after 9 s at the earliest. */
const SECONDS = 40;

/** A server at the lab's control plane whose network is the lab's. Its data begin empty each time. */
export async function startNetwork(
  lab: Lab,
  options: Omit<EtcdServerOptions, 'host' | 'address'> = {},
): Promise<EtcdServer> {
  const { namespace, address } = lab.controlPlane;
  const etcd = await EtcdServer.start({ host: namespace, address, ...options });
  await etcd.put(`${PREFIX}/config`, JSON.stringify({ Network: lab.network }));
  return etcd;
}

/** E.g. `/coreos.com/network/subnets/10.1.2.0-24` */
export function leaseKey(subnet: string): string {
  return `${PREFIX}/subnets/${subnet.replace('/', '-')}`;
}

/** A value as flanneld writes it. */
export function leaseValue(publicIp: string): string {
  return JSON.stringify({ PublicIP: publicIp, PublicIPv6: null });
}

/** Waits for a state of a daemon that answers. */
export function untilStatus(
  what: string,
  daemon: SelvageDaemon,
  holds: (status: AgentStatus) => boolean,
): Promise<AgentStatus> {
  const look = async (): Promise<AgentStatus | undefined> => {
    const status = await daemon.status();
    return holds(status) ? status : undefined;
  };
  return until(what, look, SECONDS);
}

/** Waits until a daemon reports that etcd is away. @returns the reason of its health */
export async function untilAway(
  daemon: SelvageDaemon,
): Promise<{ readonly message: string; readonly since: string | null }> {
  const { health } = await untilStatus(`${daemon.child.title} to miss etcd`, daemon, ({ health }) =>
    health.reasons.some(({ code }) => code === 'storeAway'),
  );
  return health.reasons.find(({ code }) => code === 'storeAway')!;
}

/** Waits until nothing is wrong with a daemon. */
export function untilHealthy(daemon: SelvageDaemon): Promise<AgentStatus> {
  return untilStatus(`${daemon.child.title} to be well`, daemon, ({ health }) => health.status === 'ok');
}

const FETCH = `const answer = await fetch(process.argv[1]);
  console.log(JSON.stringify({ code: answer.status, body: await answer.json() }));`;

/** What a probe on this host gets from the daemon there. */
export async function probe(
  host: LabHost,
  path: '/healthz' | '/readyz',
): Promise<{ readonly code: number; readonly body: unknown }> {
  const args = ['--input-type=module', '--eval', FETCH, `http://127.0.0.1:${HEALTH_PORT}${path}`];
  const { stdout } = await host.exec(process.execPath, args);
  return JSON.parse(stdout) as { code: number; body: unknown };
}

/** From now on nothing that these addresses send arrives at this host, without a word to anybody. */
export async function cutOff(host: Namespace, ...addresses: readonly string[]): Promise<void> {
  const rule = `ip saddr { ${addresses.join(', ')} } drop`;
  await host.exec('nft', ['-f', '-'], {
    input: `table inet cut {\n chain input {\n type filter hook input priority -10;\n ${rule}\n }\n}\n`,
  });
}

/** Ends {@link cutOff}. */
export async function reconnect(host: Namespace): Promise<void> {
  await host.exec('nft', ['delete', 'table', 'inet', 'cut']);
}

/** Whether one ping is answered. */
export async function answers(from: LabPod, to: LabPod): Promise<boolean> {
  return (await from.exec('ping', ['-n', '-c', '1', '-W', '1', to.address], { mayFail: true })).code === 0;
}
