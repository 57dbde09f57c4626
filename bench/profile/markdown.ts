import type { LaneSamples } from './lane_profile.js';
import type { LaneReport, ProfiledRun } from './profile_run.js';

/** The decisions' share of a lane's CPU time that the project promises not to exceed. */
const MOST_DECISIONS_PERCENT = 5;
/** Native calls below this share in every lane share one row: those that set a lane up, and what hardly ever happens. */
const LEAST_NAMED_SHARE = 0.005;
/** Deciding functions that are named one by one. */
const NAMED_FUNCTIONS = 5;

/** How the figures come about; printed once, above the tables. */
export const METHOD = `**Method.** V8's sampling profiler runs in both daemons (\`node --cpu-prof\`). It interrupts the lane's thread at a fixed interval of
wall-clock time; a thread that waits for a core takes one sample when it runs again, however long it waited, so samples outside
\`poll\` follow CPU time. \`poll\` mixes sleep and work and is left out of the shares, so the true share of everything else is *lower* than shown:
the figures are upper bounds. A native call counts under the line that makes it, kernel work included. "Decisions" are all
TypeScript functions that a lane runs except its loop (\`lane\`, \`control_words\`, \`table_mailbox\`): classification, lookup, TTL,
source checks, answers, counters. CPU time is the lane thread's own, from \`/proc/PID/task/TID/stat\`, while the load ran.`;

/** One run as a Markdown table, a column per lane. */
export function markdownOf(run: ProfiledRun): string {
  const { scenario, streams, gbitPerSecond, seconds, lanes } = run;
  const names = nativeNames(lanes);
  const rows: string[][] = [
    ['', ...lanes.map(({ side }) => `${side} host's lane`)],
    ['---', ...lanes.map(() => '---:')],
    ['CPU time, user + system', ...lanes.map((lane) => cpuText(lane, seconds))],
    ['samples outside poll / in poll', ...lanes.map(({ samples }) => `${awake(samples)} / ${samples.poll}`)],
    ...names.map((name) => [`native \`${name}\``, ...shares(lanes, ({ native }) => native.get(name) ?? 0)]),
    ['other native calls', ...shares(lanes, ({ native }) => otherThan(names, native))],
    ['lane loop in TypeScript', ...shares(lanes, ({ loop }) => loop)],
    ['garbage collection', ...shares(lanes, ({ garbageCollection }) => garbageCollection)],
    [
      '**decisions in TypeScript**',
      ...shares(lanes, ({ decisions }) => decisions).map((share) => `**${share}**`),
    ],
    ['of which', ...lanes.map(({ samples }) => costliest(samples))],
    [`decisions at most ${MOST_DECISIONS_PERCENT} %`, ...lanes.map(({ samples }) => verdict(samples))],
  ];
  const title = `### TCP, ${streams === 1 ? '1 stream' : `${streams} streams`}, ${scenario}: ${gbitPerSecond.toFixed(2)} Gbit/s while profiled`;
  return [title, '', ...rows.map((row) => `| ${row.join(' | ')} |`)].join('\n');
}

/** Native calls that some lane spent time in, costliest first. */
function nativeNames(lanes: readonly LaneReport[]): string[] {
  const total = (name: string): number =>
    lanes.reduce((sum, { samples }) => sum + (samples.native.get(name) ?? 0), 0);
  const names = lanes.flatMap(({ samples }) =>
    [...samples.native]
      .filter(([, ticks]) => ticks >= LEAST_NAMED_SHARE * awake(samples))
      .map(([name]) => name),
  );
  return [...new Set(names)].sort((a, b) => total(b) - total(a));
}

function otherThan(names: readonly string[], native: ReadonlyMap<string, number>): number {
  return [...native].filter(([name]) => !names.includes(name)).reduce((sum, [, ticks]) => sum + ticks, 0);
}

function cpuText({ userSeconds, systemSeconds }: LaneReport, seconds: number): string {
  const all = userSeconds + systemSeconds;
  return `${userSeconds.toFixed(2)} + ${systemSeconds.toFixed(2)} s (${((100 * all) / seconds).toFixed(0)} % of a core)`;
}

function awake({ decisions, loop, garbageCollection, native }: LaneSamples): number {
  return decisions + loop + garbageCollection + [...native.values()].reduce((sum, ticks) => sum + ticks, 0);
}

function shares(lanes: readonly LaneReport[], ticksOf: (samples: LaneSamples) => number): string[] {
  return lanes.map(({ samples }) => percent(ticksOf(samples), samples));
}

function percent(ticks: number, samples: LaneSamples): string {
  return `${((100 * ticks) / awake(samples)).toFixed(1)} %`;
}

function costliest(samples: LaneSamples): string {
  return [...samples.decisionsByFunction]
    .sort(([, a], [, b]) => b - a)
    .slice(0, NAMED_FUNCTIONS)
    .map(([name, ticks]) => `\`${name}\` ${percent(ticks, samples)}`)
    .join('<br>');
}

function verdict(samples: LaneSamples): string {
  return (100 * samples.decisions) / awake(samples) <= MOST_DECISIONS_PERCENT ? 'met' : 'MISSED';
}
