/**
 * `npm run profile`: where the time of a lane goes, as Markdown. See `--help`.
 */
import { formatOptions } from '../src/cli/option_help.js';
import { type CliOption, integerOption, readOptions } from '../src/cli/option_table.js';
import { messageOf, SelvageError } from '../src/errors.js';
import { endedBySignal } from '../test/netns/open_labs.js';
import { ensurePackages, LAB_PACKAGES } from '../test/netns/packages.js';
import { ensurePrivileges } from '../test/netns/privileges.js';
import { busyWarning, environmentLines, readEnvironment } from './environment.js';
import { SCENARIO_NAMES, type ScenarioName } from './netns/matrix.js';
import { listOption, refuseArguments } from './options.js';
import { markdownOf, METHOD } from './profile/markdown.js';
import { profileRun } from './profile/profile_run.js';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

/** TCP streams of each load. */
const STREAMS = { tcp1: 1, tcp4: 4 } as const;
type ProfileLoad = keyof typeof STREAMS;

const OPTIONS: readonly CliOption[] = [
  { name: 'scenario', value: 'A,B', help: `only these of ${SCENARIO_NAMES.join(', ')}` },
  { name: 'load', value: 'A,B', help: `of ${Object.keys(STREAMS).join(', ')} [tcp1]` },
  { name: 'seconds', value: 'S', fallback: '10', help: 'how long each load runs, 1 to 60' },
  { name: 'interval', value: 'MICROS', fallback: '500', help: 'between two samples, 100 to 10000' },
  { name: 'help', help: 'print this and exit' },
];

const HELP = `Usage: npm run profile -- [OPTION...]

Runs TCP through two selvage daemons, one lane each, in private network namespaces on this machine, under V8's profiler,
and prints as Markdown where the time of each lane goes.

Options [default]:
${formatOptions(OPTIONS)}

Needs root, or a kernel that lets users make namespaces.
`;

interface ProfileSettings {
  readonly scenarios: readonly ScenarioName[];
  readonly loads: readonly ProfileLoad[];
  readonly seconds: number;
  readonly intervalMicros: number;
}

/** @returns undefined when only help was asked for. @throws SelvageError ERR_USAGE */
function readSettings(args: readonly string[]): ProfileSettings | undefined {
  const values = readOptions(OPTIONS, args, {});
  if (values.helpAsked) return undefined;
  refuseArguments(values);
  return {
    scenarios: listOption(values, 'scenario', SCENARIO_NAMES),
    loads: values.isGiven('load')
      ? listOption(values, 'load', Object.keys(STREAMS) as ProfileLoad[])
      : ['tcp1'],
    seconds: integerOption(values, 'seconds', 1, 60)!,
    intervalMicros: integerOption(values, 'interval', 100, 10_000)!,
  };
}

async function main(): Promise<void> {
  const settings = readSettings(process.argv.slice(2));
  if (settings === undefined) {
    print(HELP.trimEnd());
    return;
  }
  await ensurePrivileges();
  ensurePackages([...LAB_PACKAGES, 'ethtool', 'iperf3'], (line) => process.stderr.write(`${line}\n`));
  const environment = readEnvironment();
  const warning = busyWarning(environment);
  if (warning !== undefined) process.stderr.write(`${warning}\n\n`);
  print([METHOD, '', '```', ...environmentLines(environment), '```'].join('\n'));
  const { scenarios, loads, seconds, intervalMicros } = settings;
  for (const scenario of scenarios) {
    for (const load of loads) {
      const run = await profileRun({ scenario, streams: STREAMS[load], seconds, intervalMicros });
      print(`\n${markdownOf(run)}`);
    }
  }
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

try {
  await main();
} catch (error) {
  const usage = error instanceof SelvageError && error.code === 'ERR_USAGE';
  if (!endedBySignal()) process.stderr.write(`profile: ${messageOf(error)}${usage ? ' (see --help)' : ''}\n`);
  process.exitCode = usage ? EXIT_USAGE : EXIT_FAILED;
}
