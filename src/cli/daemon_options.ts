import type { CliOption } from './option_table.js';

/** Which daemon a command asks: the options of every command that asks one. */
export const DAEMON_OPTIONS: readonly CliOption[] = [
  {
    name: 'socket',
    heading: 'Options',
    value: 'PATH',
    commandLineOnly: true,
    help: "the daemon's --control-socket [every socket in /run/selvage]",
  },
  {
    name: 'segment',
    heading: 'Options',
    value: 'NAME',
    commandLineOnly: true,
    help: 'of a daemon with --segments: only this network [all of them]',
  },
];
