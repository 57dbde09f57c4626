import { SelvageError } from '../errors.js';
import type { UnderlayChoice } from '../host/underlay.js';
import type { RouteSnapshot } from '../lease/route_source.js';
import type { LeaseStore } from '../lease/store/lease_store.js';
import type { ForwarderOptions } from '../workers/forwarder_options.js';

/** Routes and this host's subnet out of a JSON file, which is watched. */
export interface FileAgentSource {
  readonly kind: 'file';
  readonly path: string;
}

/** A lease in a store, and the other hosts' leases as routes. */
export interface StoreAgentSource {
  readonly kind: 'store';
  /** The agent does not close it. */
  readonly store: LeaseStore;
  /** What tells one network of the store from another, e.g. the etcd prefix; the file in `stateDirectory` is named after it. */
  readonly networkName: string;
  /** The lease is renewed so long before it ends, seconds, 1..86,340. Default 3,600. */
  readonly renewMarginSeconds?: number;
  /** End with ERR_LEASE_LOST when the lease is deleted or expires, as flanneld does, instead of taking it again. */
  readonly exitOnLeaseLoss?: boolean;
}

/** Rules for packets between pods and the rest of the world. */
export interface AgentFirewall {
  /** Masquerade what pods send out of the overlay. A failure to do so ends the start. */
  readonly masquerade: boolean;
  /** Accept the overlay's packets on the forward hook. A failure is a warning. */
  readonly forward: boolean;
  /** Let the kernel choose source ports at random, where it can. Default true. */
  readonly fullyRandom?: boolean;
}

/** What {@link createAgent} takes. */
export interface AgentOptions {
  readonly source: FileAgentSource | StoreAgentSource;
  /** Which interface carries the datagrams. Default: that of the default route. */
  readonly underlay?: UnderlayChoice;
  /** Address that peers send to, when it is not that of the interface (NAT). */
  readonly publicIp?: string;
  readonly publicIpv6?: string;
  /** `port` is needed only where the source names none, or to insist on one. */
  readonly forwarder?: Omit<
    ForwarderOptions,
    'network' | 'subnet' | 'ipv6Network' | 'ipv6Subnet' | 'address'
  >;
  /** Write network, subnet and MTU here, in flannel's format, for the CNI plugin. The previous subnet is read from it. */
  readonly subnetFile?: string;
  readonly firewall?: AgentFirewall;
  /** Keep a blackhole route for the own subnet, so that what no pod has does not leave by the default route. */
  readonly blackholeRoute?: boolean;
  /**
   * Between checks that firewall and blackhole route are still there, seconds. 0 never checks. Default 5. What could not be
   * set up is tried again as often, with 0 every 5 seconds.
   */
  readonly resyncSeconds?: number;
  /** Directory for what outlives a restart: host identity, last routes. Default `/var/lib/selvage`. */
  readonly stateDirectory?: string;
  /** Unix socket for status, routes and metrics. Absent: none. */
  readonly controlSocket?: string;
  /** Address and TCP port for /healthz, /readyz and /metrics. Absent: none. */
  readonly health?: { readonly ip: string; readonly port: number };
  /**
   * Called with each place (network, subnet, port) before a device is made or a port bound for it. What it throws ends the start,
   * or comes as the event `fatal` while the agent moves. Default: every place is fine.
   */
  readonly admit?: (place: RouteSnapshot) => void;
}

export const DEFAULT_STATE_DIRECTORY = '/var/lib/selvage';

/** Name of the file with the last routes of one network: `/coreos.com/network` is `coreos.com-network.json`. */
export function routesSnapshotName(networkName: string): string {
  const words = networkName.replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[-.]+|-+$/g, '');
  return `${words || 'network'}.json`;
}

/**
 * The UDP port: what the source says of the whole network, else what was asked for.
 *
 * @throws SelvageError ERR_PORT_MISMATCH when both are given and differ: leases do not say ports, so all hosts must use one
 */
export function portOf(asked: number | undefined, network: number | undefined): number | undefined {
  if (asked === undefined || network === undefined || asked === network) return network ?? asked;
  throw new SelvageError(
    'ERR_PORT_MISMATCH',
    `port ${asked} was asked for, but the network config says Backend.Port ${network}, which every host uses: ` +
      `leave --port out, or change the config`,
  );
}
