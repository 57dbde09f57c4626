import { ADDRESS_WORDS, type IpFamily, putIpv6Words } from '../../src/ip_address.js';
import { buildRouteTable } from '../../src/routing/build_route_table.js';
import { RouteSet } from '../../src/routing/route_set.js';
import { isPeer, lookupIpv4, lookupIpv6 } from '../../src/routing/route_table.js';
import { seededRandom } from '../../test/reference/seeded_random.js';
import { type MicroCase, prepared } from './micro_case.js';
import {
  ipv6LeaseAddress,
  ipv6PeerAddress,
  leaseRoutes,
  leaseTable,
  peerAddress,
  peerEndpoints,
  textRoutes,
} from './routes.js';

/** Destinations of one run: as many as the largest table has routes, so that each is visited about once. */
const LOOKUPS = 65_536;
const LARGEST = 65_536;
const SEED = 20_240_607;
const FAMILIES = [4, 6] as const;
const IPV6_BYTES = 16;

/** Finding routes, at sizes that must not matter, and publishing them. */
export const lookupCases: readonly MicroCase[] = [
  ...[1, 1000, LARGEST].map(ipv4LookupCase),
  ...[1, 1000, LARGEST].map(ipv6LookupCase),
  ...FAMILIES.flatMap((family) => [2, LARGEST].map((peers) => peerCase(peers, family))),
  ...FAMILIES.map(buildCase),
  ...FAMILIES.map(replaceCase),
  ...FAMILIES.map(replaceAllCase),
];

/** The same random stream for every size: which lease, which host in it; all of them are routed. */
function ipv4LookupCase(routes: number): MicroCase {
  return {
    name: `lookup: IPv4, ${counted(routes, 'route')}`,
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

/** The leases and hosts of the IPv4 case, a /64 each; the addresses lie in bytes, as in frames. */
function ipv6LookupCase(routes: number): MicroCase {
  return {
    name: `lookup: IPv6, ${counted(routes, 'route')}`,
    unit: 'lookup',
    unitsPerRun: LOOKUPS,
    bytesPerUnit: 0,
    prepare: () => {
      const table = leaseTable(routes, 6);
      const random = seededRandom(SEED);
      const bytes = new Uint8Array(new SharedArrayBuffer(LOOKUPS * IPV6_BYTES));
      const view = new DataView(bytes.buffer);
      for (let at = 0; at < bytes.length; at += IPV6_BYTES) {
        view.setBigUint64(at, ipv6LeaseAddress(Math.floor(random() * routes)) >> 64n);
        view.setBigUint64(at + 8, BigInt(Math.floor(random() * 256)));
      }
      return prepared(() => {
        let sum = 0;
        for (let at = 0; at < bytes.length; at += IPV6_BYTES) sum = (sum + lookupIpv6(table, bytes, at)) | 0;
        return sum;
      });
    },
  };
}

/** Half of the addresses are peers, half are strangers. */
function peerCase(peers: number, family: IpFamily): MicroCase {
  return {
    name: `peer set: IPv${family}, ${counted(peers - 1, 'peer')}`,
    unit: 'lookup',
    unitsPerRun: LOOKUPS,
    bytesPerUnit: 0,
    prepare: () => {
      const table = leaseTable(peers, family);
      const random = seededRandom(SEED);
      const words = new Int32Array(LOOKUPS * ADDRESS_WORDS);
      for (let at = 0; at < words.length; at += ADDRESS_WORDS) {
        const stranger = random() < 0.5;
        const peer = 1 + Math.floor(random() * (peers - 1));
        if (family === 4) words[at] = stranger ? (random() * 2 ** 32) | 0 : peerAddress(peer);
        else putIpv6Words(words, at, ipv6PeerAddress(peer));
        if (family === 6 && stranger) words[at + ADDRESS_WORDS - 1] = (random() * 2 ** 32) | 0;
      }
      return prepared(() => {
        let found = 0;
        for (let at = 0; at < words.length; at += ADDRESS_WORDS) if (isPeer(table, words, at)) found++;
        return found;
      });
    },
  };
}

function buildCase(family: IpFamily): MicroCase {
  return {
    name: `publish: table of ${counted(LARGEST, `IPv${family} route`)}`,
    unit: 'table',
    unitsPerRun: 1,
    bytesPerUnit: 0,
    prepare: () => {
      const routes = leaseRoutes(LARGEST, family);
      const endpoints = peerEndpoints(LARGEST, family);
      return prepared(() => buildRouteTable(routes, endpoints, 1).byteLength);
    },
  };
}

/** As after a reload: all routes are as they were. */
function replaceCase(family: IpFamily): MicroCase {
  return {
    name: `publish: replace of ${counted(LARGEST, `IPv${family} route`)} by the same, then table`,
    unit: 'table',
    unitsPerRun: 1,
    bytesPerUnit: 0,
    prepare: () => {
      const routes = textRoutes(LARGEST, family);
      const set = new RouteSet({ defaultPort: 8285, underlay: family });
      return prepared(() => {
        set.replace(routes);
        return set.build().byteLength;
      });
    },
  };
}

/** As at the start: every text must be read. */
function replaceAllCase(family: IpFamily): MicroCase {
  return {
    name: `publish: first ${counted(LARGEST, `IPv${family} route`)}, then table`,
    unit: 'table',
    unitsPerRun: 1,
    bytesPerUnit: 0,
    prepare: () => {
      const routes = textRoutes(LARGEST, family);
      return prepared(() => {
        const set = new RouteSet({ defaultPort: 8285, underlay: family });
        set.replace(routes);
        return set.build().byteLength;
      });
    },
  };
}

function counted(count: number, what: string): string {
  return `${count.toLocaleString('en')} ${what}${count === 1 ? '' : 's'}`;
}
