import type { Peer, RouteChange, RouteSnapshot } from '../lease/route_source.js';
import type { Route, RouteUpdate } from '../routing/route_set.js';

/** The route of one peer. */
export function routeOfPeer({ subnet, publicIp, port }: Peer): Route {
  return { prefix: subnet, nextHop: publicIp, port };
}

/** Changes that belong together, as one step. */
export type RouteStep =
  | { readonly kind: 'snapshot'; readonly snapshot: RouteSnapshot }
  | ({ readonly kind: 'update' } & Required<RouteUpdate>);

/**
 * What a list of changes comes to: a later change of a subnet replaces an earlier one, and a snapshot replaces all before it.
 */
export function collapseChanges(changes: readonly RouteChange[]): RouteStep {
  const { snapshot, later } = fold(changes);
  if (snapshot !== undefined) return { kind: 'snapshot', snapshot: withLater(snapshot, later) };
  const peers = [...later.values()].filter((peer) => peer !== undefined);
  const remove = [...later].filter(([, peer]) => peer === undefined).map(([subnet]) => subnet);
  return { kind: 'update', remove, set: peers.map(routeOfPeer) };
}

/** Changes that come to the same and may be kept for long: one for each subnet, or one snapshot. */
export function compactChanges(changes: readonly RouteChange[]): RouteChange[] {
  const { snapshot, later } = fold(changes);
  if (snapshot !== undefined) return [{ kind: 'snapshot', snapshot: withLater(snapshot, later) }];
  return [...later].map(([subnet, peer]) =>
    peer === undefined ? { kind: 'delete', subnet } : { kind: 'set', peer },
  );
}

/** The last snapshot, and what became of each subnet that was told of after it. */
interface Fold {
  readonly snapshot: RouteSnapshot | undefined;
  readonly later: ReadonlyMap<string, Peer | undefined>;
}

function fold(changes: readonly RouteChange[]): Fold {
  let snapshot: RouteSnapshot | undefined;
  const later = new Map<string, Peer | undefined>();
  for (const change of changes) {
    switch (change.kind) {
      case 'snapshot':
        snapshot = change.snapshot;
        later.clear();
        break;
      case 'set':
        later.set(change.peer.subnet, change.peer);
        break;
      case 'delete':
        later.set(change.subnet, undefined);
        break;
    }
  }
  return { snapshot, later };
}

function withLater(snapshot: RouteSnapshot, later: ReadonlyMap<string, Peer | undefined>): RouteSnapshot {
  if (later.size === 0) return snapshot;
  const kept = snapshot.peers.filter(({ subnet }) => !later.has(subnet));
  const added = [...later.values()].filter((peer) => peer !== undefined);
  return { ...snapshot, peers: [...kept, ...added] };
}

/** Whether two snapshots put this host in the same place, so that one device and one socket serve both. */
export function samePlace(a: RouteSnapshot, b: RouteSnapshot): boolean {
  return (['network', 'subnet', 'ipv6Network', 'ipv6Subnet', 'underlay', 'port'] as const).every(
    (field) => a[field] === b[field],
  );
}
