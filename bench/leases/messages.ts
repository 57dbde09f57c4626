/** What the programs of this bench are given, and what they tell: one JSON line each on standard output. */

/** A network in etcd. */
export interface NetworkPlace {
  readonly endpoint: string;
  /** etcd prefix of the network. */
  readonly prefix: string;
}

/** For `host_program.ts`. */
export interface HostInput extends NetworkPlace {
  /** Underlay interface. */
  readonly iface: string;
  readonly lanes: number;
  /** Empty: nothing is left of an earlier run. */
  readonly stateDirectory: string;
}

/** A host has joined the network. */
export interface LoadFigures {
  readonly kind: 'loaded';
  readonly routes: number;
  /** From the making of the agent until every lane had all routes. */
  readonly totalMillis: number;
  /** The list of all leases, its decoding included. */
  readonly listMillis: number;
  /** The part of it in which the main thread had nothing to do. */
  readonly listIdleMillis: number;
  /** Lists of all leases that were asked for. */
  readonly lists: number;
  /** Requests of every kind, as etcd counts them. */
  readonly requests: number;
  /** What etcd sent for them, gRPC messages without their frames. */
  readonly sentBytes: number;
}

/** The host measures from now on. */
export interface MeasuringMessage {
  readonly kind: 'measuring';
}

/** What changes cost a host. */
export interface ChurnCost {
  readonly kind: 'cost';
  /** Of the main thread. */
  readonly cpuSeconds: number;
  readonly tables: number;
  readonly residentMebibytes: number;
  /** Ascending. */
  readonly inForce: readonly InForce[];
}

/** A step of the routes; times on {@link monotonicMillis}. */
export interface InForce {
  /** Everything up to here is part of it. */
  readonly revision: number;
  /** When the host's watch had it. */
  readonly arrivedAtMillis: number;
  /** When every lane had it. */
  readonly atMillis: number;
}

export type HostMessage = LoadFigures | MeasuringMessage | ChurnCost;

/** For `etcd_program.ts`. */
export type EtcdInput = NetworkPlace &
  (
    | {
        readonly work: 'seed';
        readonly leases: number;
        /** Of the host that will join: it gets a lease beside the others, as after an earlier run. */
        readonly publicIp: string;
      }
    /** What flanneld asks for when it loads: all keys, then the time to live of each, one after the other. */
    | { readonly work: 'flanneld' }
    | {
        readonly work: 'churn';
        readonly changes: number;
        readonly perSecond: number;
        /** Of the first subnet that is free for new leases; see `made_leases.ts`. */
        readonly firstFree: number;
      }
  );

export interface SeedFigures {
  readonly kind: 'seeded';
}

export interface FlanneldFigures {
  readonly kind: 'flanneld';
  readonly millis: number;
  readonly requests: number;
}

export const CHANGES = ['made', 'moved', 'removed', 'renewed'] as const;
/** A new lease, another public IP, a lease that goes, a renewal that changes nothing. */
export type ChangeKind = (typeof CHANGES)[number];

export interface Change {
  readonly kind: ChangeKind;
  readonly revision: number;
  /** When etcd first told anybody, by the answer to the write or by a watch, on {@link monotonicMillis}. */
  readonly atMillis: number;
}

export interface ChurnFigures {
  readonly kind: 'churned';
  readonly changes: readonly Change[];
}

export type EtcdMessage = SeedFigures | FlanneldFigures | ChurnFigures;

/** Tells the bench. */
export function tell(message: HostMessage | EtcdMessage): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

/** The input of this program. */
export function inputOf<T>(): T {
  return JSON.parse(process.argv[2] ?? '') as T;
}
