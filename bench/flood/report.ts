import type { Samples, Summary } from '../samples.js';
import { figure, textTable } from '../text_table.js';

/** What the stranger does, the mildest first. */
export const FLOOD_ROW_NAMES = ['none', 'unread', 'early', 'lane'] as const;
export type FloodRowName = (typeof FLOOD_ROW_NAMES)[number];

/** What is measured of each. */
export type FloodFigure = 'tcp' | 'flood' | 'cpu';

const TITLES: Readonly<Record<FloodRowName, string>> = {
  none: 'no flood',
  unread: 'flood of a socket that nobody reads: what the kernel spends receiving it',
  early: 'flood of selvage, dropped early in the kernel',
  lane: 'flood of selvage with --early-drop=false: the lane receives and drops',
};

const UNITS: Readonly<Record<FloodFigure, string>> = { tcp: 'Gbit/s', flood: 'kpps', cpu: '% of a core' };

/** A flood may cost the TCP stream no more than this beyond what the kernel's receiving alone does: rounds differ by as much. */
const LEAST_OF_UNREAD = 0.95;

/** The basis that the figures were measured on. */
export interface FloodBasis {
  readonly rounds: number;
  readonly seconds: number;
  readonly lanes: number;
}

/** The table, how to read it, and what was promised. */
export function floodReport(samples: Samples, { rounds, seconds, lanes }: FloodBasis): string[] {
  const tcpOf = (name: FloodRowName): number => summaryOf(samples, name, 'tcp')?.median ?? NaN;
  const rows = FLOOD_ROW_NAMES.map((name) => {
    const tcp = summaryOf(samples, name, 'tcp');
    return [
      TITLES[name],
      figure(tcpOf(name)),
      `${figure(tcpOf(name) / tcpOf('none'))} x`,
      name === 'none' ? '' : `${figure(tcpOf(name) / tcpOf('unread'))} x`,
      figure(summaryOf(samples, name, 'flood')?.median ?? NaN),
      figure(summaryOf(samples, name, 'cpu')?.median ?? NaN),
      tcp === undefined ? '' : `${((100 * (tcp.max - tcp.min)) / tcp.median).toFixed(0)} %`,
    ];
  });
  const headings = ['', 'TCP Gbit/s', 'of no flood', 'of unread', 'flood kpps', 'receiver CPU %', 'spread'];
  const measured = tcpOf('early') / tcpOf('unread');
  return [
    '',
    ...textTable([headings, ...rows]),
    '',
    `One TCP stream beside 64-byte datagrams of an unknown sender, ${lanes} ${lanes === 1 ? 'lane' : 'lanes'};`,
    `medians of ${rounds} interleaved rounds of ${seconds} s. The sender is bound to the last core and sends no faster`,
    'in any row than it can alone. receiver CPU: of the flooded selvage, all its threads; spread: (max - min) / median of TCP.',
    '',
    `a flood costs TCP no more than its receiving by the kernel (at least ${LEAST_OF_UNREAD} x unread): ` +
      `${measured >= LEAST_OF_UNREAD ? 'yes' : 'NO'} (${figure(measured)} x)`,
  ];
}

/** For a JSON file: one row for each figure of each flood. */
export function floodRows(samples: Samples): object[] {
  return FLOOD_ROW_NAMES.flatMap((name) =>
    (Object.keys(UNITS) as FloodFigure[]).map((figureName) => ({
      flood: name,
      figure: figureName,
      unit: UNITS[figureName],
      ...summaryOf(samples, name, figureName),
    })),
  );
}

function summaryOf(samples: Samples, name: FloodRowName, figureName: FloodFigure): Summary | undefined {
  return samples.summary(`${name} ${figureName}`);
}
