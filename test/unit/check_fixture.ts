import { type AgentStatus, statusOf } from '../../src/agent/agent_status.js';
import type { EchoOutcome, InnerFacts, NetworkFacts, PeerFacts } from '../../src/diagnosis/facts.js';
import { view } from './agent_fixture.js';

export const NOW = new Date('2026-03-01T13:00:01Z');
export const ANSWERED: EchoOutcome = { kind: 'answered', millis: 0.25 };
export const SILENT: EchoOutcome = { kind: 'silent' };

/** Of an agent with nothing to complain about, on 192.0.2.1 with 10.1.2.0/24. */
export function status(changes: Partial<AgentStatus> = {}): AgentStatus {
  return { ...statusOf(view()), pid: 4711, ...changes };
}

export function inner(changes: Partial<InnerFacts> = {}): InnerFacts {
  return {
    address: '10.1.10.0',
    role: 'device',
    kernelDevice: 'flannel0',
    small: ANSWERED,
    full: { bytes: 1472, outcome: ANSWERED },
    ...changes,
  };
}

/** A peer with which all is well. */
export function peerFacts(changes: Partial<PeerFacts> = {}): PeerFacts {
  return {
    address: '192.0.2.2',
    port: 8285,
    prefixes: ['10.1.10.0/24'],
    pathMtuBytes: null,
    underlay: { small: ANSWERED, largestBytes: 1500, isInterfaceMtu: true },
    listener: { kind: 'answers' },
    inner: [inner()],
    moved: { framesOut: 5, framesIn: 5 },
    ...changes,
  };
}

/** A peer that says nothing at all. */
export function silentPeer(changes: Partial<PeerFacts> = {}): PeerFacts {
  return peerFacts({
    underlay: { small: ANSWERED, largestBytes: 1500, isInterfaceMtu: true },
    listener: { kind: 'silent' },
    inner: [inner({ small: SILENT, full: null })],
    moved: { framesOut: 5, framesIn: 0 },
    ...changes,
  });
}

export function networkFacts(changes: Partial<NetworkFacts> = {}): NetworkFacts {
  return {
    now: NOW,
    status: status(),
    segmentFailure: null,
    target: { kind: 'all' },
    probing: new Map([[4, { available: true }]]),
    peers: [peerFacts()],
    peersLeftOut: 0,
    local: null,
    dropped: { outbound: {}, inbound: {} },
    strangersRefused: 0,
    ...changes,
  };
}
