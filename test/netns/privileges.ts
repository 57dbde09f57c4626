import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';

import { searchPath } from './child.js';

/** Set in a process that {@link ensurePrivileges} started inside a user namespace. */
const INSIDE = 'SELVAGE_LAB_INSIDE_USER_NAMESPACE';
/** Bits of CapEff, include/uapi/linux/capability.h: NET_ADMIN, NET_RAW, SYS_ADMIN. */
const NEEDED_CAPABILITIES = [12n, 13n, 21n];

/**
 * Sees to it that this process may make network namespaces and TUN devices.
 *
 * With the privilege it returns. Without it, where the kernel allows user namespaces, the same command is run again
 * under `unshare -Urnm` with an empty /run (so that `ip netns` can write there), its exit code becomes this
 * process's, and this call never returns.
 *
 * @throws Error of one line with the remedy when neither is possible
 */
export async function ensurePrivileges(): Promise<void> {
  if (!isPrivileged()) {
    requireUserNamespace();
    requireTunDevice();
    return runAgainInUserNamespace();
  }
  requireTunDevice();
}

/** Whether this process is the machine's root, who may also install packages; root of a user namespace may not. */
export function isMachineRoot(): boolean {
  if (process.geteuid?.() !== 0) return false;
  const map = readFileSync('/proc/self/uid_map', 'utf8').trim().split(/\s+/);
  return map[0] === '0' && map[1] === '0';
}

function isPrivileged(): boolean {
  if (process.geteuid?.() !== 0) return false;
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  const bits = BigInt(`0x${effective}`);
  return NEEDED_CAPABILITIES.every((bit) => (bits >> bit) & 1n);
}

function requireUserNamespace(): void {
  if (process.env[INSIDE] !== undefined) {
    throw new Error('the user namespace does not give CAP_NET_ADMIN and CAP_SYS_ADMIN: run this as root');
  }
  const tried = spawnSync('unshare', ['-Urnm', 'mount', '-t', 'tmpfs', 'tmpfs', '/run'], {
    encoding: 'utf8',
    env: { ...process.env, PATH: searchPath() },
  });
  if (tried.status === 0) return;
  const said = (tried.error?.message ?? tried.stderr).trim().split('\n')[0] ?? '';
  throw new Error(`not root, and no user namespace to be had (${said}): run this as root${sysctlRemedy()}`);
}

/** The setting that forbids user namespaces, as a continuation of "run this as root". */
function sysctlRemedy(): string {
  const forbids = (path: string, value: string): boolean =>
    existsSync(`/proc/sys/${path}`) && readFileSync(`/proc/sys/${path}`, 'utf8').trim() === value;
  if (forbids('kernel/unprivileged_userns_clone', '0'))
    return ', or allow it: sysctl kernel.unprivileged_userns_clone=1';
  if (forbids('kernel/apparmor_restrict_unprivileged_userns', '1')) {
    return ', or allow it: sysctl kernel.apparmor_restrict_unprivileged_userns=0';
  }
  if (forbids('user/max_user_namespaces', '0')) return ', or allow it: sysctl user.max_user_namespaces=10000';
  return '';
}

function requireTunDevice(): void {
  try {
    closeSync(openSync('/dev/net/tun', 'r+'));
  } catch (error) {
    throw new Error(tunRemedy((error as NodeJS.ErrnoException).code ?? 'error'), { cause: error });
  }
}

function tunRemedy(code: string): string {
  if (code === 'ENOENT') {
    return '/dev/net/tun is missing: as root, mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200';
  }
  if (code === 'EACCES')
    return '/dev/net/tun may not be opened: run this as root, or as root chmod 666 /dev/net/tun';
  if (code === 'EPERM')
    return '/dev/net/tun is forbidden to this container: start it with --device /dev/net/tun';
  return `/dev/net/tun cannot be opened (${code}): as root, modprobe tun`;
}

function runAgainInUserNamespace(): Promise<never> {
  // PR_SET_PDEATHSIG comes last, since unshare's change of credentials would clear it (kernel/cred.c commit_creds).
  const script = 'mount -t tmpfs tmpfs /run && exec setpriv --pdeathsig TERM -- "$@"';
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const child = spawn('unshare', ['-Urnm', 'sh', '-c', script, 'sh', ...again], {
    stdio: 'inherit',
    env: { ...process.env, PATH: searchPath(), [INSIDE]: '1' },
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  return new Promise((_resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) =>
      process.exit(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
    );
  });
}
