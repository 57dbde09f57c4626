import { writeFile } from 'node:fs/promises';

import { messageOf, SelvageError } from '../errors.js';
import { runCommand } from './run_command.js';

/** How a TUN device is to be set up. */
export interface TunInterface {
  readonly name: string;
  /** IPv4 address in dotted quad, set as a /32: a wider one would bring broadcast routes for subnet zero. */
  readonly address: string;
  /** Bytes. */
  readonly mtuBytes: number;
  /** Overlay network, routed to the device as a whole. */
  readonly network: string;
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
  const { name, address, mtuBytes, network } = tun;
  const batch = [
    // No link-local IPv6 address, no multicast: the kernel would send neighbour discovery into an IPv4 overlay.
    `link set dev ${name} addrgenmode none`,
    `link set dev ${name} mtu ${mtuBytes} txqueuelen ${TX_QUEUE_FRAMES} multicast off up`,
    `address add ${address}/32 dev ${name}`,
    `route add ${network} dev ${name} scope global`,
  ];
  try {
    await runCommand('ip', ['-batch', '-'], { input: `${batch.join('\n')}\n`, debianPackage: 'iproute2' });
  } catch (cause) {
    throw /File exists/.test(messageOf(cause)) ? routeExists(tun, cause) : cause;
  }
  return allowOwnSource(name, address);
}

function routeExists({ name, network }: TunInterface, cause: unknown): SelvageError {
  return new SelvageError(
    'ERR_ROUTE_EXISTS',
    `there is a route to ${network} already, so ${name} cannot have it: stop what made it (another selvage or ` +
      `flanneld?), or remove it with 'ip route delete ${network}'`,
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
