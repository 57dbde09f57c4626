import { EventEmitter } from 'node:events';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import { messageOf } from '../errors.js';
import { BackOff, pause } from '../lease/back_off.js';
import type { RouteSnapshot } from '../lease/route_source.js';
import { VERSION } from '../version.js';
import { DEFAULT_PORT } from '../workers/forwarder_options.js';
import type { ForwarderStats } from '../workers/forwarder_stats.js';
import type { TraceOptions } from '../workers/trace_filter.js';
import type { TraceListener } from '../workers/trace_record.js';
import type { TraceSession } from '../workers/trace_session.js';
import { traceNotReady } from './trace_stream.js';
import { type Agent, type AgentEvents, createAgent } from './agent.js';
import { type AgentOptions, DEFAULT_STATE_DIRECTORY, portOf, routesSnapshotName } from './agent_options.js';
import type { AgentView, SourceView } from './agent_view.js';
import type { PlaceClaims } from './place_claims.js';
import type {
  OpenedStore,
  OpeningStoreSource,
  SegmentAgentOptions,
  SegmentOptions,
} from './segment_options.js';
import type { SegmentState, SegmentView } from './segment_view.js';

/**
 * Events of a {@link Segment}: those of its agents, one after the other, and its own. A listener that throws is reported by
 * `process.emitWarning` and ends nothing.
 */
export interface SegmentEvents extends Omit<AgentEvents, 'fatal' | 'close'> {
  /** It could not start or go on, and is started again after `restartInMillis`. The other segments go on. */
  failed: [error: Error, restartInMillis: number];
}

/** How long to wait between starts. */
export interface RestartPauses {
  readonly firstMillis: number;
  readonly mostMillis: number;
}

/** Pauses differ by up to half, so that segments that failed together do not come back together. */
const LEAST_PART = 0.5;

/** What its agents tell; `ready` is told when the state says so too. */
const RELAYED = [
  'warning',
  'lease',
  'routes',
  'routeError',
  'moved',
  'mtu',
  'pathMtu',
  'refused',
  'laneDown',
] as const;

/**
 * One network of a process: an agent, and another one in its place after it failed. States: {@link SegmentState}. Nothing that
 * happens in it leaves it but as an event. Main thread.
 */
export class Segment extends EventEmitter<SegmentEvents> {
  readonly name: string;
  readonly #options: SegmentAgentOptions;
  readonly #claims: PlaceClaims;
  readonly #pauses: RestartPauses;
  readonly #backOff: BackOff;
  readonly #ending = new AbortController();
  readonly #startedAt = new Date();
  #agent: Agent | undefined;
  #state: SegmentState = 'starting';
  #failure: SegmentView['failure'];
  #restarts = 0;
  /** Another segment has the place that the store told. */
  #wasRefused = false;
  /** What the last agent said before it was closed. */
  #lastView: AgentView | undefined;
  #life: Promise<void> | undefined;
  /** Ends the wait for a fault of the agent that runs. */
  #endWait: (() => void) | undefined;

  /** @internal use {@link createSegments} */
  constructor({ name, agent }: SegmentOptions, claims: PlaceClaims, pauses: RestartPauses) {
    super();
    this.name = name;
    this.#options = agent;
    this.#claims = claims;
    this.#pauses = pauses;
    const random = (): number => LEAST_PART + Math.random() * (1 - LEAST_PART);
    this.#backOff = new BackOff({ ...pauses, random });
  }

  /** Its state, and what its agent says. */
  view(): SegmentView {
    const { name } = this;
    const agent = this.#agent?.view() ?? this.#viewWithoutAgent();
    return { name, state: this.#state, failure: this.#failure, restarts: this.#restarts, agent };
  }

  /** Shows its frames, see {@link Agent.trace}. @throws SelvageError ERR_TRACE_* */
  trace(options: TraceOptions, listener: TraceListener): TraceSession {
    if (this.#agent === undefined) throw traceNotReady();
    return this.#agent.trace(options, listener);
  }

  /** Counters of its forwarder; undefined while there is none. They begin at 0 with each start. */
  stats(): ForwarderStats | undefined {
    return this.#agent?.stats();
  }

  /** @internal starts, and starts again whenever it fails, until {@link close}. Never rejects. */
  run(): void {
    this.#life ??= this.#live();
  }

  /** Ends the agent and what would start another. */
  async close(): Promise<void> {
    this.#ending.abort();
    this.#endWait?.();
    await Promise.all([this.#agent?.close(), this.#life]);
  }

  async #live(): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      const startedAt = performance.now();
      const error = await this.#liveOnce();
      if (signal.aborted) return;
      if (performance.now() - startedAt > this.#pauses.mostMillis) this.#backOff.reset();
      const millis = Math.round(this.#backOff.next());
      this.#state = 'failed';
      this.#failure = { reason: messageOf(error), restartAt: new Date(Date.now() + millis) };
      this.#tell('failed', error, millis);
      await pause(millis, signal).catch(() => undefined);
      this.#state = 'starting';
      this.#failure = undefined;
      this.#restarts++;
    }
  }

  /** The life of one agent. @returns what ended it */
  async #liveOnce(): Promise<Error> {
    let store: OpenedStore | undefined;
    try {
      const { source } = this.#options;
      if (isOpening(source)) store = await source.openStore();
      const agent = await createAgent(this.#agentOptions(store));
      this.#agent = agent;
      this.#relay(agent);
      if (this.#ending.signal.aborted) return closedError();
      return await this.#follow(agent);
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    } finally {
      await this.#giveBack(store);
      if (this.#wasRefused) await this.#forgetPlace();
    }
  }

  /** Waits for the end of an agent. @throws what its start threw */
  async #follow(agent: Agent): Promise<Error> {
    const fatal = new Promise<Error>((resolve) => {
      agent.on('fatal', resolve);
      this.#endWait = () => resolve(closedError());
    });
    const starting = agent.start();
    starting.catch(() => undefined); // when a fatal fault comes first, closing the agent ends the start
    const early = await Promise.race([starting, fatal]);
    if (early !== undefined) return early;
    this.#state = 'running';
    this.#tell('ready');
    return await fatal;
  }

  async #giveBack(store: OpenedStore | undefined): Promise<void> {
    const agent = this.#agent;
    this.#lastView = agent?.view() ?? this.#lastView;
    try {
      await agent?.close();
      await store?.close();
    } catch (error) {
      this.#tell('warning', `not everything could be given back: ${messageOf(error)}`);
    }
    this.#agent = undefined;
    this.#claims.release(this.name);
  }

  #agentOptions(store: OpenedStore | undefined): AgentOptions {
    const { source } = this.#options;
    const admit = (place: RouteSnapshot): void => this.#admit(place);
    if (!isOpening(source)) return { ...this.#options, source, admit };
    const { networkName, renewMarginSeconds, exitOnLeaseLoss } = source;
    return {
      ...this.#options,
      source: {
        kind: 'store',
        store: store!,
        networkName,
        ...(renewMarginSeconds === undefined ? {} : { renewMarginSeconds }),
        ...(exitOnLeaseLoss === undefined ? {} : { exitOnLeaseLoss }),
      },
      admit,
    };
  }

  /**
   * The agent has saved a place that is another segment's, and would begin with it the next time, without asking the store
   * whether it has changed.
   */
  async #forgetPlace(): Promise<void> {
    const { source, stateDirectory = DEFAULT_STATE_DIRECTORY } = this.#options;
    this.#wasRefused = false;
    if (source.kind === 'file') return;
    await rm(join(stateDirectory, routesSnapshotName(source.networkName)), { force: true }).catch(
      (error: unknown) => this.#tell('warning', `a place that was refused stays saved: ${messageOf(error)}`),
    );
  }

  #admit({ network, ipv6Network, port: networkPort }: RouteSnapshot): void {
    const networks = [network, ipv6Network].filter((each) => each !== undefined);
    const address = this.#agent?.view().underlay?.address ?? '';
    const port = portOf(this.#options.forwarder?.port, networkPort) ?? DEFAULT_PORT;
    this.#wasRefused = true;
    this.#claims.claim(this.name, { networks, address, port });
    this.#wasRefused = false;
  }

  #relay(agent: Agent): void {
    for (const event of RELAYED) {
      agent.on(event, (...values: unknown[]) => this.#tell(event, ...(values as never)));
    }
  }

  #tell<E extends keyof SegmentEvents>(event: E, ...values: SegmentEvents[E]): void {
    try {
      (this.emit as (event: E, ...values: unknown[]) => boolean).call(this, event, ...values);
    } catch (error) {
      process.emitWarning(
        `a listener for '${event}' of segment ${this.name} threw: ${messageOf(error)}`,
        'SelvageWarning',
      );
    }
  }

  #viewWithoutAgent(): AgentView {
    const fatal = this.#failure?.reason;
    const last = this.#lastView ?? this.#firstView();
    return { ...last, forwarder: undefined, fatal, routes: () => [] };
  }

  /** Before an agent has been made. */
  #firstView(): AgentView {
    const { source, subnetFile, firewall } = this.#options;
    return {
      version: VERSION,
      startedAt: this.#startedAt,
      networkName: source.kind === 'file' ? source.path : source.networkName,
      source: sourceView(source, this.#startedAt),
      snapshot: undefined,
      publicIp: this.#options.publicIp,
      underlay: undefined,
      forwarder: undefined,
      subnetFile: subnetFile === undefined ? undefined : { path: subnetFile, written: false },
      firewall,
      routes: () => [],
    };
  }
}

function isOpening(source: SegmentAgentOptions['source']): source is OpeningStoreSource {
  return 'openStore' in source;
}

function sourceView(source: SegmentAgentOptions['source'], since: Date): SourceView {
  if (source.kind === 'file') return { kind: 'file', path: source.path };
  return {
    kind: 'store',
    state: {
      store: isOpening(source) ? source.endpoints.join(',') : source.store.name,
      connection: { connected: false, since, reason: undefined },
      lease: undefined,
      stale: false,
      refuted: false,
      syncedAt: undefined,
      leases: 0,
      skipped: 0,
      revision: 0n,
      renewals: 0,
      disconnects: 0,
      relists: 0,
      duplicate: undefined,
    },
  };
}

function closedError(): Error {
  return new Error('the segment was closed');
}
