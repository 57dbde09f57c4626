import { formatOptions } from '../src/cli/option_help.js';
import { type CliOption, type CliValues, integerOption, readOptions } from '../src/cli/option_table.js';
import { SelvageError } from '../src/index.js';
import { PATH_NAMES, type PathName } from '../test/netns/peers.js';
import { LOAD_NAMES, type LoadName, SCENARIO_NAMES, type ScenarioName } from './netns/matrix.js';

/** What `npm run bench` was asked to do. */
export interface BenchSettings {
  readonly help: boolean;
  readonly micro: boolean;
  readonly netns: boolean;
  readonly quick: boolean;
  readonly paths: readonly PathName[];
  readonly scenarios: readonly ScenarioName[];
  readonly loads: readonly LoadName[];
  readonly rounds: number;
  /** How long each load runs. */
  readonly seconds: number;
  /** Lanes of each `selvage run`. */
  readonly lanes: number;
  readonly jsonFile: string | undefined;
  readonly svgFile: string | undefined;
  /** Measure the control plane instead of comparing. */
  readonly leases: boolean;
  /** Measure what a flood of strangers costs instead of comparing. */
  readonly flood: boolean;
  /** Present: soak for so long instead of comparing. */
  readonly soakMinutes: number | undefined;
}

const DEFAULT_SVG = 'bench-results.svg';
const DEFAULT_SOAK_MINUTES = '10';
/** Bound of a soak: beyond that somebody has forgotten it. */
const MOST_SOAK_MINUTES = 60;

const OPTIONS: readonly CliOption[] = [
  { name: 'quick', help: 'one round of 1-second loads, micro-benchmarks shortened: under 3 minutes in all' },
  { name: 'micro', help: 'the micro-benchmarks only' },
  { name: 'netns', help: 'the comparison only' },
  { name: 'path', value: 'A,B', help: `compare only these of ${PATH_NAMES.join(', ')}` },
  { name: 'scenario', value: 'A,B', help: `only these of ${SCENARIO_NAMES.join(', ')}` },
  {
    name: 'load',
    value: 'A,B',
    help: `only these of ${LOAD_NAMES.slice(0, 3).join(', ')},\n${LOAD_NAMES.slice(3).join(', ')}`,
  },
  { name: 'rounds', value: 'N', help: 'times that everything is measured, 1 to 100 [3; quick: 1]' },
  { name: 'seconds', value: 'S', help: 'how long each load runs, 1 to 60 [5; quick: 1]' },
  { name: 'lanes', value: 'N', help: 'worker threads of each selvage, 1 to 64 [1; soak, leases: 2]' },
  {
    name: 'json',
    value: 'FILE',
    help: 'write the rows of the comparison to FILE (with --micro alone, --leases, --flood: their rows)\nand the chart beside it',
  },
  { name: 'svg', value: 'FILE', help: `write the chart to FILE [with --svg alone: ${DEFAULT_SVG}]` },
  {
    name: 'soak',
    value: 'MINUTES',
    help: `instead: selvage under full load for so long, up to ${MOST_SOAK_MINUTES} [with --soak alone: ${DEFAULT_SOAK_MINUTES}],\nwatching its resident memory`,
  },
  {
    name: 'leases',
    help: 'instead: what 100, 1,000 and 10,000 leases in etcd cost, and how soon a daemon that was\nkilled forwards again; under 3 minutes, with --quick under 1',
  },
  {
    name: 'flood',
    help: 'instead: one TCP stream while a stranger floods the port with 64-byte datagrams, against a flood\nthat only the kernel receives; under 2 minutes, with --quick under 1',
  },
  { name: 'help', help: 'print this and exit' },
];

/** Options whose value may be left out, and what it is then. */
const VALUE_LEFT_OUT: Readonly<Record<string, string>> = {
  '--svg': DEFAULT_SVG,
  '--soak': DEFAULT_SOAK_MINUTES,
};

export const BENCH_HELP = `Usage: npm run bench -- [OPTION...]

Micro-benchmarks of single steps, then the comparison: selvage against other ways to join two hosts, in private network
namespaces on this machine. All paths take turns within a round, and medians of the rounds are printed.
--path, --scenario and --load narrow the comparison and leave the micro-benchmarks out.

Paths:      host-gw (plain routing), vxlan (the kernel's), openvpn (no cipher: one packet per system call, and flanneld's
            wire format), fastd (method null), selvage
Scenarios:  veth (superframes cross the link whole), wire (the sender cuts them to MTU size as for a network card),
            wire-nogro (the same, and the receiver does not join them)
Loads:      tcp1, tcp4 (Gbit/s, 1 and 4 streams), udp64 (thousands of 64-byte datagrams delivered per second),
            rtt-idle-p50, rtt-idle-p99, rtt-load-p99 (ms, pings every millisecond; under load: beside one TCP stream),
            cpu-per-gib (CPU seconds of both forwarder processes per GiB that one TCP stream delivered; the kernel's
            own paths have no process to ask, so they have no such row)

Options [default]:
${formatOptions(OPTIONS)}

Needs root, or a kernel that lets users make namespaces. Missing programs are installed with apt-get where that is allowed.
Exit codes: 0 measured, whether or not the targets were met; 1 something could not be measured; 2 the command line is wrong.
`;

/** Reads the command line. @throws SelvageError ERR_USAGE */
export function benchSettings(args: readonly string[]): BenchSettings {
  const values = readOptions(OPTIONS, withValues(args), {});
  refuseArguments(values);
  const quick = values.isOn('quick');
  const jsonFile = values.text('json');
  const soakMinutes = minutesOption(values, 'soak');
  const leases = values.isOn('leases');
  const narrowed = ['path', 'scenario', 'load'].some((name) => values.isGiven(name));
  const micro = values.isOn('micro');
  const netns = values.isOn('netns') || narrowed;
  return {
    help: values.helpAsked,
    micro: micro || !netns,
    netns: netns || !micro,
    quick,
    paths: listOption(values, 'path', PATH_NAMES),
    scenarios: listOption(values, 'scenario', SCENARIO_NAMES),
    loads: listOption(values, 'load', LOAD_NAMES),
    rounds: integerOption(values, 'rounds', 1, 100) ?? (quick ? 1 : 3),
    seconds: integerOption(values, 'seconds', 1, 60) ?? (quick ? 1 : 5),
    lanes: integerOption(values, 'lanes', 1, 64) ?? (soakMinutes === undefined && !leases ? 1 : 2),
    jsonFile,
    svgFile: values.text('svg') ?? (jsonFile === undefined ? undefined : besideJson(jsonFile)),
    leases,
    flood: values.isOn('flood'),
    soakMinutes,
  };
}

/** @throws SelvageError ERR_USAGE for an argument that is no option */
export function refuseArguments({ positionals: [extra] }: CliValues): void {
  if (extra !== undefined) throw new SelvageError('ERR_USAGE', `'${extra}' is not an option`);
}

/** Reads a list of words, in the order of `choices`; all of them without the option. @throws SelvageError ERR_USAGE */
export function listOption<T extends string>(
  values: CliValues,
  name: string,
  choices: readonly T[],
): readonly T[] {
  const words = values.text(name)?.split(',');
  if (words === undefined) return choices;
  const unknown = words.find((word) => !choices.some((choice) => choice === word));
  if (unknown !== undefined) {
    throw new SelvageError('ERR_USAGE', `--${name}: "${unknown}" is not one of ${choices.join(', ')}`);
  }
  return choices.filter((choice) => words.includes(choice));
}

function minutesOption(values: CliValues, name: string): number | undefined {
  const text = values.text(name);
  if (text === undefined) return undefined;
  const value = /^\d{1,3}(\.\d{1,3})?$/.test(text) ? Number(text) : NaN;
  if (value > 0 && value <= MOST_SOAK_MINUTES) return value;
  throw new SelvageError(
    'ERR_USAGE',
    `--${name}: "${text}" is not a number of minutes up to ${MOST_SOAK_MINUTES}`,
  );
}

/** `readOptions` has no optional values, so the value that was left out is put in. */
function withValues(args: readonly string[]): string[] {
  return args.flatMap((arg, i) => {
    const value = VALUE_LEFT_OUT[arg];
    const next = args[i + 1];
    return value !== undefined && (next === undefined || next.startsWith('--')) ? [arg, value] : [arg];
  });
}

function besideJson(jsonFile: string): string {
  return `${jsonFile.replace(/\.json$/, '')}.svg`;
}
