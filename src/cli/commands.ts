import { readFileSync } from 'node:fs';

import { SelvageError } from '../index.js';
import { ExitCode } from './exit_code.js';
import { type CliOption, environmentName, formatOptions, readOptions } from './option_table.js';
import { run } from './run.js';
import { RUN_OPTIONS, runSettings } from './run_options.js';

const HELP = `selvage: the userspace UDP backend for flannel networks

Usage: selvage COMMAND [OPTION...]

Commands:
  run      create the TUN device and forward until stopped

Options:
  --help     print this and exit
  --version  print the version and exit

'selvage COMMAND --help' tells more about a command.

Exit codes: 0 stopped by SIGINT or SIGTERM; 1 could not start or go on, and the last line says why;
2 the command line or the environment is wrong.
`;

function runHelp(): string {
  return `Usage: selvage run --routes FILE [OPTION...]

Creates the TUN device, binds the underlay address and forwards between them until stopped by a signal.
Needs CAP_NET_ADMIN in its network namespace, /dev/net/tun and iproute2.

Options [default]:
${formatOptions(RUN_OPTIONS)}

Every option can also be set in the environment; the command line wins:
${environmentLines(RUN_OPTIONS)}

FILE is watched; an edit takes effect within a second, a broken one is reported and changes nothing:
  { "network": "10.1.0.0/16", "subnet": "10.1.1.0/24",
    "peers": [ { "subnet": "10.1.2.0/24", "publicIp": "192.168.100.2" } ] }

Signals: SIGINT, SIGTERM and SIGHUP stop (a second one at once), SIGUSR2 logs all counters.
Exit codes: 0 stopped by a signal; 1 could not start or go on; 2 the command line or the environment is wrong.
`;
}

function environmentLines(table: readonly CliOption[]): string {
  return table
    .filter(({ name }) => name !== 'help')
    .map((option) => `  ${environmentName(option)}`)
    .join('\n');
}

function version(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/**
 * Does what the command line says.
 *
 * @returns the exit code
 * @throws SelvageError ERR_USAGE for a wrong command line; else what the command throws
 */
export async function main([command, ...args]: readonly string[]): Promise<number> {
  switch (command) {
    case 'run': {
      if (args.includes('--help') || args.includes('-h')) return print(runHelp());
      const values = readOptions(RUN_OPTIONS, args, process.env);
      return await run(runSettings(values));
    }
    case '-v':
    case '--version':
      return print(`${version()}\n`);
    case '--help':
    case '-h':
    case 'help':
      return print(HELP);
    case undefined:
      throw new SelvageError('ERR_USAGE', 'no command given');
    default:
      throw new SelvageError('ERR_USAGE', `there is no command '${command}'`);
  }
}

function print(text: string): number {
  process.stdout.write(text);
  return ExitCode.ok;
}
