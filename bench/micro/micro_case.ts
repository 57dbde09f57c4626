/** One thing to be timed. */
export interface MicroCase {
  /** `group: what, under which conditions`; `--filter` looks into it. */
  readonly name: string;
  /** What the printed time is for, e.g. `frame`. */
  readonly unit: string;
  /** Units that one run does. A run should take a microsecond or more, as the clock and the call are part of it. */
  readonly unitsPerRun: number;
  /** Bytes of one unit, where a rate in GB/s says something; otherwise 0. */
  readonly bytesPerUnit: number;
  /** Prepares the case, just before it is timed. */
  readonly prepare: () => PreparedCase;
}

/** A case ready to be timed. */
export interface PreparedCase {
  /** Does it once. The number must depend on the work: it goes to a sink, so that V8 cannot leave the work out. */
  readonly run: () => number;
  /** Gives back what the preparation opened. */
  readonly close: () => void;
}

/** A prepared case that holds nothing open. */
export function prepared(run: () => number): PreparedCase {
  return { run, close: () => {} };
}
