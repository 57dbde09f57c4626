import type { StoreStatus } from '../agent/agent_status.js';
import type { ReasonCode } from '../agent/health.js';
import type { NetworkFacts } from './facts.js';
import { type Finding, FindingsAbout } from './finding.js';

/** With these no frames are carried, or some go astray; the others want a hand and do no harm yet. */
const FAULTS: ReadonlySet<ReasonCode> = new Set<ReasonCode>([
  'fatal',
  'notForwarding',
  'laneDown',
  'noLease',
  'duplicatePublicIp',
  'routesRefused',
  'routesNotApplied',
]);

const REMEDIES: Readonly<Record<ReasonCode, string>> = {
  fatal: "read the end of the daemon's log; it ends, and what runs it should start it again",
  notForwarding: 'see that the network config is in the store, and that a subnet is free: selvage lease list',
  laneDown: "it starts again by itself; if it does not last, the daemon's log names the error",
  noLease: 'see that the store can be reached and has a free subnet: selvage lease list',
  storeAway: 'see that the store runs and can be reached from here, with the certificates and names given',
  staleRoutes: 'see that the store can be reached: until then these routes are those of an earlier run',
  duplicatePublicIp:
    'give one of the two hosts another --public-ip, or release the lease of a host that is gone',
  routesFile: 'mend the routes file; until then the routes of before are in force',
  routesRefused: 'release leases of hosts that are gone: selvage lease list',
  firewall: 'see that nft works here, and that nothing else empties the ruleset',
  blackholeRoute: 'see that ip works here, and what else has a route to the own subnet',
  subnetFile: 'see that its directory exists and can be written to',
  routesNotApplied: 'wait a second and check again; if it stays, restart the daemon',
};

/** The daemon itself: its health, its lease, its store, its routes. */
export function daemonFindings(facts: NetworkFacts): Finding[] {
  const about = new FindingsAbout('daemon');
  const { status, segmentFailure, now } = facts;
  if (segmentFailure !== null) {
    about.fault(
      'segmentFailed',
      `the segment does not run: ${segmentFailure}`,
      'mend what it names; it is started again by itself',
    );
  }
  judgeHealth(about, facts);
  if (status.source.kind === 'store') judgeStore(about, status.source, now);
  judgeRoutes(about, facts);
  return about.list;
}

function judgeHealth(about: FindingsAbout, { status }: NetworkFacts): void {
  const { health, readiness } = status;
  const told = new Set(health.reasons.map(({ code }) => code));
  const missing = readiness.reasons.filter(({ code }) => !told.has(code));
  for (const { code, message } of [...health.reasons, ...missing]) {
    // A later daemon may know reasons that are not here.
    const remedy = (REMEDIES as Partial<Record<string, string>>)[code] ?? 'selvage status tells more';
    if (FAULTS.has(code)) about.fault(code, message, remedy);
    else about.warn(code, message, remedy);
  }
  if (health.reasons.length + missing.length > 0) return;
  const device = status.forwarder?.device;
  about.ok(
    'daemonWell',
    `process ${status.pid} runs, is ${health.status} and ready` +
      (device === undefined ? '' : `; ${device.name}, MTU ${device.mtuBytes}`),
  );
}

function judgeStore(about: FindingsAbout, source: StoreStatus, now: Date): void {
  const { lease, connection, stale, syncedAt, revision, skipped } = source;
  if (lease !== null) {
    const subnet = [lease.subnet, lease.ipv6Subnet].filter((each) => each !== null).join(', ');
    const left = lease.expiresAt === null ? Infinity : Date.parse(lease.expiresAt) - now.getTime();
    if (left <= 0) {
      about.fault(
        'leaseExpired',
        `the lease of ${subnet} ran out ${ago(lease.expiresAt!, now)} ago, and another host may have it`,
        'see that the store can be reached: the daemon renews the lease, or takes another one',
      );
    } else {
      const span = left === Infinity ? 'has no time limit' : `is good for ${spanText(left)}`;
      about.ok('leaseFresh', `the lease of ${subnet} ${span}, confirmed ${ago(lease.confirmedAt, now)} ago`);
    }
  }
  if (connection.connected && !stale && syncedAt !== null) {
    const last = `in step ${ago(syncedAt, now)} ago, last event at revision ${revision}`;
    about.ok('routesFresh', `${source.store} is connected; ${last}`);
  } else if (syncedAt !== null) {
    about.warn(
      'routesOld',
      `the routes agreed with ${source.store} last ${ago(syncedAt, now)} ago, at revision ${revision}`,
      'hosts that came or moved since are not reached: see that the store can be reached',
    );
  }
  if (skipped > 0) {
    about.warn(
      'leasesSkipped',
      `${skipped} ${skipped === 1 ? 'lease is' : 'leases are'} not routed to`,
      "selvage lease list, and the daemon's log, tell which and why",
    );
  }
}

function judgeRoutes(about: FindingsAbout, { status, peersLeftOut, peers, target }: NetworkFacts): void {
  if (target.kind !== 'all' || status.forwarder === null) return;
  if (peers.length === 0) {
    about.warn(
      'noPeers',
      'no route to any other host',
      'is this the only host? Else see that the others use the same etcd prefix: selvage lease list',
    );
  }
  if (peersLeftOut > 0) {
    about.ok(
      'peersLeftOut',
      `${peersLeftOut} of ${peersLeftOut + peers.length} peers were left out; --peers N looks at more`,
    );
  }
}

function ago(since: string, now: Date): string {
  return spanText(now.getTime() - Date.parse(since));
}

/** Clocks in a status are a moment older than the one they are compared with. */
function spanText(millis: number): string {
  const seconds = Math.max(0, Math.floor(millis / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}
