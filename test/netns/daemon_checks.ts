import type { Test } from 'tap';

import { type AgentRoute, type AgentStatus, readAgentRoutes } from '../../src/index.js';
import type { LabHost, LabPod } from './lab.js';
import type { Namespace } from './namespace.js';
import type { LogLine, SelvageDaemon } from './selvage.js';
import { until } from './until.js';

/** A bound on waiting, not a measurement: a connection that fell silent is noticed after 9 s at the earliest. */
export const SECONDS = 40;
/** Of the daemons here, on loopback of their own namespace. */
export const HEALTH_PORT = 8286;
export const HEALTH_ARGS = ['--healthz-ip', '127.0.0.1', '--healthz-port', String(HEALTH_PORT)];

/** Whether one echo request is answered. */
export async function answers(from: Namespace, address: string): Promise<boolean> {
  return (await from.exec('ping', ['-n', '-c', '1', '-W', '1', address], { mayFail: true })).code === 0;
}

/** Whether an address answers within the time that a change may take to come. */
export async function reaches(from: Namespace, address: string): Promise<boolean> {
  const answered = until(`${address} to answer`, () => answers(from, address), SECONDS);
  return await answered.catch(() => false);
}

/** Asserts that each of these pods reaches each other one. */
export async function assertAllReach(t: Test, pods: readonly LabPod[], when: string): Promise<void> {
  for (const from of pods) {
    for (const to of pods) {
      if (from !== to) t.ok(await reaches(from, to.address), `${when}: ${from.label} reaches ${to.label}`);
    }
  }
}

/** The next hops in force, by prefix. */
export async function nextHops({ files }: SelvageDaemon): Promise<Record<string, string>> {
  const routes: readonly AgentRoute[] = await readAgentRoutes(files.socket);
  return Object.fromEntries(routes.map(({ prefix, nextHop }) => [prefix, nextHop]));
}

/** Waits for a log line whose text matches. */
export function says(daemon: SelvageDaemon, text: RegExp, from = 0): Promise<LogLine> {
  return daemon.logged(({ msg }) => text.test(msg), SECONDS, from);
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

const GET = `const answer = await fetch(process.argv[1]);
  console.log(JSON.stringify({ code: answer.status, text: await answer.text() }));`;

/** What a probe or scraper on this host gets from the daemon there, if it has {@link HEALTH_ARGS}. */
export async function httpGet(
  host: LabHost,
  path: '/healthz' | '/readyz' | '/metrics',
): Promise<{ readonly code: number; readonly text: string }> {
  const args = ['--input-type=module', '--eval', GET, `http://127.0.0.1:${HEALTH_PORT}${path}`];
  const { stdout } = await host.exec(process.execPath, args);
  return JSON.parse(stdout) as { code: number; text: string };
}

/** The same for an answer in JSON. */
export async function probe(
  host: LabHost,
  path: '/healthz' | '/readyz',
): Promise<{ readonly code: number; readonly body: unknown }> {
  const { code, text } = await httpGet(host, path);
  return { code, body: JSON.parse(text) };
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
