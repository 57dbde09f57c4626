import { runCommand } from '../host/run_command.js';
import { familyOf } from '../ip_address.js';

/**
 * The interface that the kernel sends packets to an address by.
 *
 * @returns null where it has no route; undefined where it cannot be asked
 */
export async function kernelDeviceTo(address: string): Promise<string | null | undefined> {
  try {
    const args = [`-${familyOf(address)}`, '-json', 'route', 'get', address];
    const [route] = JSON.parse(await runCommand('ip', args, { debianPackage: 'iproute2' })) as {
      dev?: string;
    }[];
    return route?.dev;
  } catch (error) {
    return isNoRoute(error) ? null : undefined;
  }
}

/** What `ip` says for ENETUNREACH and EHOSTUNREACH, and for blackhole and prohibit routes. */
function isNoRoute(error: unknown): boolean {
  return /unreachable|Invalid argument|Permission denied|No route/i.test(String(error));
}
