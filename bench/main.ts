/**
 * `npm run bench`: micro-benchmarks, the comparison with other paths, the control plane, a flood of strangers, the soak. See `--help`.
 */
import { messageOf, SelvageError } from '../src/errors.js';
import { endedBySignal } from '../test/netns/open_labs.js';
import { ensurePrivileges } from '../test/netns/privileges.js';
import { busyWarning, environmentLines, readEnvironment } from './environment.js';
import { benchFlood } from './flood/main.js';
import { benchLeases } from './leases/main.js';
import { runMicro } from './micro/main.js';
import { compare } from './netns/compare.js';
import { soak } from './netns/soak.js';
import { BENCH_HELP, type BenchSettings, benchSettings } from './options.js';

const EXIT_INCOMPLETE = 1;
const EXIT_USAGE = 2;

async function main(): Promise<number> {
  const settings = benchSettings(process.argv.slice(2));
  if (settings.help) {
    print(BENCH_HELP.trimEnd());
    return 0;
  }
  // Comes first: where it needs a user namespace, it runs this program again from the start.
  const { leases, flood, soakMinutes } = settings;
  if (settings.netns || leases || flood || soakMinutes !== undefined) await ensurePrivileges();
  const conditions = announceEnvironment();
  if (soakMinutes !== undefined) {
    await soak({ minutes: soakMinutes, lanes: settings.lanes });
    return 0;
  }
  if (flood) {
    await benchFlood(settings);
    return 0;
  }
  if (leases) {
    await benchLeases(settings);
    return 0;
  }
  return (await measureAll(settings, conditions)) ? 0 : EXIT_INCOMPLETE;
}

async function measureAll(settings: BenchSettings, conditions: readonly string[]): Promise<boolean> {
  if (settings.micro) {
    await runMicro({ quick: settings.quick, json: settings.netns ? undefined : settings.jsonFile });
    print('');
  }
  return settings.netns ? await compare(settings, conditions) : true;
}

/** @returns the conditions as lines */
function announceEnvironment(): string[] {
  const environment = readEnvironment();
  const warning = busyWarning(environment);
  const lines = [...environmentLines(environment), ...(warning === undefined ? [] : [warning])];
  print(`${lines.join('\n')}\n`);
  return lines;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

try {
  process.exitCode = await main();
} catch (error) {
  const usage = error instanceof SelvageError && error.code === 'ERR_USAGE';
  if (!endedBySignal()) process.stderr.write(`bench: ${messageOf(error)}${usage ? ' (see --help)' : ''}\n`);
  process.exitCode = usage ? EXIT_USAGE : EXIT_INCOMPLETE;
}
