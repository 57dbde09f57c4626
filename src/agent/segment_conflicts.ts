import { DEFAULT_PORT } from '../workers/forwarder_options.js';
import { DEFAULT_STATE_DIRECTORY, routesSnapshotName } from './agent_options.js';
import type { SegmentAgentOptions, SegmentOptions } from './segment_options.js';

/** What two segments may not have in common: how each says it, and what to do. Empty for a segment without it. */
interface Exclusive {
  /** Each is a text that is equal where the thing is the same. */
  readonly keys: (agent: SegmentAgentOptions) => readonly string[];
  readonly what: (key: string) => string;
  readonly remedy: string;
}

const EXCLUSIVES: readonly Exclusive[] = [
  {
    keys: ({ forwarder = {} }) => devicesOf(forwarder.tunName),
    what: (name) => `the TUN device ${name}`,
    remedy: 'give each a "tun" of its own',
  },
  {
    keys: portsOf,
    what: (key) => `UDP port ${key.split(' ', 1)[0]} on one address`,
    remedy: 'give one of them another "port", or another "iface"',
  },
  {
    keys: ({ subnetFile }) => (subnetFile === undefined ? [] : [subnetFile]),
    what: (path) => `the subnet file ${path}`,
    remedy: 'give each a "subnet-file" of its own',
  },
  {
    keys: networksOf,
    what: (key) => `the network ${key.split(' ', 1)[0]} of one store`,
    remedy: 'a host can join a network once: leave one of them out, or give it another "etcd-prefix"',
  },
  {
    keys: stateFilesOf,
    what: (path) => `the state file ${path}`,
    remedy: 'give one of them another "state-dir"',
  },
];

/**
 * Finds what segments share that each must have for itself, as far as their options say it. What only the store knows
 * (overlapping networks, a port of the network config) is found by PlaceClaims when a segment joins.
 *
 * @returns every conflict, one sentence each with its remedy
 */
export function findSegmentConflicts(segments: readonly SegmentOptions[]): string[] {
  const names = segments.map(({ name }) => name);
  const twice = names.filter((name, at) => names.indexOf(name) < at);
  return [
    ...[...new Set(twice)].map((name) => `two segments have the name "${name}": give each a name of its own`),
    ...segments.flatMap((segment, at) =>
      segments.slice(0, at).flatMap((other) => conflictsOf(other, segment)),
    ),
  ];
}

function conflictsOf(one: SegmentOptions, other: SegmentOptions): string[] {
  return EXCLUSIVES.flatMap(({ keys, what, remedy }) => {
    const ofOne = new Set(keys(one.agent));
    const shared = keys(other.agent).find((key) => ofOne.has(key));
    if (shared === undefined) return [];
    return [`segments "${one.name}" and "${other.name}" both have ${what(shared)}: ${remedy}`];
  });
}

/** Of a pattern such as `flannel%d` the kernel makes a name that is free. */
function devicesOf(tunName = 'flannel0'): readonly string[] {
  return tunName.includes('%d') ? [] : [tunName];
}

/** Known beforehand when it was asked for, or when the source says none. */
function portsOf({ source, forwarder = {}, underlay = {} }: SegmentAgentOptions): readonly string[] {
  const port = forwarder.port ?? (source.kind === 'file' ? DEFAULT_PORT : undefined);
  return port === undefined ? [] : [`${port} ${JSON.stringify(underlay)}`];
}

function networksOf({ source }: SegmentAgentOptions): readonly string[] {
  if (source.kind === 'file') return [source.path];
  const stores = 'openStore' in source ? source.endpoints : [source.store.name];
  const network = source.networkName.replace(/\/+/g, '/').replace(/(?<=.)\/$/, '');
  return stores.map((store) => `${network} ${store.replace(/\/+$/, '')}`);
}

function stateFilesOf({
  source,
  stateDirectory = DEFAULT_STATE_DIRECTORY,
}: SegmentAgentOptions): readonly string[] {
  if (source.kind === 'file') return [];
  return [`${stateDirectory.replace(/\/+$/, '')}/${routesSnapshotName(source.networkName)}`];
}
