import { setImmediate } from 'node:timers/promises';

import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';

import type { AgentView } from './agent_view.js';
import { METRIC_TABLE, type Metric, type Sample } from './metric_table.js';
import type { SegmentsView } from './segment_view.js';

type Read = () => Sample[];

/** A counter whose totals are kept elsewhere, by the lanes, and read when asked for. */
class SampledCounter extends Counter {
  readonly #read: Read;

  constructor({ name, help, labels }: Metric, registry: Registry, read: Read) {
    super({ name, help, labelNames: labels, registers: [registry] });
    this.#read = read;
  }

  override async get(): ReturnType<Counter['get']> {
    const values = this.#read();
    return { ...(await super.get()), values };
  }
}

/** A gauge that is read when asked for. */
class SampledGauge extends Gauge {
  readonly #read: Read;

  constructor({ name, help, labels }: Metric, registry: Registry, read: Read) {
    super({ name, help, labelNames: labels, registers: [registry] });
    this.#read = read;
  }

  override async get(): ReturnType<Gauge['get']> {
    const values = this.#read();
    return { ...(await super.get()), values };
  }
}

/** What the samples are read from, and the segment that they are of. */
interface LabelledView {
  readonly view: AgentView;
  readonly segment?: string;
}

function samplesOf(metric: Metric, { view, segment }: LabelledView): Sample[] {
  const samples = metric.read(view);
  if (segment === undefined) return samples;
  return samples.map(({ value, labels }) => ({ value, labels: { segment, ...labels } }));
}

/** Between looks of the event loop's clock; each look wakes the process, and the default of 10 ms does so all the time. */
const EVENT_LOOP_LOOK_MILLIS = 100;

let processRegistry: Registry | undefined;

/** The metrics of the process are one set for all: what watches them (the GC observer) cannot be taken back. */
function processMetrics(): Registry {
  if (processRegistry === undefined) {
    processRegistry = new Registry();
    collectDefaultMetrics({
      register: processRegistry,
      eventLoopMonitoringPrecision: EVENT_LOOP_LOOK_MILLIS,
    });
  }
  return processRegistry;
}

/**
 * Writes the metrics of an agent in the Prometheus text format (version 0.0.4), and those of the process after them.
 *
 * The samples are read from the view as it is at the moment; nothing is kept in between, so no total can drift from the
 * counters. 10,000 peers that all speak cost the main thread some 80 ms; other work gets its turn after each metric, so that a
 * change of the routes does not wait for the whole. Silent peers cost nothing to speak of, and the lanes never notice.
 */
export class AgentMetrics {
  readonly #registry = new Registry();
  readonly #process = processMetrics();
  #views: readonly LabelledView[] = [];

  constructor() {
    for (const metric of METRIC_TABLE) {
      const read: Read = () => this.#views.flatMap((labelled) => samplesOf(metric, labelled));
      if (metric.type === 'counter') new SampledCounter(metric, this.#registry, read);
      else new SampledGauge(metric, this.#registry, read);
    }
  }

  /** For the header of that name. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** The whole text. May be called again before it resolves. */
  async render(view: AgentView): Promise<string> {
    return await this.#render([{ view }]);
  }

  /** The same of several, each series with the label `segment`, so that one scrape tells them apart. */
  async renderSegments({ segments }: SegmentsView): Promise<string> {
    return await this.#render(segments.map(({ name, agent }) => ({ view: agent, segment: name })));
  }

  async #render(views: readonly LabelledView[]): Promise<string> {
    const parts: string[] = [];
    for (const { name } of METRIC_TABLE) {
      this.#views = views; // read before the call returns, so another view may come before it resolves
      const part = this.#registry.getSingleMetricAsString(name);
      this.#views = [];
      parts.push(await part);
      await setImmediate();
    }
    return `${parts.join('\n\n')}\n\n${await this.#process.metrics()}`;
  }
}
