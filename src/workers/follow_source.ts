import { SelvageError } from '../errors.js';
import type { Peer, RouteChange, RouteListener, RouteSnapshot } from '../lease/route_source.js';
import type { Route } from '../routing/route_set.js';
import type { ForwarderRoutes } from './forwarder.js';

/** The part of a forwarder that a source of routes feeds. */
export interface FollowedForwarder {
  readonly routes: ForwarderRoutes;
}

/** What {@link followSource} tells its caller. Must not throw. */
export interface FollowListener {
  /** New routes are in force in every lane, or will be before its next burst. */
  onRoutes(count: number): void;
  /** The source, or a change it brought, has a fault; the routes stay as they were. */
  onError(error: SelvageError): void;
}

/** The route of one peer. */
export function routeOfPeer({ subnet, publicIp, port }: Peer): Route {
  return { prefix: subnet, nextHop: publicIp, port };
}

/**
 * Makes the listener that keeps a forwarder's routes in step with a source.
 *
 * @param first the snapshot that the forwarder was made from
 */
export function followSource(
  forwarder: FollowedForwarder,
  first: Pick<RouteSnapshot, 'network' | 'subnet'>,
  listener: FollowListener,
): RouteListener {
  const { routes } = forwarder;
  const apply = (change: RouteChange): void => {
    switch (change.kind) {
      case 'snapshot':
        requireSameHost(first, change.snapshot);
        routes.replace(change.snapshot.peers.map(routeOfPeer));
        break;
      case 'set':
        routes.set(routeOfPeer(change.peer));
        break;
      case 'delete':
        routes.delete(change.subnet);
        break;
    }
  };
  return {
    onChanges: (changes) => {
      try {
        changes.forEach(apply);
        listener.onRoutes(routes.list().length);
      } catch (error) {
        if (!(error instanceof SelvageError)) throw error;
        listener.onError(error);
      }
    },
    onError: (error) => listener.onError(error),
  };
}

/** The device was made for one network and subnet; moving it is a new start. */
function requireSameHost(first: Pick<RouteSnapshot, 'network' | 'subnet'>, next: RouteSnapshot): void {
  for (const field of ['network', 'subnet'] as const) {
    if (first[field] === next[field]) continue;
    throw new SelvageError(
      'ERR_SUBNET_CHANGED',
      `${field} changed from ${first[field]} to ${next[field]}: the old routes stay; restart selvage to take the new ones`,
    );
  }
}
