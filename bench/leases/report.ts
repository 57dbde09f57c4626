import { figure, textTable } from '../text_table.js';
import { type FigureName, FIGURES, type LeaseFigures } from './figures.js';

/** Something selvage promises of its control plane, at the largest network. */
interface Promised {
  readonly figure: FigureName;
  readonly atMost: number;
  readonly text: string;
}

const PROMISES: readonly Promised[] = [
  { figure: 'load-lists', atMost: 1, text: 'all leases load in one list' },
  { figure: 'load-total', atMost: 2_000, text: 'and are in every lane within' },
  { figure: 'change-p99', atMost: 50, text: 'a change is in every lane within (99th percentile)' },
  { figure: 'change-max', atMost: 50, text: 'the same of the slowest change of a round' },
  { figure: 'restart-etcd', atMost: 1_000, text: 'a killed daemon forwards again within' },
  { figure: 'restart-away', atMost: 1_000, text: 'the same with etcd away' },
];

/** Medians, a column for each number of leases. */
export function figureTable(figures: LeaseFigures, sizes: readonly number[]): string[] {
  const rows = (Object.keys(FIGURES) as FigureName[]).flatMap((name) => {
    const cells = sizes.map((leases) => figures.row(leases, name)?.median);
    if (cells.every((cell) => cell === undefined)) return [];
    const { title, unit } = FIGURES[name];
    return [[title, unit, ...cells.map((cell) => (cell === undefined ? '-' : figure(cell)))]];
  });
  return textTable([['', 'leases', ...sizes.map((leases) => leases.toLocaleString('en-US'))], ...rows]);
}

/** What is promised, and what was measured with so many leases. */
export function promiseTable(figures: LeaseFigures, leases: number): string[] {
  const rows = PROMISES.flatMap(({ figure: name, atMost, text }) => {
    const row = figures.row(leases, name);
    if (row === undefined) return [];
    const spread = `${figure(row.min)} to ${figure(row.max)}`;
    return [
      [text, `${atMost} ${row.unit}`.trim(), figure(row.median), spread, row.median <= atMost ? 'yes' : 'NO'],
    ];
  });
  return [
    '',
    `With ${leases.toLocaleString('en-US')} leases`,
    ...textTable([['', 'at most', 'median', 'of rounds', 'met'], ...rows]).map((line) => `  ${line}`),
  ];
}
