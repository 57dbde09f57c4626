import { listFirewalls, removeFirewall } from '../index.js';
import { type Command, HELP_OPTION, JSON_OPTION, out } from './command.js';
import { ExitCode } from './exit_code.js';

/** `selvage firewall ...`: the daemon leaves its rules when it ends, as flanneld does, so that traffic keeps its addresses. */
export const FIREWALL_COMMANDS: readonly Command[] = [
  {
    words: 'firewall show',
    takes: [],
    summary: 'list the devices that have rules of ours',
    about: `Lists the TUN devices for which this host has an nftables table of selvage's, a stopped daemon's included.
'nft list table inet selvage-flannel0' prints the rules of flannel0. Needs CAP_NET_ADMIN and nftables.

Examples:
  selvage firewall show
  selvage firewall show --json`,
    options: [JSON_OPTION, HELP_OPTION],
    run: async (values) => show(values.isOn('json')),
  },
  {
    words: 'firewall remove',
    takes: ['DEVICE'],
    summary: 'remove our rules of a TUN device',
    about: `Removes selvage's nftables table of a TUN device. Stop its daemon first: a running one puts the rules back.
Needs CAP_NET_ADMIN and nftables.

Examples:
  selvage firewall remove flannel0`,
    options: [HELP_OPTION],
    run: async ({ positionals: [device = ''] }) => remove(device),
  },
];

async function show(json: boolean): Promise<number> {
  const devices = await listFirewalls();
  if (json) out(`${JSON.stringify(devices)}\n`);
  else if (devices.length === 0) out('no rules of selvage are here\n');
  else out(devices.map((device) => `${device}\n`).join(''));
  return ExitCode.ok;
}

async function remove(device: string): Promise<number> {
  if (await removeFirewall(device)) {
    out(`removed the rules for ${device}; a daemon that runs puts them back\n`);
    return ExitCode.ok;
  }
  out(`there are no rules of selvage for ${device}\n`);
  return ExitCode.failed;
}
