import { SelvageError } from '../errors.js';
import { VERSION } from '../version.js';
import { ControlServer } from './control_server.js';
import { PlaceClaims } from './place_claims.js';
import { Segment } from './segment.js';
import { findSegmentConflicts } from './segment_conflicts.js';
import { checkSegmentName, type SegmentsOptions } from './segment_options.js';
import type { SegmentsView } from './segment_view.js';
import type { StartTrace } from './trace_stream.js';
import { type SegmentsStatus, segmentsStatusOf } from './segments_status.js';

const FIRST_RESTART_MILLIS = 1000;
const MOST_RESTART_MILLIS = 60_000;

/**
 * Several networks in one process, each with its own device, port, lease, lanes and routes. What ends one of them (a device
 * that is deleted, a config that is wrong, a store that is gone) is told as its event `failed`, and it is started again; the
 * others never notice. Main thread.
 *
 * | from    | to      | by               | never |
 * |---------|---------|------------------|-------|
 * | made    | running | `start`          | a device before `start` |
 * | running | closed  | `close`          | an end for another cause |
 */
export class Segments {
  /** In the order of the options. */
  readonly segments: readonly Segment[];
  readonly #startedAt = new Date();
  #control: ControlServer | undefined;
  #closing: Promise<void> | undefined;

  /** @internal use {@link createSegments} */
  constructor(segments: readonly Segment[]) {
    this.segments = segments;
  }

  /** @internal opens what answers questions. */
  async listen({ controlSocket: socketPath, health }: SegmentsOptions): Promise<void> {
    const trace: StartTrace = (options, listener, segment) => this.#segment(segment).trace(options, listener);
    this.#control = await ControlServer.open({ view: () => this.view(), socketPath, health, trace });
  }

  /** @throws SelvageError ERR_SEGMENT */
  #segment(name: string | undefined): Segment {
    const segment = this.segments.find((each) => each.name === name);
    if (segment !== undefined) return segment;
    const names = this.segments.map((each) => each.name).join(', ');
    const why =
      name === undefined
        ? 'several segments run here, and none was named'
        : `no segment here is named "${name.slice(0, 60)}"`;
    throw new SelvageError('ERR_SEGMENT', `${why}: name one of ${names} with --segment`);
  }

  /** TCP port for probes and scrapers; undefined without one. */
  get healthPort(): number | undefined {
    return this.#control?.healthPort;
  }

  /** Starts all at the same time; how that goes is told by the events of each. */
  start(): void {
    if (this.#closing !== undefined) return;
    for (const segment of this.segments) segment.run();
  }

  /** What status, health and metrics are made from, at this moment. */
  view(): SegmentsView {
    return {
      version: VERSION,
      startedAt: this.#startedAt,
      segments: this.segments.map((segment) => segment.view()),
    };
  }

  /** Everything there is to know, as plain data; what `selvage status --json` prints. */
  status(): SegmentsStatus {
    return segmentsStatusOf(this.view());
  }

  /** Stops all at the same time and gives everything back; see {@link Agent.close}. Calling it again returns the same promise. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      await Promise.all(this.segments.map((segment) => segment.close()));
    } finally {
      await this.#control?.close();
    }
  }
}

/**
 * Makes segments: finds conflicts between them, and opens the status socket and the health port. {@link Segments.start} joins
 * the networks. What one agent needs (see {@link createAgent}) is looked at when its segment starts, and is its failure alone.
 *
 * @throws SelvageError ERR_SEGMENT_CONFLICT naming every conflict and its remedy, ERR_OPTION for a name that is none or no segment,
 *   ERR_HEALTH_PORT, ERR_CONTROL_SOCKET
 */
export async function createSegments(options: SegmentsOptions): Promise<Segments> {
  const { segments, firstRestartMillis, mostRestartMillis } = options;
  if (segments.length === 0) throw new SelvageError('ERR_OPTION', 'segments: give at least one');
  for (const { name } of segments) checkSegmentName(name);
  const conflicts = findSegmentConflicts(segments);
  if (conflicts.length > 0) throw new SelvageError('ERR_SEGMENT_CONFLICT', conflicts.join('; '));
  const claims = new PlaceClaims();
  const pauses = {
    firstMillis: firstRestartMillis ?? FIRST_RESTART_MILLIS,
    mostMillis: mostRestartMillis ?? MOST_RESTART_MILLIS,
  };
  const made = new Segments(segments.map((segment) => new Segment(segment, claims, pauses)));
  await made.listen(options);
  return made;
}
