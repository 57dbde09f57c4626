import type { CliOption, CliValues } from './option_table.js';

/** One command: what its help prints and what it does. */
export interface Command {
  /** The words that call it, e.g. `lease list`. */
  readonly words: string;
  /** Names of its arguments, e.g. `SUBNET`; in brackets those that may be left out. */
  readonly takes: readonly string[];
  /** One line for the list of commands. */
  readonly summary: string;
  /** Paragraphs, with examples; lines of at most 100 columns. */
  readonly about: string;
  readonly options: readonly CliOption[];
  /** @returns the exit code */
  run(values: CliValues): Promise<number>;
}

/** Every command has it. */
export const HELP_OPTION: CliOption = {
  name: 'help',
  heading: 'Options',
  commandLineOnly: true,
  help: 'print this and exit',
};

export const JSON_OPTION: CliOption = {
  name: 'json',
  heading: 'Options',
  commandLineOnly: true,
  help: 'print JSON, for programs',
};

/** Writes to standard output. */
export function out(text: string): void {
  process.stdout.write(text);
}

/** For commands with options of flanneld's. */
export const ENVIRONMENT_HELP = `Options are written -name value, -name=value, or with two dashes; switches -name or -name=false. Those marked *
are flanneld's. An option can also be set in the environment: SELVAGE_ and its name in capitals with "_" for
"-" (SELVAGE_ETCD_PREFIX), flanneld's also as FLANNELD_ (FLANNELD_ETCD_PREFIX). The command line wins over
SELVAGE_, that over FLANNELD_, that over the default in brackets; an empty variable counts as absent. A variable
that cannot be read is an error, where flanneld logs it and goes on with the default.`;
