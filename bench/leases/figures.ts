import { Samples, type Summary } from '../samples.js';

/** What is measured, in the order of the table. */
export const FIGURES = {
  'load-total': { unit: 'ms', title: 'start until all routes are in every lane' },
  'load-list': { unit: 'ms', title: '  of it the list of leases, decoded' },
  'load-list-wait': { unit: 'ms', title: '    of it waiting for etcd' },
  'load-requests': { unit: '', title: '  requests to etcd, of every kind' },
  'load-lists': { unit: '', title: '  of them lists of leases' },
  'load-sent': { unit: 'KiB', title: '  sent by etcd' },
  'flanneld-load': { unit: 'ms', title: 'list as flanneld does: one more request for each lease' },
  'flanneld-ratio': { unit: 'x', title: '  to the list of selvage' },
  'change-p50': { unit: 'ms', title: 'a change, from etcd to every lane, median' },
  'change-p99': { unit: 'ms', title: '  99th percentile' },
  'change-max': { unit: 'ms', title: '  longest' },
  'change-inside-p99': { unit: 'ms', title: "  of it behind the host's watch, 99th percentile" },
  'change-cpu': { unit: 's', title: '  CPU of the main thread for 1,000 changes' },
  'change-tables': { unit: '', title: '  tables built for a change' },
  memory: { unit: 'MiB', title: 'resident memory afterwards' },
  'restart-etcd': { unit: 'ms', title: 'killed and started again, until a packet passes' },
  'restart-away': { unit: 'ms', title: '  the same with etcd away' },
  'node-alone': { unit: 'ms', title: '  beside it: node -e 0, start to end' },
} as const;

export type FigureName = keyof typeof FIGURES;

/** One row of the result: what the JSON file holds. */
export interface LeaseRow extends Summary {
  /** How many there are. */
  readonly leases: number;
  readonly figure: FigureName;
  readonly unit: string;
}

/** Figures as they come in, one for each round. */
export class LeaseFigures {
  readonly #samples = new Samples();

  add(leases: number, figure: FigureName, value: number): void {
    this.#samples.add(`${leases} ${figure}`, value);
  }

  /** Undefined when no round yielded a figure. */
  row(leases: number, figure: FigureName): LeaseRow | undefined {
    const summary = this.#samples.summary(`${leases} ${figure}`);
    return summary && { leases, figure, unit: FIGURES[figure].unit, ...summary };
  }

  rows(sizes: readonly number[]): LeaseRow[] {
    const names = Object.keys(FIGURES) as FigureName[];
    return sizes
      .flatMap((leases) => names.map((figure) => this.row(leases, figure)))
      .filter((row) => row !== undefined);
  }
}
