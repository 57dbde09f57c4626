import { spawnSync } from 'node:child_process';
import { accessSync, constants, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';

import { searchPath } from './child.js';
import { isMachineRoot } from './privileges.js';

/** Debian package -> the programs of it that are used here. */
const PROGRAMS = {
  clang: ['clang++'],
  'etcd-client': ['etcdctl'],
  'etcd-server': ['etcd'],
  ethtool: ['ethtool'],
  faketime: ['faketime'],
  fastd: ['fastd'],
  'g++': ['g++'],
  'g++-aarch64-linux-gnu': ['aarch64-linux-gnu-g++'],
  iperf3: ['iperf3'],
  iproute2: ['ip', 'bridge'],
  iptables: ['iptables-nft'],
  'iputils-ping': ['ping'],
  'iputils-tracepath': ['tracepath'],
  nftables: ['nft'],
  openssl: ['openssl'],
  openvpn: ['openvpn'],
  'protobuf-compiler': ['protoc'],
  python3: ['python3'],
  'qemu-user': ['qemu-aarch64'],
  tcpdump: ['tcpdump'],
  traceroute: ['traceroute'],
  tshark: ['tshark', 'dumpcap'],
  'util-linux': ['nsenter', 'setpriv', 'unshare'],
} as const;

export type PackageName = keyof typeof PROGRAMS;

/** What a lab itself needs. */
export const LAB_PACKAGES: readonly PackageName[] = ['iproute2', 'util-linux', 'iputils-ping'];

/**
 * Sees to it that the programs of these Debian packages are there, and installs what is missing where it may.
 *
 * @param say called with a line of progress before anything is installed
 * @throws Error with the exact command to run when this process may not install, or when installing failed
 */
export function ensurePackages(
  names: readonly PackageName[],
  say: (line: string) => void = console.log,
): void {
  const missing = names.filter((name) => !PROGRAMS[name].every(isInstalled));
  if (missing.length === 0) return;
  if (!isMachineRoot() || !isInstalled('apt-get')) throw new Error(remedy(missing));
  say(`installing ${missing.join(', ')} with apt-get`);
  if (!hasPackageLists()) aptGet(['update']);
  if (!aptInstall(missing)) {
    aptGet(['update']); // the lists may name versions that the mirror no longer has
    aptInstall(missing);
  }
  const still = missing.filter((name) => !PROGRAMS[name].every(isInstalled));
  if (still.length > 0) throw new Error(remedy(still));
}

function remedy(missing: readonly PackageName[]): string {
  const programs = missing.flatMap((name) => PROGRAMS[name].filter((program) => !isInstalled(program)));
  const command = `apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  return `${programs.join(', ')} not found: as root, run ${command}`;
}

function isInstalled(program: string): boolean {
  return searchPath()
    .split(delimiter)
    .some((directory) => isExecutable(join(directory, program)));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function hasPackageLists(): boolean {
  try {
    return readdirSync('/var/lib/apt/lists').some((name) => name.includes('_Packages'));
  } catch {
    return false;
  }
}

function aptInstall(names: readonly string[]): boolean {
  return aptGet(['install', '-y', '--no-install-recommends', ...names]);
}

/** Runs apt-get with its output on our standard error: standard output may be a report somebody parses. */
function aptGet(args: readonly string[]): boolean {
  const env = { ...process.env, PATH: searchPath(), DEBIAN_FRONTEND: 'noninteractive' };
  return spawnSync('apt-get', ['-q', ...args], { env, stdio: ['ignore', 2, 2] }).status === 0;
}
