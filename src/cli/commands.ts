import { VERSION } from '../index.js';
import { DAEMON_OPTIONS } from './daemon_options.js';
import { CHECK_COMMAND } from './check.js';
import { type Command, ENVIRONMENT_HELP, HELP_OPTION, JSON_OPTION, out } from './command.js';
import type { ShowOptions } from './each_daemon.js';
import { ExitCode } from './exit_code.js';
import { FIREWALL_COMMANDS } from './firewall.js';
import { LEASE_COMMANDS } from './lease.js';
import { formatOptions, HELP_COLUMNS, reflow } from './option_help.js';
import { type CliOption, type CliValues, readOptions, usageError } from './option_table.js';
import { showRoutes } from './routes.js';
import { run } from './run.js';
import { RUN_OPTIONS } from './run_options.js';
import { runSegments } from './run_segments.js';
import { runSettings } from './run_settings.js';
import { showStatus } from './status.js';
import { TOP_COMMAND } from './top.js';
import { TRACE_COMMAND } from './trace.js';

const SOCKET_OPTIONS: readonly CliOption[] = [...DAEMON_OPTIONS, JSON_OPTION, HELP_OPTION];

const COMMANDS: readonly Command[] = [
  {
    words: 'run',
    takes: [],
    summary: 'take a lease, make the TUN device and forward until stopped',
    about: `Takes a subnet of the flannel network whose config is in etcd, makes the TUN device, binds the underlay address
and forwards between them until stopped by a signal. Needs CAP_NET_ADMIN in its network namespace,
/dev/net/tun and iproute2; nftables for --ip-masq and the forward rules.

Examples:
  selvage run --etcd-endpoints http://192.0.2.10:2379,http://192.0.2.11:2379 --iface eth0 --ip-masq
  selvage run --routes routes.json --iface eth0

${ENVIRONMENT_HELP}

The file of --routes is watched; an edit takes effect within a second, a broken one is reported and
changes nothing:
  { "network": "10.1.0.0/16", "subnet": "10.1.1.0/24",
    "peers": [ { "subnet": "10.1.2.0/24", "publicIp": "192.168.100.2" } ] }

The file of --segments is read once; each network is kept apart, and started again when it fails:
  { "segments": [ { "name": "blue", "etcd-prefix": "/blue/network" },
                  { "name": "green", "etcd-prefix": "/green/network", "iface": "eth1" } ] }

Signals: SIGINT, SIGTERM and SIGHUP stop (a second one at once), SIGUSR2 logs all counters.

Exit codes: 0 stopped by a signal; 1 could not start or go on; 2 the command line or the environment is wrong.`,
    options: RUN_OPTIONS,
    run: runDaemon,
  },
  {
    words: 'status',
    takes: [],
    summary: 'tell how the daemons on this host are',
    about: `Asks each daemon on this host for its lease, its etcd, its routes, its health and its traffic. Of a daemon with
segments it lists the networks; --segment NAME tells all about one of them.

Examples:
  selvage status
  selvage status --segment blue
  selvage status --json | jq .health

Exit codes: 0 ok or degraded, which includes waiting for a config or lease; 1 failing, or no daemon.`,
    options: SOCKET_OPTIONS,
    run: (values) => showStatus(question(values), out),
  },
  {
    words: 'routes',
    takes: [],
    summary: 'list the routes in force, with their traffic',
    about: `Asks each daemon on this host which subnet it sends where.

Examples:
  selvage routes
  selvage routes --json --socket /run/selvage/flannel0.sock`,
    options: SOCKET_OPTIONS,
    run: (values) => showRoutes(question(values), out),
  },
  CHECK_COMMAND,
  TOP_COMMAND,
  TRACE_COMMAND,
  ...LEASE_COMMANDS,
  ...FIREWALL_COMMANDS,
];

function question(values: CliValues): ShowOptions {
  return { socket: values.text('socket'), segment: values.text('segment'), json: values.isOn('json') };
}

function runDaemon(values: CliValues): Promise<number> {
  if (values.isOn('version')) return printVersion();
  const segments = values.text('segments');
  return segments === undefined ? run(runSettings(values)) : runSegments(segments, values);
}

/** The commands that begin with `words`, e.g. all of `lease`; all of them without words. */
function overview(words = ''): string {
  const commands = COMMANDS.filter((command) => words === '' || command.words.startsWith(`${words} `));
  const lines = commands.map((command) => [signature(command), command.summary] as const);
  const width = Math.max(...lines.map(([left]) => left.length)) + 2;
  const text = `selvage: the userspace UDP backend for flannel networks

Usage: selvage ${words === '' ? 'COMMAND' : `${words} COMMAND`} [ARGUMENT...] [OPTION...]

Commands:
${lines.map(([left, summary]) => `  ${left.padEnd(width)}${summary}`).join('\n')}

Options:
  --help     print this and exit
  --version  print the version and exit

'selvage help COMMAND' or 'selvage COMMAND --help' tells more about a command.

Exit codes: 0 did what was asked, or stopped by SIGINT or SIGTERM; 1 could not start or go on, and the
last line says why; 2 the command line or the environment is wrong.`;
  return `${reflow(text, HELP_COLUMNS)}\n`;
}

function signature({ words, takes }: Command): string {
  return [words, ...takes].join(' ');
}

function helpOf(command: Command): string {
  return `Usage: selvage ${signature(command)} [OPTION...]

${reflow(command.about, HELP_COLUMNS)}

${formatOptions(command.options)}
`;
}

function printVersion(): Promise<number> {
  out(`${VERSION}\n`);
  return Promise.resolve(ExitCode.ok);
}

/**
 * Does what the command line says.
 *
 * @returns the exit code
 * @throws SelvageError ERR_USAGE for a wrong command line; else what the command throws
 */
export async function main(args: readonly string[]): Promise<number> {
  const [first, ...rest] = args;
  if (first === undefined) throw usageError('no command given');
  if (/^(-v|--?version)$/.test(first)) return await printVersion();
  if (first === 'help' || isHelp(first)) return printHelp(rest.filter((word) => !isHelp(word)));
  const command = findCommand(args);
  if (command === undefined) return missingCommand(args);
  const values = readOptions(command.options, args.slice(wordCount(command)), process.env);
  if (values.helpAsked) return print(helpOf(command));
  checkArguments(command, values);
  return await command.run(values);
}

function isHelp(word: string): boolean {
  return /^(-h|--?help)$/.test(word);
}

function print(text: string): number {
  out(text);
  return ExitCode.ok;
}

function printHelp(words: readonly string[]): number {
  const command = findCommand(words);
  if (command !== undefined) return print(helpOf(command));
  if (words.length === 0 || isGroup(words[0]!)) return print(overview(words[0]));
  throw usageError(`there is no command '${words.join(' ')}'`);
}

function findCommand(args: readonly string[]): Command | undefined {
  return COMMANDS.find((command) => command.words === args.slice(0, wordCount(command)).join(' '));
}

function wordCount({ words }: Command): number {
  return words.split(' ').length;
}

function isGroup(word: string): boolean {
  return COMMANDS.some(({ words }) => words.startsWith(`${word} `));
}

/** @returns the exit code of a group's help */
function missingCommand([first = '', second]: readonly string[]): number {
  if (first.startsWith('-')) {
    throw usageError(`no command given: options come after it, as in 'selvage run ${first}'`);
  }
  if (!isGroup(first)) throw usageError(`there is no command '${first}'`);
  if (second !== undefined && isHelp(second)) return print(overview(first));
  throw usageError(
    second === undefined
      ? `'${first}' needs a command after it: 'selvage help ${first}' lists them`
      : `there is no command '${first} ${second}'`,
  );
}

function checkArguments(command: Command, values: CliValues): void {
  const { takes, options } = command;
  const missing = takes[values.positionals.length];
  if (missing !== undefined && !missing.startsWith('['))
    throw usageError(`'${command.words}' needs ${missing}`);
  const extra = values.positionals[takes.length];
  if (extra === undefined) return;
  // It may be the second half of a password with a blank in it.
  const secret = options.find((option) => option.secret && values.isGiven(option.name));
  throw usageError(
    secret === undefined
      ? `'${command.words}' does not take the argument '${extra}'`
      : `'${command.words}' was given an argument too many; was the value of --${secret.name} meant to be in quotes?`,
  );
}
