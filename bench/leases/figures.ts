import { median } from '../netns/results.js';

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
export interface LeaseRow {
  /** How many there are. */
  readonly leases: number;
  readonly figure: FigureName;
  readonly unit: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** Rounds that yielded a figure. */
  readonly rounds: number;
}

/** Digits that are kept of a figure. */
const DIGITS = 5;

/** Figures as they come in, one for each round. */
export class LeaseFigures {
  readonly #samples = new Map<string, number[]>();

  add(leases: number, figure: FigureName, value: number): void {
    const key = `${leases} ${figure}`;
    const list = this.#samples.get(key);
    if (list === undefined) this.#samples.set(key, [value]);
    else list.push(value);
  }

  /** Undefined when no round yielded a figure. */
  row(leases: number, figure: FigureName): LeaseRow | undefined {
    const samples = this.#samples.get(`${leases} ${figure}`);
    if (samples === undefined) return undefined;
    return {
      leases,
      figure,
      unit: FIGURES[figure].unit,
      median: rounded(median(samples)),
      min: rounded(Math.min(...samples)),
      max: rounded(Math.max(...samples)),
      rounds: samples.length,
    };
  }

  rows(sizes: readonly number[]): LeaseRow[] {
    const names = Object.keys(FIGURES) as FigureName[];
    return sizes
      .flatMap((leases) => names.map((figure) => this.row(leases, figure)))
      .filter((row) => row !== undefined);
  }
}

/** The value that so large a part of all is not above; NaN of none. */
export function percentile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? NaN;
}

function rounded(value: number): number {
  return Number(value.toPrecision(DIGITS));
}
