import {
  checkPaths,
  DEFAULT_MOST_PEERS,
  isSegments,
  parseAddress,
  type PathReport,
  readDaemonStatus,
  SelvageError,
} from '../index.js';
import { DAEMON_OPTIONS } from './daemon_options.js';
import { checkText } from './check_text.js';
import { type Command, HELP_OPTION, JSON_OPTION, out } from './command.js';
import { daemonSockets } from './each_daemon.js';
import { ExitCode } from './exit_code.js';
import { type CliOption, type CliValues, integerOption, usageError } from './option_table.js';

const MOST_TIMEOUT_SECONDS = 60;
const MOST_PEERS = 65_535;

function option(name: string, value: string, help: string, fallback?: string): CliOption {
  const base = { name, heading: 'Options', value, commandLineOnly: true as const, help };
  return fallback === undefined ? base : { ...base, fallback };
}

export const CHECK_COMMAND: Command = {
  words: 'check',
  takes: ['[PEER|INNER-ADDRESS]'],
  summary: 'walk the path to each peer, or to one address, and say what is wrong',
  about: `Looks at the daemon (health, lease, store, routes), and for each peer, or the one whose public IP is given, at the
kernel's route, the underlay and what size of packet it takes, the peer's UDP port, and echoes through the overlay
to its device, small and of full size. Given an address of the overlay, it looks at the route to it, at its host in
the same way, and at the address itself.

Needs CAP_NET_RAW in the daemon's network namespace, and the package raw-socket; without them it does what is left.
docs/check.md tells what each finding means.

Examples:
  selvage check
  selvage check 192.0.2.2
  selvage check 10.1.2.5 || echo look into it
  selvage check --json | jq -r '.findings[] | select(.severity == "fault") | .message'

Exit codes: 0 no fault, though there may be warnings; 1 something is wrong; 2 the command line is wrong; 3 could not
check: there is no daemon, or no privilege to send echoes, and no fault was found without them.`,
  options: [
    option('timeout', 'SECONDS', 'wait so long for each answer; each request is made up to three times', '1'),
    option(
      'peers',
      'N',
      'look at so many peers: those that never answered, then a sample',
      `${DEFAULT_MOST_PEERS}`,
    ),
    ...DAEMON_OPTIONS,
    JSON_OPTION,
    HELP_OPTION,
  ],
  run: (values) => check(checkQuestion(values)),
};

/** What `selvage check` was asked. */
export interface CheckQuestion {
  /** Public IP of a peer, or an address of the overlay. */
  readonly address?: string | undefined;
  readonly timeoutMillis: number;
  readonly mostPeers: number;
  readonly socket?: string | undefined;
  readonly segment?: string | undefined;
  readonly json: boolean;
}

/** @throws SelvageError ERR_USAGE naming the option */
export function checkQuestion(values: CliValues): CheckQuestion {
  const [address] = values.positionals;
  if (address !== undefined) requireAddress(address);
  return {
    address,
    timeoutMillis: 1000 * integerOption(values, 'timeout', 1, MOST_TIMEOUT_SECONDS)!,
    mostPeers: integerOption(values, 'peers', 1, MOST_PEERS)!,
    socket: values.text('socket'),
    segment: values.text('segment'),
    json: values.isOn('json'),
  };
}

function requireAddress(text: string): void {
  try {
    parseAddress(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw usageError(`${why}; give the public IP of a peer, or an address of the overlay`, error);
  }
}

/** One network of this host. */
interface Network {
  readonly socketPath: string;
  readonly segment?: string | undefined;
}

/** A network, and what was found. */
export interface CheckedNetwork extends Network {
  readonly report: PathReport;
}

/**
 * `selvage check`: looks at one network, or at each of this host, and prints what it found.
 *
 * @returns the exit code
 */
export async function check(question: CheckQuestion): Promise<number> {
  const checked: CheckedNetwork[] = [];
  const failures: SelvageError[] = [];
  const keep = (error: unknown): void => {
    if (!(error instanceof SelvageError)) throw error;
    failures.push(error);
  };
  for (const network of await listNetworks(question, keep)) {
    await checkOne(network, question).then((one) => checked.push(one), keep);
  }
  const relevant = relevantTo(checked);
  print(relevant, question);
  const told = checked.length === 0 ? failures : failures.filter(({ code }) => code !== 'ERR_SEGMENT');
  for (const { message } of told) process.stderr.write(`selvage: ${message}\n`);
  return checkExitCode(relevant, told.length > 0);
}

/** @returns 1 where a fault was found, 3 where something could not be looked at, else 0 */
export function checkExitCode(checked: readonly CheckedNetwork[], isIncomplete: boolean): number {
  if (checked.some(({ report }) => report.verdict === 'fault')) return ExitCode.failed;
  const unchecked = isIncomplete || checked.some(({ report }) => report.verdict === 'unchecked');
  return unchecked ? ExitCode.unchecked : ExitCode.ok;
}

/** Of several networks an address belongs to one: that the others do not know it is no fault. */
export function relevantTo(checked: readonly CheckedNetwork[]): readonly CheckedNetwork[] {
  const knowing = checked.filter(({ report }) => report.facts.target.kind !== 'unknown');
  return knowing.length > 0 ? knowing : checked;
}

async function listNetworks(
  { socket, segment }: CheckQuestion,
  onFailure: (error: unknown) => void,
): Promise<Network[]> {
  const networks: Network[] = [];
  const sockets = await daemonSockets({ socket }).catch((error: unknown) => (onFailure(error), []));
  for (const socketPath of sockets) {
    if (segment !== undefined) {
      networks.push({ socketPath, segment });
      continue;
    }
    try {
      const status = await readDaemonStatus(socketPath);
      if (isSegments(status))
        networks.push(...status.segments.map(({ name }) => ({ socketPath, segment: name })));
      else networks.push({ socketPath });
    } catch (error) {
      onFailure(error);
    }
  }
  return networks;
}

async function checkOne(network: Network, question: CheckQuestion): Promise<CheckedNetwork> {
  const { address, timeoutMillis, mostPeers } = question;
  const onProgress = process.stderr.isTTY ? showProgress : undefined;
  const options = { ...network, address, timeoutMillis, mostPeers };
  try {
    return {
      ...network,
      report: await checkPaths(onProgress === undefined ? options : { ...options, onProgress }),
    };
  } finally {
    if (onProgress !== undefined) process.stderr.write(ERASE_LINE);
  }
}

const ERASE_LINE = '\r\x1b[K';

function showProgress(done: number, total: number): void {
  if (total > 1) process.stderr.write(`${ERASE_LINE}checked ${done} of ${total} peers`);
}

function print(checked: readonly CheckedNetwork[], { json }: CheckQuestion): void {
  if (json) {
    for (const { socketPath, segment, report } of checked) {
      out(`${JSON.stringify({ socketPath, segment: segment ?? null, ...report })}\n`);
    }
  } else out(checkText(checked));
}
