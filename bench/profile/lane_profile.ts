import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** What a sample of a lane's thread is counted under. */
export interface LaneSamples {
  /** Functions that decide and count: all of ours that is not the loop. */
  readonly decisions: number;
  /** The loop itself, the control words, the clock. */
  readonly loop: number;
  readonly garbageCollection: number;
  /** Inside native calls, by name, `poll` left out. */
  readonly native: ReadonlyMap<string, number>;
  /** Inside `poll`: asleep, or asking whether anything is ready. */
  readonly poll: number;
  /** The self time of each deciding function, for the detail. */
  readonly decisionsByFunction: ReadonlyMap<string, number>;
}

/** The part of V8's .cpuprofile format that is read here (Chrome DevTools protocol, domain Profiler, type Profile). */
interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  readonly samples: readonly number[];
}

interface ProfileNode {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string };
  readonly hitCount?: number;
  readonly children?: readonly number[];
  /** Samples by source line, counted from 1. */
  readonly positionTicks?: readonly { readonly line: number; readonly ticks: number }[];
}

/** The task that a lane's thread runs; start-up is outside it. */
const LANE_ENTRY = 'runLane';
/** Files of the loop, in the build output. Everything else of ours that a lane runs is a decision. */
const LOOP_FILES = /\/src\/(workers\/(lane|lane_thread|control_words|table_mailbox)|native)\.js$/;
const OUR_FILES = /\/dist\/src\//;
const NATIVE_CALL = /\bnative\.(\w+)\(/;

/**
 * Reads the profile of one worker thread.
 *
 * @returns undefined when that thread never ran a lane
 */
export function readLaneProfile(file: string): LaneSamples | undefined {
  const profile = JSON.parse(readFileSync(file, 'utf8')) as CpuProfile;
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const inLane = laneNodes(profile, nodes);
  if (inLane.size === 0) return undefined;
  const tally = new Tally();
  for (const id of inLane) tally.addNode(nodes.get(id)!);
  tally.garbageCollection = collections(profile, nodes, inLane);
  return tally;
}

/** Ids of the lane's entry and of all that it called. */
function laneNodes(profile: CpuProfile, nodes: ReadonlyMap<number, ProfileNode>): Set<number> {
  const found = new Set<number>();
  const add = (id: number): void => {
    found.add(id);
    nodes.get(id)?.children?.forEach(add);
  };
  profile.nodes.filter(({ callFrame }) => callFrame.functionName === LANE_ENTRY).forEach(({ id }) => add(id));
  return found;
}

/** V8 puts collections beside the program and not below their cause; those before the lane began are start-up. */
function collections(
  { samples }: CpuProfile,
  nodes: ReadonlyMap<number, ProfileNode>,
  inLane: ReadonlySet<number>,
): number {
  const firstOfLane = samples.findIndex((id) => inLane.has(id));
  const isCollection = (id: number): boolean =>
    nodes.get(id)?.callFrame.functionName === '(garbage collector)';
  return samples.filter((id, i) => i > firstOfLane && isCollection(id)).length;
}

class Tally implements LaneSamples {
  decisions = 0;
  loop = 0;
  garbageCollection = 0;
  poll = 0;
  readonly native = new Map<string, number>();
  readonly decisionsByFunction = new Map<string, number>();

  addNode({ callFrame, hitCount = 0, positionTicks = [] }: ProfileNode): void {
    if (hitCount === 0) return;
    if (OUR_FILES.test(callFrame.url) && !LOOP_FILES.test(callFrame.url)) {
      this.decisions += hitCount;
      addTo(this.decisionsByFunction, callFrame.functionName, hitCount);
      return;
    }
    // A native call has no frame of its own: V8 counts it under the line of its caller.
    let placed = 0;
    for (const { line, ticks } of positionTicks) {
      const call = NATIVE_CALL.exec(sourceLine(callFrame.url, line))?.[1];
      if (call === undefined) continue;
      placed += ticks;
      if (call === 'poll') this.poll += ticks;
      else addTo(this.native, call, ticks);
    }
    this.loop += hitCount - placed;
  }
}

const sources = new Map<string, readonly string[]>();

/** A line of a module of ours, counted from 1; empty for Node's own. */
function sourceLine(url: string, line: number): string {
  if (!OUR_FILES.test(url)) return '';
  let lines = sources.get(url);
  if (lines === undefined) {
    lines = readFileSync(fileURLToPath(url), 'utf8').split('\n');
    sources.set(url, lines);
  }
  return lines[line - 1] ?? '';
}

function addTo(map: Map<string, number>, key: string, ticks: number): void {
  map.set(key, (map.get(key) ?? 0) + ticks);
}
