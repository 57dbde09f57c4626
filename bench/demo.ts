/**
 * `npm run demo`: two hosts, two pods and two `selvage run` in private network namespaces of this machine; what goes
 * through them, what they count, and how they compare with kernel VXLAN and plain routing. The two find each other through a real etcd
 * where there is one, otherwise through a file with routes.
 */
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { messageOf } from '../src/errors.js';
import { Lab } from '../test/netns/lab.js';
import { endedBySignal } from '../test/netns/open_labs.js';
import { ensurePackages, LAB_PACKAGES } from '../test/netns/packages.js';
import { ensurePrivileges } from '../test/netns/privileges.js';
import { SELVAGE_MAIN } from '../test/netns/selvage.js';
import { compare } from './demo/compare.js';
import { startEtcd, whyNoEtcd } from './demo/control_plane.js';
import { walkThrough } from './demo/walk.js';

const ROUNDS = 2;
const PATHS = 3;
/** Seconds a path takes besides its loads: start, first ping, pings, iperf3's own start and end. */
const PATH_SECONDS = 2.5;
const FIXED_SECONDS = 6;
/** Start, outage and return of etcd. */
const ETCD_SECONDS = 9;
const DEFAULT_SECONDS = 3;
const MOST_SECONDS = 60;

const HELP = `Usage: npm run demo [-- OPTIONS]

Two hosts and two pods in network namespaces, joined by two "selvage run": pings, a TCP transfer and a UDP flood
between the pods, the path drawn with its counters, and a table beside kernel VXLAN and plain routing.
The two join a flannel network in a real etcd: what is in it is shown, and that forwarding goes on while etcd is killed.
Where etcd is missing and cannot be installed, a file says the routes instead.
Nothing on this machine is changed, and everything is removed at the end, also after Ctrl-C.

  --seconds N   length of each load, 1 to ${MOST_SECONDS} [${DEFAULT_SECONDS}]
  --help        print this and exit

Needs root, or a kernel that lets ordinary users make user namespaces; and /dev/net/tun. As root it installs the
Debian packages it misses: etcd-server, etcd-client, iperf3, iproute2, iputils-ping, util-linux.
Exit codes: 0 done, 1 failed, 2 wrong arguments.`;

class UsageError extends Error {}

/** The length of each load, or undefined when only help was asked for. @throws UsageError */
function secondsFrom(args: string[]): number | undefined {
  const options = { help: { type: 'boolean' }, seconds: { type: 'string' } } as const;
  let values: { help?: boolean; seconds?: string };
  try {
    ({ values } = parseArgs({ args, options }));
  } catch (error) {
    throw new UsageError(messageOf(error), { cause: error });
  }
  if (values.help === true) return undefined;
  const seconds = Number(values.seconds ?? DEFAULT_SECONDS);
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > MOST_SECONDS) {
    throw new UsageError(`--seconds: ${values.seconds} is not a whole number from 1 to ${MOST_SECONDS}`);
  }
  return seconds;
}

/** @throws Error when `npm install` has not left the daemon and the addon */
function requireBuild(): void {
  const root = fileURLToPath(new URL('../../', import.meta.url));
  const addon = ['build/Release', 'build/Debug', `prebuilds/linux-${process.arch}`].some(
    (folder) =>
      existsSync(root + folder) && readdirSync(root + folder).some((name) => name.endsWith('.node')),
  );
  if (!addon || !existsSync(SELVAGE_MAIN))
    throw new Error('selvage is not built here: run npm install first');
}

function estimatedSeconds(seconds: number, etcd: boolean): number {
  return (
    FIXED_SECONDS + (etcd ? ETCD_SECONDS : 0) + 2 * seconds + ROUNDS * PATHS * (PATH_SECONDS + 2 * seconds)
  );
}

/** The lab itself sees to the rest. */
function sayInterrupted(): void {
  console.error('\ninterrupted: removing every namespace');
}

async function demo(seconds: number): Promise<void> {
  requireBuild();
  ensurePackages(['iperf3', ...LAB_PACKAGES]);
  const noEtcd = whyNoEtcd();
  await ensurePrivileges();
  console.log(
    `selvage demo: two hosts, two pods, in network namespaces of this machine; about ${estimatedSeconds(seconds, noEtcd === undefined)} s`,
  );
  console.log(
    noEtcd === undefined
      ? 'The hosts find each other through an etcd in a namespace of its own.\n'
      : `The hosts find each other through a routes file, as there is no etcd: ${noEtcd}\n`,
  );
  const lab = await Lab.create({ controlPlane: noEtcd === undefined });
  process.on('SIGINT', sayInterrupted);
  try {
    const etcd = noEtcd === undefined ? await startEtcd(lab) : undefined;
    console.log('From pod to pod through selvage');
    await walkThrough(lab, seconds, etcd);
    await etcd?.close();
    console.log(`\nBeside the kernel's own paths: each ${ROUNDS} times in turn, ${seconds} s a load`);
    const table = await compare(lab, ROUNDS, seconds);
    console.log(`\n${table.join('\n')}`);
  } finally {
    await lab.close();
    process.off('SIGINT', sayInterrupted);
  }
  console.log('\nEvery namespace has been removed.');
}

process.stdout.on('error', () => process.exit(1)); // whoever read our output has gone; the lab goes too
try {
  const seconds = secondsFrom(process.argv.slice(2));
  if (seconds === undefined) console.log(HELP);
  else await demo(seconds);
} catch (error) {
  const nextLine = process.stdout.isTTY ? '\n' : ''; // below a bar that was being drawn
  if (!endedBySignal()) console.error(`${nextLine}demo: ${messageOf(error)}`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
