import type { PathName } from '../../test/netns/peers.js';
import { figure, textTable } from '../text_table.js';
import {
  basisOf,
  isMeasurable,
  LOADS,
  type LoadName,
  type Matrix,
  SCENARIO_TITLES,
  type ScenarioName,
} from './matrix.js';
import type { Results } from './results.js';
import { judgeTargets } from './targets.js';

const BASES: readonly PathName[] = ['openvpn', 'vxlan'];

/** One table per scenario: medians by path, what selvage is to openvpn and to VXLAN, and how far rounds lay apart. */
export function scenarioTables(matrix: Matrix, results: Results): string[] {
  return matrix.scenarios.flatMap((scenario) => [
    '',
    SCENARIO_TITLES[scenario],
    ...textTable([
      headings(matrix),
      ...matrix.loads.map((load) => tableRow(matrix, results, scenario, load)),
    ]).map((line) => `  ${line}`),
  ]);
}

/** How to read {@link scenarioTables}. */
export function tableNotes(matrix: Matrix): string[] {
  return [
    '',
    `Figures are ${basisOf(matrix)}.` +
      (matrix.rounds > 1 ? ' spread: the largest (max - min) / median of the row.' : ''),
    ...(matrix.loads.includes('cpu-per-gib')
      ? ['cpu-per-gib: host-gw and vxlan forward in the kernel, where no process can be asked.']
      : []),
  ];
}

/** What the project promises, as far as this run measured it. */
export function targetTable(results: Results): string[] {
  const verdicts = judgeTargets(results);
  const measured = verdicts.filter(({ measured }) => measured !== undefined);
  if (measured.length === 0) return ['', 'None of the targets was measured in this run.'];
  const rows = measured.map(({ target, measured, met }) => [
    `${target.scenario} ${target.load}`,
    `${target.bound} ${target.factor} x ${target.base}`,
    `${figure(measured ?? NaN)} x`,
    met ? 'yes' : 'NO',
  ]);
  const left = verdicts.length - measured.length;
  return [
    '',
    'Targets for selvage',
    ...textTable([['', 'target', 'measured', 'met'], ...rows]).map((line) => `  ${line}`),
    ...(left === 0 ? [] : [`  (${left} more were not measured in this run)`]),
  ];
}

function headings({ paths, rounds }: Matrix): string[] {
  const ratios = comparedWith(paths).map((base) => `selvage/${base}`);
  return ['', 'unit', ...paths, ...ratios, ...(rounds > 1 ? ['spread'] : [])];
}

function tableRow(
  { paths, rounds }: Matrix,
  results: Results,
  scenario: ScenarioName,
  load: LoadName,
): string[] {
  const medians = paths.map((path) => medianText(results, scenario, path, load));
  const ratios = comparedWith(paths).map((base) => {
    const ratio = results.ratio(scenario, load, 'selvage', base);
    return ratio === undefined ? '' : `${figure(ratio)} x`;
  });
  return [
    load,
    LOADS[load].unit,
    ...medians,
    ...ratios,
    ...(rounds > 1 ? [spread(paths, results, scenario, load)] : []),
  ];
}

function medianText(results: Results, scenario: ScenarioName, path: PathName, load: LoadName): string {
  const row = results.row(scenario, path, load);
  if (row !== undefined) return figure(row.median);
  return isMeasurable(path, load) ? 'failed' : '-';
}

function comparedWith(paths: readonly PathName[]): readonly PathName[] {
  return paths.includes('selvage') ? BASES.filter((base) => paths.includes(base)) : [];
}

function spread(
  paths: readonly PathName[],
  results: Results,
  scenario: ScenarioName,
  load: LoadName,
): string {
  const spreads = paths.flatMap((path) => {
    const row = results.row(scenario, path, load);
    return row === undefined || row.rounds < 2 ? [] : [(row.max - row.min) / row.median];
  });
  return spreads.length === 0 ? '' : `${(100 * Math.max(...spreads)).toFixed(0)} %`;
}
