import { parseArgs } from 'node:util';

import { SelvageError } from '../index.js';

/** One option of a command: what `--help` prints and what the parser takes. */
export interface CliOption {
  /** Without the dashes. */
  readonly name: string;
  /** Name of its value in the help; absent for a switch. */
  readonly value?: string;
  /** Text as the user would write it. */
  readonly fallback?: string;
  readonly help: string;
}

/** Texts by option name; a switch that was given is "true". */
export type CliValues = ReadonlyMap<string, string>;

/** The environment variable of an option: `--stats-interval` is SELVAGE_STATS_INTERVAL. */
export function environmentName(option: CliOption): string {
  return `SELVAGE_${option.name.toUpperCase().replaceAll('-', '_')}`;
}

/**
 * Reads options: the command line wins over the environment, the environment over the defaults; an empty environment
 * variable counts as absent.
 *
 * @throws SelvageError ERR_USAGE
 */
export function readOptions(
  table: readonly CliOption[],
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
): CliValues {
  const given = parse(table, args);
  const values = new Map<string, string>();
  for (const option of table) {
    const text = given[option.name] ?? fromEnvironment(option, environment) ?? option.fallback;
    if (text !== undefined && text !== false) values.set(option.name, String(text));
  }
  return values;
}

const SWITCH_WORDS = new Map([
  ...['1', 'true', 'yes', 'on'].map((word) => [word, true] as const),
  ...['0', 'false', 'no', 'off'].map((word) => [word, false] as const),
]);

/** @throws SelvageError ERR_USAGE for a switch that is set to something else than yes or no */
function fromEnvironment(option: CliOption, environment: NodeJS.ProcessEnv): string | boolean | undefined {
  const name = environmentName(option);
  const text = environment[name] || undefined;
  if (text === undefined || option.value !== undefined) return text;
  const word = SWITCH_WORDS.get(text.toLowerCase());
  if (word !== undefined) return word;
  throw new SelvageError(
    'ERR_USAGE',
    `${name}: "${text}" is not one of ${[...SWITCH_WORDS.keys()].join(', ')}`,
  );
}

function parse(
  table: readonly CliOption[],
  args: readonly string[],
): Record<string, string | boolean | undefined> {
  const options = Object.fromEntries(
    table.map(({ name, value }) => [name, { type: value === undefined ? 'boolean' : 'string' } as const]),
  );
  try {
    return parseArgs({ args: [...args], options, allowPositionals: false, strict: true }).values;
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new SelvageError('ERR_USAGE', message.split('\n')[0]!.split('. ')[0]!, { cause });
  }
}

/** Reads a whole number. @throws SelvageError ERR_USAGE, naming the option and the range */
export function integerOption(
  values: CliValues,
  name: string,
  least: number,
  most: number,
): number | undefined {
  const text = values.get(name);
  if (text === undefined) return undefined;
  const value = /^\d{1,10}$/.test(text) ? Number(text) : NaN;
  if (value >= least && value <= most) return value;
  throw new SelvageError('ERR_USAGE', `--${name}: "${text}" is not a whole number from ${least} to ${most}`);
}

/** Reads one of several words. @throws SelvageError ERR_USAGE */
export function choiceOption<T extends string>(values: CliValues, name: string, choices: readonly T[]): T {
  const text = values.get(name);
  const choice = choices.find((candidate) => candidate === text);
  if (choice !== undefined) return choice;
  throw new SelvageError('ERR_USAGE', `--${name}: "${text ?? ''}" is not one of ${choices.join(', ')}`);
}

const HELP_COLUMN = 30;

/** The options as `--help` shows them. */
export function formatOptions(table: readonly CliOption[]): string {
  return table.map(formatOption).join('\n');
}

function formatOption(option: CliOption): string {
  const left = `  --${option.name}${option.value === undefined ? '' : ` ${option.value}`}`;
  const fallback = option.fallback === undefined ? '' : ` [${option.fallback}]`;
  const lines = `${option.help}${fallback}`.split('\n');
  const first =
    left.length < HELP_COLUMN - 1 ? left.padEnd(HELP_COLUMN) : `${left}\n${' '.repeat(HELP_COLUMN)}`;
  return first + lines.join(`\n${' '.repeat(HELP_COLUMN)}`);
}
