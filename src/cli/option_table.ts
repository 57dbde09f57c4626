import { nearName, SelvageError } from '../index.js';

/** One option of a command: what `--help` prints and what the parser takes. */
export interface CliOption {
  /** Without the dashes. */
  readonly name: string;
  /** Name of its value in the help; absent for a switch. */
  readonly value?: string;
  /** Text as the user would write it. */
  readonly fallback?: string;
  /** One paragraph; a default that is no fixed text stands at its end in brackets. */
  readonly help: string;
  /** The group it stands in; options of one group follow each other. */
  readonly heading?: string;
  /** May be given several times; all values count, in order. Otherwise the last one does. */
  readonly repeatable?: true;
  /** A flag of flanneld too, so its variable `FLANNELD_...` counts. */
  readonly flanneld?: true;
  /** Its value is never printed. */
  readonly secret?: true;
  /** No environment variable sets it. */
  readonly commandLineOnly?: true;
}

/** Where a value came from, as the user wrote it (`--port`, `SELVAGE_PORT`), and its texts. */
export interface GivenOption {
  readonly label: string;
  readonly texts: readonly string[];
}

/** What the command line and the environment say. Immutable. */
export class CliValues {
  /** Arguments that are no options. */
  readonly positionals: readonly string[];
  /** `--help` was met; nothing after it was read, and nothing was checked. */
  readonly helpAsked: boolean;
  readonly #given: ReadonlyMap<string, GivenOption>;
  readonly #table: readonly CliOption[];
  readonly #fallbacks: ReadonlyMap<string, string>;

  constructor(
    table: readonly CliOption[],
    given: ReadonlyMap<string, GivenOption>,
    positionals: readonly string[],
    helpAsked: boolean,
  ) {
    this.positionals = positionals;
    this.helpAsked = helpAsked;
    this.#given = given;
    this.#table = table;
    this.#fallbacks = new Map(table.flatMap(({ name, fallback }) => (fallback ? [[name, fallback]] : [])));
  }

  /**
   * These values with others over them.
   *
   * @param without options whose present values do not count
   */
  with(over: ReadonlyMap<string, GivenOption>, without: readonly string[] = []): CliValues {
    const kept = [...this.#given].filter(([name]) => !without.includes(name));
    return new CliValues(this.#table, new Map([...kept, ...over]), this.positionals, this.helpAsked);
  }

  /** Whether the user set it; a default does not count. */
  isGiven(name: string): boolean {
    return this.#given.has(name);
  }

  /** Its value or its default; the last one of a repeatable option. */
  text(name: string): string | undefined {
    return this.#given.get(name)?.texts.at(-1) ?? this.#fallbacks.get(name);
  }

  /** All values of a repeatable option, in order. */
  texts(name: string): readonly string[] {
    return this.#given.get(name)?.texts ?? [];
  }

  /** Whether a switch is on. */
  isOn(name: string): boolean {
    return this.text(name) === 'true';
  }

  /** What to call it in a message: the variable when the value came from there. */
  label(name: string): string {
    return this.#given.get(name)?.label ?? `--${name}`;
  }
}

/** The variables that set an option, the stronger first: `--iface` is SELVAGE_IFACE, and FLANNELD_IFACE as flanneld's. */
export function environmentNames({ name, flanneld, commandLineOnly }: CliOption): string[] {
  if (commandLineOnly) return [];
  const upper = name.toUpperCase().replaceAll('-', '_');
  return [`SELVAGE_${upper}`, ...(flanneld ? [`FLANNELD_${upper}`] : [])];
}

/**
 * Reads options in the syntax of Go's flag package and in GNU's: `-name value`, `-name=value`, and both with two dashes; a
 * switch takes a value only behind `=`. After `--` come arguments. The command line wins over SELVAGE_ variables, these over
 * FLANNELD_ variables, these over defaults; an empty variable counts as absent.
 *
 * flanneld logs a variable that it cannot read and goes on with the default; here it is an error, as nobody reads that line.
 *
 * @throws SelvageError ERR_USAGE, naming what the user wrote; never the value of a secret
 */
export function readOptions(
  table: readonly CliOption[],
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
): CliValues {
  const { given, positionals, helpAsked } = new ArgumentReader(table, args).read();
  for (const option of helpAsked ? [] : table) {
    if (given.has(option.name)) continue;
    const found = fromEnvironment(option, environment);
    if (found !== undefined) given.set(option.name, found);
  }
  return new CliValues(table, given, positionals, helpAsked);
}

function fromEnvironment(option: CliOption, environment: NodeJS.ProcessEnv): GivenOption | undefined {
  const label = environmentNames(option).find((name) => (environment[name] ?? '') !== '');
  if (label === undefined) return undefined;
  const text = environment[label]!;
  return { label, texts: [option.value === undefined ? switchWord(label, text) : text] };
}

/** What Go's strconv.ParseBool takes, and the usual words beside it. */
const SWITCH_WORDS = new Map([
  ...['true', '1', 't', 'yes', 'on'].map((word) => [word, 'true'] as const),
  ...['false', '0', 'f', 'no', 'off'].map((word) => [word, 'false'] as const),
]);

function switchWord(label: string, text: string): string {
  const word = SWITCH_WORDS.get(text.toLowerCase());
  if (word !== undefined) return word;
  throw usageError(`${label}: "${text}" is not one of ${[...SWITCH_WORDS.keys()].join(', ')}`);
}

/** One or two dashes, a name, and perhaps a value behind `=`; `-` alone is an argument (Go flag, parseOne). */
const FLAG = /^--?([^=-][^=]*)(?:=([^]*))?$/;

/** Reads arguments from left to right. */
class ArgumentReader {
  readonly #table: readonly CliOption[];
  readonly #args: readonly string[];
  readonly #given = new Map<string, { label: string; texts: string[] }>();
  readonly #positionals: string[] = [];
  #at = 0;

  constructor(table: readonly CliOption[], args: readonly string[]) {
    this.#table = table;
    this.#args = args;
  }

  read(): { given: Map<string, GivenOption>; positionals: string[]; helpAsked: boolean } {
    let helpAsked = false;
    while (this.#at < this.#args.length && !helpAsked) {
      const argument = this.#args[this.#at++]!;
      if (argument === '--') {
        this.#positionals.push(...this.#args.slice(this.#at));
        break;
      }
      if (argument === '-' || !argument.startsWith('-')) this.#positionals.push(argument);
      else helpAsked = this.#readFlag(argument);
    }
    return { given: this.#given, positionals: this.#positionals, helpAsked };
  }

  /** @returns whether it asks for help */
  #readFlag(argument: string): boolean {
    const [, name, inline] = FLAG.exec(argument) ?? [];
    if (name === undefined) throw usageError(`"${argument.split('=')[0]}" is not an option`);
    if (name === 'help' || name === 'h') return true;
    const option = this.#table.find((candidate) => candidate.name === name);
    if (option === undefined) throw unknownOption(name, this.#table);
    const label = `--${name}`;
    const text =
      option.value === undefined
        ? this.#switchValue(label, inline)
        : requireText(option, inline ?? this.#nextArgument(option));
    if (text === undefined) return false;
    const texts = (option.repeatable && this.#given.get(name)?.texts) || [];
    this.#given.set(name, { label, texts: [...texts, text] });
    return false;
  }

  #switchValue(label: string, inline: string | undefined): string {
    const next = this.#args[this.#at]?.toLowerCase() ?? '';
    if (inline === undefined && SWITCH_WORDS.has(next)) {
      throw usageError(`${label} takes its value behind "=": ${label}=${next}`);
    }
    return switchWord(label, inline ?? 'true');
  }

  /** The value in the next argument; it may begin with a dash, but not be an option that the command has. */
  #nextArgument(option: CliOption): string {
    const text = this.#args[this.#at++];
    const name = FLAG.exec(text ?? '')?.[1];
    const isOption = name !== undefined && this.#table.some((candidate) => candidate.name === name);
    if (text !== undefined && !isOption) return text;
    throw usageError(`--${option.name} needs a value: --${option.name} ${option.value}`);
  }
}

/**
 * An empty value is what `-public-ip=${PUBLIC_IP}` becomes in a unit file: absent, for those of flanneld's flags whose default
 * is empty. For others it would be a choice that nobody made.
 */
function requireText(option: CliOption, text: string): string | undefined {
  if (text !== '') return text;
  if (option.flanneld && option.fallback === undefined) return undefined;
  throw usageError(`--${option.name} needs a value: --${option.name} ${option.value}`);
}

function unknownOption(name: string, table: readonly CliOption[]): SelvageError {
  const names = table.map((option) => option.name);
  const near = nearName(name, names);
  return usageError(
    `there is no option --${name.slice(0, 60)}${near === undefined ? '' : `; did you mean --${near}?`}`,
  );
}

/** A mistake on the command line. */
export function usageError(message: string, cause?: unknown): SelvageError {
  return new SelvageError('ERR_USAGE', message, { cause });
}

/** Reads a whole number. @throws SelvageError ERR_USAGE, naming the option and the range */
export function integerOption(
  values: CliValues,
  name: string,
  least: number,
  most: number,
): number | undefined {
  const text = values.text(name);
  if (text === undefined) return undefined;
  const value = /^\d{1,10}$/.test(text) ? Number(text) : NaN;
  if (value >= least && value <= most) return value;
  throw usageError(`${values.label(name)}: "${text}" is not a whole number from ${least} to ${most}`);
}

/** Reads one of several words. @throws SelvageError ERR_USAGE */
export function choiceOption<T extends string>(values: CliValues, name: string, choices: readonly T[]): T {
  const text = values.text(name);
  const choice = choices.find((candidate) => candidate === text);
  if (choice !== undefined) return choice;
  throw usageError(`${values.label(name)}: "${text ?? ''}" is not one of ${choices.join(', ')}`);
}
