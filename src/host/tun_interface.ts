import { writeFile } from 'node:fs/promises';

import { messageOf, SelvageError } from '../errors.js';
import { runCommand } from './run_command.js';

/** One family of addresses on a TUN device. */
export interface TunNetwork {
  /** Set as a /32 or /128: a wider one would bring broadcast or anycast routes for subnet zero. */
  readonly tunAddress: string;
  /** Overlay network, routed to the device as a whole. */
  readonly network: string;
}

/** How a TUN device is to be set up. */
export interface TunInterface {
  readonly name: string;
  /** Bytes. */
  readonly mtuBytes: number;
  readonly ipv4: TunNetwork | undefined;
  readonly ipv6: TunNetwork | undefined;
}

/** Frames that may wait for a lane. A frame may be a 64 KiB superframe, so this bounds memory at 64 MiB. */
const TX_QUEUE_FRAMES = 1000;

/**
 * Gives the device its address, MTU and route, and brings it up. It goes back with the device.
 *
 * @returns warnings: what could not be set and what that means; empty when all is well
 * @throws SelvageError ERR_ROUTE_EXISTS, ERR_COMMAND_FAILED or ERR_COMMAND_MISSING
 */
export async function configureTunInterface(tun: TunInterface): Promise<string[]> {
  const { name, mtuBytes, ipv4, ipv6 } = tun;
  const batch = [
    // No link-local IPv6 address, no multicast: the kernel would send neighbour discovery into the overlay.
    `link set dev ${name} addrgenmode none`,
    `link set dev ${name} mtu ${mtuBytes} txqueuelen ${TX_QUEUE_FRAMES} multicast off up`,
  ];
  if (ipv4 !== undefined) {
    batch.push(
      `address add ${ipv4.tunAddress}/32 dev ${name}`,
      `route add ${ipv4.network} dev ${name} scope global`,
    );
  }
  if (ipv6 !== undefined) {
    // No duplicate address detection: there is nobody to ask, and the address would be unusable meanwhile.
    batch.push(
      `address add ${ipv6.tunAddress}/128 dev ${name} nodad`,
      `route add ${ipv6.network} dev ${name}`,
    );
  }
  if (ipv6 === undefined) await switchIpv6Off(name);
  else await switchIpv6On(name);
  try {
    await runIp(batch);
  } catch (cause) {
    throw /File exists/.test(messageOf(cause)) ? routeExists(tun, cause) : cause;
  }
  return ipv4 === undefined ? [] : allowOwnSource(name, ipv4.tunAddress);
}

/** Changes the MTU of the device. @throws SelvageError ERR_COMMAND_FAILED or ERR_COMMAND_MISSING */
export async function setTunMtu(name: string, mtuBytes: number): Promise<void> {
  await runIp([`link set dev ${name} mtu ${mtuBytes}`]);
}

async function runIp(batch: readonly string[]): Promise<void> {
  await runCommand('ip', ['-batch', '-'], { input: `${batch.join('\n')}\n`, debianPackage: 'iproute2' });
}

/** The kernel would announce the device's multicast groups into an overlay that carries no IPv6. Without IPv6 there is no such file. */
async function switchIpv6Off(name: string): Promise<void> {
  await writeFile(`${ipv6Settings(name)}/disable_ipv6`, '1').catch(() => undefined);
}

/** Switched off, the kernel refuses every IPv6 address with a message that does not name the cause. */
async function switchIpv6On(name: string): Promise<void> {
  const path = `${ipv6Settings(name)}/disable_ipv6`;
  try {
    await writeFile(path, '0');
    // A router announces that it is one by joining a group, which nobody here listens to. What is forwarded is decided by
    // the setting of all interfaces, not by this one (Linux net/ipv6/ip6_output.c ip6_forward).
    await writeFile(`${ipv6Settings(name)}/forwarding`, '0');
  } catch (cause) {
    throw new SelvageError(
      'ERR_IPV6_OFF',
      `the network has IPv6, and this host's kernel has it switched off (${path}: ${messageOf(cause)}): boot without ` +
        `ipv6.disable=1, or leave IPv6 out of the network config`,
      { cause },
    );
  }
}

function ipv6Settings(name: string): string {
  return `/proc/sys/net/ipv6/conf/${name}`;
}

function routeExists({ name, ipv4, ipv6 }: TunInterface, cause: unknown): SelvageError {
  const networks = [ipv4, ipv6].flatMap((each) => (each === undefined ? [] : [each.network]));
  return new SelvageError(
    'ERR_ROUTE_EXISTS',
    `there is a route to ${networks.join(' or ')} already, so ${name} cannot have it: stop what made it (another ` +
      `selvage or flanneld?), or remove it with 'ip route delete ${networks[0]}'`,
    { cause },
  );
}

/**
 * Lets ICMP errors in whose source is the device's own address: the kernel drops a packet from a local address as a
 * martian unless accept_local is set (Linux net/ipv4/fib_frontend.c fib_validate_source).
 */
async function allowOwnSource(name: string, address: string): Promise<string[]> {
  const path = `/proc/sys/net/ipv4/conf/${name}/accept_local`;
  try {
    await writeFile(path, '1');
    return [];
  } catch (error) {
    return [
      `${path} could not be set (${messageOf(error)}): ICMP errors from ${address} will not reach this host's pods`,
    ];
  }
}
