import { buildRouteTable, type TableRoute } from '../../src/routing/build_route_table.js';
import { LOCAL, RouteTable } from '../../src/routing/route_table.js';

/** Network 10.0.0.0/8, which 65,536 leases of /24 fill. */
const NETWORK = 10 << 24;
/** Peers have addresses from 192.168.0.0 up. */
const FIRST_PEER = (192 << 24) | (168 << 16);
const PORT = 8285;

/** First address of the n-th lease. */
export function leaseAddress(n: number): number {
  return NETWORK | (n << 8);
}

/** Address of the peer that has the n-th lease. */
export function peerAddress(n: number): number {
  return FIRST_PEER + n;
}

/** Routes to the first `count` leases, the n-th by next hop n; lease 0 is our own. */
export function leaseRoutes(count: number): TableRoute[] {
  return Array.from({ length: count }, (_, n) => ({
    prefix: { family: 4, address: leaseAddress(n), bits: 24 },
    nextHopId: n === 0 ? LOCAL : n,
  }));
}

/** Endpoints of next hops 0..count-1. */
export function peerEndpoints(count: number): Int32Array {
  const words = new Int32Array(count * 2);
  for (let n = 1; n < count; n++) {
    words[n * 2] = peerAddress(n);
    words[n * 2 + 1] = PORT;
  }
  return words;
}

/** A table of the first `count` leases. */
export function leaseTable(count: number): RouteTable {
  return new RouteTable(buildRouteTable(leaseRoutes(count), peerEndpoints(count), 1));
}
