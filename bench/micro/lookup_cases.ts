import { formatIpv4, formatIpv4Prefix } from '../../src/ipv4_prefix.js';
import { buildRouteTable } from '../../src/routing/build_route_table.js';
import { type Route, RouteSet } from '../../src/routing/route_set.js';
import { isPeerIpv4, lookupIpv4 } from '../../src/routing/route_table.js';
import { seededRandom } from '../../test/reference/seeded_random.js';
import { type MicroCase, prepared } from './micro_case.js';
import { leaseRoutes, leaseTable, peerAddress, peerEndpoints } from './routes.js';

/** Destinations of one run: as many as the largest table has routes, so that each is visited about once. */
const LOOKUPS = 65_536;
const LARGEST = 65_536;
const SEED = 20_240_607;

/** Finding routes, at sizes that must not matter, and publishing them. */
export const lookupCases: readonly MicroCase[] = [
  ...[1, 1000, LARGEST].map(lookupCase),
  ...[2, LARGEST].map(peerCase),
  {
    name: `publish: table of ${LARGEST.toLocaleString('en')} routes`,
    unit: 'table',
    unitsPerRun: 1,
    bytesPerUnit: 0,
    prepare: () => {
      const routes = leaseRoutes(LARGEST);
      const endpoints = peerEndpoints(LARGEST);
      return prepared(() => buildRouteTable(routes, endpoints, 1).byteLength);
    },
  },
  {
    name: `publish: replace of ${LARGEST.toLocaleString('en')} routes, then table`,
    unit: 'table',
    unitsPerRun: 1,
    bytesPerUnit: 0,
    prepare: () => {
      const routes = textRoutes(LARGEST);
      const set = new RouteSet({ defaultPort: 8285 });
      return prepared(() => {
        set.replace(routes);
        return set.build().byteLength;
      });
    },
  },
];

/** The same random stream for every size: which lease, which host in it; all of them are routed. */
function lookupCase(routes: number): MicroCase {
  return {
    name: `lookup: ${routes.toLocaleString('en')} ${routes === 1 ? 'route' : 'routes'}`,
    unit: 'lookup',
    unitsPerRun: LOOKUPS,
    bytesPerUnit: 0,
    prepare: () => {
      const table = leaseTable(routes);
      const random = seededRandom(SEED);
      const lease = (): number => Math.floor(random() * routes);
      const host = (): number => Math.floor(random() * 256);
      const addresses = Int32Array.from({ length: LOOKUPS }, () => (10 << 24) | (lease() << 8) | host());
      return prepared(() => {
        let sum = 0;
        for (let i = 0; i < LOOKUPS; i++) sum = (sum + lookupIpv4(table, addresses[i]!)) | 0;
        return sum;
      });
    },
  };
}

/** Half of the addresses are peers, half are strangers. */
function peerCase(peers: number): MicroCase {
  return {
    name: `peer set: ${(peers - 1).toLocaleString('en')} ${peers === 2 ? 'peer' : 'peers'}`,
    unit: 'lookup',
    unitsPerRun: LOOKUPS,
    bytesPerUnit: 0,
    prepare: () => {
      const table = leaseTable(peers);
      const random = seededRandom(SEED);
      const address = (): number => {
        if (random() < 0.5) return (random() * 2 ** 32) | 0;
        return peerAddress(1 + Math.floor(random() * (peers - 1)));
      };
      const addresses = Int32Array.from({ length: LOOKUPS }, address);
      return prepared(() => {
        let found = 0;
        for (let i = 0; i < LOOKUPS; i++) if (isPeerIpv4(table, addresses[i]!)) found++;
        return found;
      });
    },
  };
}

function textRoutes(count: number): Route[] {
  return leaseRoutes(count).map(({ prefix }, n) => ({
    prefix: formatIpv4Prefix(prefix),
    nextHop: formatIpv4(peerAddress(n)),
  }));
}
