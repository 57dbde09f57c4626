import { SelvageError } from '../errors.js';
import type { LeaseStore } from '../lease/store/lease_store.js';
import type { AgentOptions, StoreAgentSource } from './agent_options.js';
import type { HealthAddress } from './control_server.js';

/** A store that a segment opens for each of its starts, and closes when its agent has ended. */
export interface OpenedStore extends LeaseStore {
  close(): Promise<void>;
}

/** A store of the segment's own: one that cannot be opened is that segment's failure, and is opened again with the next start. */
export interface OpeningStoreSource extends Omit<StoreAgentSource, 'store'> {
  readonly openStore: () => Promise<OpenedStore>;
  /** Its servers, e.g. `['http://192.0.2.10:2379']`: two segments may not share a server and a `networkName`. */
  readonly endpoints: readonly string[];
}

/** What the agent of a segment is made with; what answers questions belongs to the process. */
export interface SegmentAgentOptions extends Omit<
  AgentOptions,
  'source' | 'controlSocket' | 'health' | 'admit'
> {
  readonly source: AgentOptions['source'] | OpeningStoreSource;
}

/** One network of several in a process. */
export interface SegmentOptions {
  /** See {@link checkSegmentName}. */
  readonly name: string;
  readonly agent: SegmentAgentOptions;
}

/** What {@link createSegments} takes. */
export interface SegmentsOptions {
  /** At least one; no two may share a name, device, port of an address, subnet file, state file or network. */
  readonly segments: readonly SegmentOptions[];
  /** Unix socket for status, routes and metrics of all segments. Absent: none. */
  readonly controlSocket?: string;
  /** Address and TCP port for /healthz, /readyz and /metrics of all segments. Absent: none. */
  readonly health?: HealthAddress;
  /** A segment that failed is started again after about so long, milliseconds; each further failure doubles it. Default 1,000. */
  readonly firstRestartMillis?: number;
  /** Where the doubling ends. A segment that ran for so long begins with the first pause again. Default 60,000. */
  readonly mostRestartMillis?: number;
}

/** Letters, digits, `.`, `_` and `-`, of which the first is a letter or digit; at most 32. It stands in file names. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$/;

/** @throws SelvageError ERR_OPTION */
export function checkSegmentName(name: string): void {
  if (NAME.test(name)) return;
  throw new SelvageError(
    'ERR_OPTION',
    `"${name.slice(0, 60)}" is not a segment name: 1 to 32 letters, digits, ".", "_" or "-", the first a letter or digit`,
  );
}
