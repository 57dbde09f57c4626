import type { PathName } from '../../test/netns/peers.js';
import { figure } from '../text_table.js';
import { basisOf, LOADS, type LoadName, type Matrix, type ScenarioName } from './matrix.js';
import type { BenchRow, Results } from './results.js';

/** Pixels. One panel per load, two beside each other; in it a group of bars per scenario, a bar per path. */
const PANEL_WIDTH = 560;
const PANEL_HEIGHT = 230;
const PANEL_GAP = 24;
const MARGIN = 20;
const LEGEND_HEIGHT = 74;
const NOTE_HEIGHT = 34;
const TITLE_HEIGHT = 44;
/** Height of the tallest bar; the rest of a panel is its title and the scenario names. */
const BAR_AREA_HEIGHT = 150;
/** Lines of the conditions that are shown; all of them are in the comment. */
const CONDITIONS_SHOWN = 4;
const GROUP_GAP = 26;
const BAR_GAP = 2;

/** Told apart with any colour vision (Okabe and Ito), and light enough for a dark page and dark enough for a light one. */
const COLOURS: Readonly<Record<PathName, string>> = {
  'host-gw': '#8c8c8c',
  vxlan: '#56b4e9',
  openvpn: '#e69f00',
  fastd: '#cc79a7',
  selvage: '#009e73',
};

const STYLE = `
  :root { color-scheme: light dark }
  .page { fill: #ffffff } text { fill: #1f2328; font: 12px system-ui, sans-serif }
  .title { font-size: 15px; font-weight: 600 } .panel { font-size: 13px; font-weight: 600 }
  .value { font-size: 10px; text-anchor: middle } .group { text-anchor: middle }
  .own { font-weight: 700 } .quiet { fill: #59636e } line { stroke: #59636e }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #e6edf3 } .quiet { fill: #9198a1 } line { stroke: #9198a1 }
  }`;

/**
 * The medians as a picture: SVG, readable on light and dark pages, no script and no external part.
 *
 * @param conditions lines about the machine; they go into a comment, and the first ones under the legend
 */
export function chart(matrix: Matrix, results: Results, conditions: readonly string[]): string {
  const panels = matrix.loads.filter((load) => tallest(matrix, results, load) > 0);
  const panelRows = Math.ceil(panels.length / 2);
  const width = 2 * MARGIN + 2 * PANEL_WIDTH + PANEL_GAP;
  const height = 2 * MARGIN + LEGEND_HEIGHT + panelRows * (PANEL_HEIGHT + PANEL_GAP) + NOTE_HEIGHT;
  const drawn = panels.map((load, i) => {
    const x = MARGIN + (i % 2) * (PANEL_WIDTH + PANEL_GAP);
    const y = MARGIN + LEGEND_HEIGHT + Math.floor(i / 2) * (PANEL_HEIGHT + PANEL_GAP);
    return panel(matrix, results, load, x, y);
  });
  const body = [legend(matrix), ...drawn, note(matrix, conditions, height - MARGIN - NOTE_HEIGHT / 2)].join(
    '\n',
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<!--
${commentText(conditions)}
-->
<title>selvage beside other ways to join two hosts: ${basisOf(matrix)}</title>
<style>${STYLE}
</style>
<rect class="page" width="${width}" height="${height}"/>
${body}
</svg>
`;
}

function legend({ paths }: Matrix): string {
  const title = text(
    MARGIN,
    MARGIN + 16,
    'title',
    'Pod to pod between two hosts, in network namespaces on one machine',
  );
  const keys = paths.map((path, i) => {
    const x = MARGIN + i * 110;
    return (
      `<rect x="${x}" y="${MARGIN + 32}" width="14" height="14" rx="2" fill="${COLOURS[path]}"/>` +
      text(x + 20, MARGIN + 44, path === 'selvage' ? 'own' : '', path)
    );
  });
  return [title, ...keys].join('\n');
}

function note(matrix: Matrix, conditions: readonly string[], y: number): string {
  const whiskers = matrix.rounds > 1 ? ' Thin lines: least to most.' : '';
  const what = `Figures are ${basisOf(matrix)}.${whiskers} Loads and forwarders share the cores.`;
  const machine = conditions.slice(0, CONDITIONS_SHOWN).map(collapse).join(', ');
  return `${text(MARGIN, y, 'quiet', what)}\n${text(MARGIN, y + 18, 'quiet', machine)}`;
}

function panel(matrix: Matrix, results: Results, load: LoadName, x: number, y: number): string {
  const { title, unit, moreIsBetter } = LOADS[load];
  const heading = `${title} (${unit}, ${moreIsBetter ? 'more' : 'less'} is better)`;
  const base = y + TITLE_HEIGHT + BAR_AREA_HEIGHT;
  const most = tallest(matrix, results, load);
  const groupWidth = (PANEL_WIDTH - (matrix.scenarios.length - 1) * GROUP_GAP) / matrix.scenarios.length;
  const groups = matrix.scenarios.map((scenario, i) => {
    const left = x + i * (groupWidth + GROUP_GAP);
    return group(matrix, results, load, scenario, { left, width: groupWidth, base, most });
  });
  const axis = `<line x1="${x}" y1="${base}" x2="${x + PANEL_WIDTH}" y2="${base}"/>`;
  return [text(x, y + 14, 'panel', heading), ...groups, axis].join('\n');
}

interface GroupPlace {
  readonly left: number;
  readonly width: number;
  /** y of the axis. */
  readonly base: number;
  /** The value that reaches the top. */
  readonly most: number;
}

function group(
  { paths }: Matrix,
  results: Results,
  load: LoadName,
  scenario: ScenarioName,
  { left, width, base, most }: GroupPlace,
): string {
  const pitch = width / paths.length;
  const bars = paths.map((path, i) => {
    const row = results.row(scenario, path, load);
    return row === undefined ? '' : bar(row, left + i * pitch, pitch - BAR_GAP, base, most);
  });
  return [...bars, text(left + width / 2, base + 18, 'group quiet', scenario)]
    .filter((part) => part !== '')
    .join('\n');
}

function bar(row: BenchRow, x: number, width: number, base: number, most: number): string {
  const heightOf = (value: number): number => (value / most) * BAR_AREA_HEIGHT;
  const height = Math.max(heightOf(row.median), 1); // a value too small to see must not look like one that is missing
  const middle = x + width / 2;
  const drawn = [
    `<rect x="${px(x)}" y="${px(base - height)}" width="${px(width)}" height="${px(height)}" rx="2" fill="${COLOURS[row.path]}">` +
      `<title>${row.path}, ${row.scenario}: ${row.median} ${row.unit} (${row.min} to ${row.max})</title></rect>`,
    text(
      middle,
      base - heightOf(row.max) - 5,
      row.path === 'selvage' ? 'value own' : 'value',
      figure(row.median),
    ),
  ];
  if (row.rounds > 1) {
    drawn.push(
      `<line x1="${px(middle)}" y1="${px(base - heightOf(row.max))}" x2="${px(middle)}" y2="${px(base - heightOf(row.min))}"/>`,
    );
  }
  return drawn.join('\n');
}

/** The largest value that a panel shows, whiskers included; 0 of none. */
function tallest({ scenarios, paths }: Matrix, results: Results, load: LoadName): number {
  const values = scenarios.flatMap((scenario) =>
    paths.map((path) => results.row(scenario, path, load)?.max ?? 0),
  );
  return Math.max(0, ...values);
}

function text(x: number, y: number, kind: string, content: string): string {
  const attribute = kind === '' ? '' : ` class="${kind}"`;
  return `<text x="${px(x)}" y="${px(y)}"${attribute}>${escaped(content)}</text>`;
}

function px(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function collapse(line: string): string {
  return line.replace(/\s+/g, ' ');
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** A comment may not hold two hyphens in a row (XML 1.0 section 2.5). */
function commentText(lines: readonly string[]): string {
  return lines.join('\n').replaceAll('--', '- -');
}
