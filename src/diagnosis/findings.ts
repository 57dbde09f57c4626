/**
 * What is judged of collected facts: pure rules. docs/check.md tells each code's meaning and remedy at length.
 */
import type { IpFamily } from '../ip_address.js';
import { daemonFindings } from './daemon_findings.js';
import type { NetworkFacts, Probing } from './facts.js';
import type { Finding } from './finding.js';
import { peerFindings } from './peer_findings.js';
import { targetFindings } from './target_findings.js';

/** `unchecked`: no fault was found, and not everything could be looked at. */
export type PathVerdict = 'ok' | 'fault' | 'unchecked';

/** All findings: about the daemon, about the question, and about each peer in order. */
export function findingsOf(facts: NetworkFacts): Finding[] {
  return [
    ...daemonFindings(facts),
    ...probingFindings(facts.probing),
    ...targetFindings(facts),
    ...facts.peers.flatMap((peer) => peerFindings(peer, facts)),
  ];
}

/** Warnings do not make a fault. */
export function verdictOf(
  findings: readonly Finding[],
  probing: ReadonlyMap<IpFamily, Probing>,
): PathVerdict {
  if (findings.some(({ severity }) => severity === 'fault')) return 'fault';
  return [...probing.values()].every(({ available }) => available) ? 'ok' : 'unchecked';
}

function probingFindings(probing: ReadonlyMap<IpFamily, Probing>): Finding[] {
  const told = new Set<string>();
  return [...probing.values()].flatMap((each) => {
    if (each.available || told.has(each.why)) return [];
    told.add(each.why);
    const message = `no echo requests could be sent: ${each.why}`;
    return [
      { code: 'noProbes', severity: 'warning' as const, subject: 'daemon', message, remedy: each.remedy },
    ];
  });
}
