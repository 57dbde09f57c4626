import type { Endpoint } from './endpoint.js';

/**
 * The servers, and which of them is used: one for as long as it works, then the next that is not put aside.
 */
export class EndpointPool {
  readonly endpoints: readonly Endpoint[];
  #current: number;

  /**
   * @param endpoints at least one
   * @param random yields a number from 0 to below 1: where to begin, so that the hosts of a cluster spread over its servers
   */
  constructor(endpoints: readonly Endpoint[], random: () => number = Math.random) {
    this.endpoints = endpoints;
    this.#current = Math.floor(random() * endpoints.length);
  }

  /** The one to try now: the next that was not tried yet and is not put aside, else the one that is soonest no longer so. */
  pick(tried: readonly Endpoint[]): Endpoint {
    const inOrder = this.endpoints.map((_, i) => this.#at(this.#current + i));
    const untried = inOrder.filter((endpoint) => !tried.includes(endpoint));
    const candidates = untried.length > 0 ? untried : inOrder;
    return candidates.reduce((best, each) => (each.waitMillis < best.waitMillis ? each : best));
  }

  /** `endpoint` answered: it is the one to use. */
  worked(endpoint: Endpoint): void {
    endpoint.worked();
    this.#current = this.endpoints.indexOf(endpoint);
  }

  /** `endpoint` did not: puts it aside and moves on. */
  failed(endpoint: Endpoint, fault: string): void {
    endpoint.failed(fault);
    if (this.#at(this.#current) === endpoint) this.#current++;
  }

  #at(index: number): Endpoint {
    return this.endpoints[index % this.endpoints.length]!;
  }
}
