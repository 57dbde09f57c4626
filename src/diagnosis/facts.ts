import type { AgentStatus } from '../agent/agent_status.js';
import type { IpFamily } from '../ip_address.js';

/** What became of an echo request. */
export type EchoOutcome =
  /** @property millis from the request to the answer */
  | { readonly kind: 'answered'; readonly millis: number }
  /** Nobody said anything in time, however often it was asked. */
  | { readonly kind: 'silent' }
  /** Too large for the way. @property mtuBytes what passes there; null where that was not told. @property by null for this host's kernel */
  | { readonly kind: 'tooBig'; readonly mtuBytes: number | null; readonly by: string | null }
  /** Somebody said that it goes no further. @property why e.g. `host unreachable` */
  | { readonly kind: 'unreachable'; readonly why: string; readonly by: string }
  /** This host's kernel did not send it. @property why e.g. `Network is unreachable` */
  | { readonly kind: 'notSent'; readonly why: string };

/** What a peer's UDP port said to a datagram. */
export type PortOutcome =
  /** A frame came back through it. */
  | { readonly kind: 'answers' }
  /** Its host says that nobody listens there (ICMP port unreachable). */
  | { readonly kind: 'refused' }
  /** Nothing: somebody listens, or a firewall keeps quiet. */
  | { readonly kind: 'silent' }
  /** This host could not send there. */
  | { readonly kind: 'notSent'; readonly why: string };

/** Echoes over the underlay to a peer's host. */
export interface UnderlayFacts {
  readonly small: EchoOutcome;
  /** Largest packet that came back, bytes with the IP header; null when none did. */
  readonly largestBytes: number | null;
  /** It is as large as this host's interface takes: more may pass behind it. */
  readonly isInterfaceMtu: boolean;
}

/** Echoes through the overlay to one inner address. */
export interface InnerFacts {
  readonly address: string;
  /** `device`: the TUN device of the peer; `target`: the address that was asked about. */
  readonly role: 'device' | 'target';
  /** Interface that the kernel sends frames to it by; null where it has no route, undefined where it could not be asked. */
  readonly kernelDevice: string | null | undefined;
  /** Null when nothing could be probed. */
  readonly small: EchoOutcome | null;
  /** A frame as large as the network or the path to this peer takes; null when no small one was answered. */
  readonly full: { readonly bytes: number; readonly outcome: EchoOutcome } | null;
}

/** What was found out about the path to one peer. */
export interface PeerFacts {
  readonly address: string;
  readonly port: number;
  /** The prefixes that go there; of several hundred, the first. */
  readonly prefixes: readonly string[];
  /** Most bytes of an inner frame to it, as the daemon knows; null for no limit of its own. */
  readonly pathMtuBytes: number | null;
  /** Null when nothing could be probed. */
  readonly underlay: UnderlayFacts | null;
  readonly listener: PortOutcome | null;
  readonly inner: readonly InnerFacts[];
  /** Frames that the daemon sent to it and took from it while it was checked; undefined when it could not be asked again. */
  readonly moved: { readonly framesOut: number; readonly framesIn: number } | undefined;
}

/** What the question was about. */
export type Target =
  /** All peers. */
  | { readonly kind: 'all' }
  | { readonly kind: 'peer'; readonly address: string }
  /** An address that a route covers. */
  | { readonly kind: 'inner'; readonly address: string; readonly prefix: string }
  /** An address of the overlay network that no route covers. */
  | { readonly kind: 'noRoute'; readonly address: string }
  /** An address of this host's own subnet. */
  | { readonly kind: 'local'; readonly address: string; readonly prefix: string }
  /** Neither a peer nor an address of the overlay. */
  | { readonly kind: 'unknown'; readonly address: string };

/** Whether echoes could be sent. */
export type Probing =
  { readonly available: true } | { readonly available: false; readonly why: string; readonly remedy: string };

/** Everything that was found out about one network of this host. What is judged of it is in findings.ts. */
export interface NetworkFacts {
  readonly now: Date;
  readonly status: AgentStatus;
  /** Why the segment does not run; null when it runs, or the daemon has no segments. */
  readonly segmentFailure: string | null;
  readonly target: Target;
  /** By family, for those that were needed. */
  readonly probing: ReadonlyMap<IpFamily, Probing>;
  readonly peers: readonly PeerFacts[];
  /** Peers that were not looked at. */
  readonly peersLeftOut: number;
  /** The address of this host's own subnet that was asked about. */
  readonly local: InnerFacts | null;
  /** Frames that were dropped while it was looked, by reason; only what moved. */
  readonly dropped: { readonly outbound: Drops; readonly inbound: Drops };
  /** Datagrams of strangers that the kernel refused meanwhile. */
  readonly strangersRefused: number;
}

export type Drops = Readonly<Record<string, number>>;
