/** Packets as attackers make them, from wherever an attacker can be; see tools/hostile.py for what there is of each kind. */

import { TEST_SEED } from '../unit/test_seed.js';
import type { Child } from './child.js';
import type { Lab, LabHost, LabPod } from './lab.js';
import type { Namespace } from './namespace.js';
import { bridgeMac } from './replay.js';
import { type Families, overheadBytes } from './selvage.js';
import { reportOf, startTool } from './tool.js';

const FLANNEL_PORT = 8285;
/** What a UDP datagram over IPv4 holds; over IPv6 it is 20 bytes more, which nothing here depends on. */
const MOST_DATAGRAM_BYTES = 65_507;
const DEFAULT_COUNT = 20_000;
const DEFAULT_SECONDS = 10;
/** What a receive buffer of the default size takes on two busy cores. */
const DEFAULT_PER_SECOND = 10_000;
const GRACE_SECONDS = 30;

/** How much of it there is, and of what. */
export interface HostileOptions {
  /** Most packets, 20,000 without it. */
  readonly count?: number;
  /** Longest time, 10 without it. */
  readonly seconds?: number;
  /** 10,000 without it. */
  readonly perSecond?: number;
  /** Of the inner packets; both without it. */
  readonly families?: Families;
  /** Only these functions of hostile.py; all without it. */
  readonly kinds?: readonly string[];
  /** Family of the underlay, IPv4 without it. */
  readonly underlay?: 'ipv4' | 'ipv6';
  /** Where inner packets go that are meant to arrive, of either family; the target's pod and an absent neighbour without it. */
  readonly victims?: readonly string[];
}

/** What one sender has sent. */
export interface HostileReport {
  /** With the same options it sends the same again. */
  readonly seed: string;
  /** Packets that left, datagrams of a train one by one. */
  readonly sent: number;
  readonly seconds: number;
  /** The same by kind; 0 for a kind that did not occur. */
  readonly perKind: Readonly<Record<string, number>>;
  /** Packets that the sender's kernel refused, by kind and name of the errno. */
  readonly refused: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

/** A sender at work. */
export class HostileSender {
  readonly #child: Child;
  readonly #seconds: number;

  constructor(child: Child, seconds: number) {
    this.#child = child;
    this.#seconds = seconds;
  }

  /** Resolves when it has sent all, or its time is over. @throws Error with its output when it failed */
  report(): Promise<HostileReport> {
    return reportOf(this.#child, this.#seconds + GRACE_SECONDS);
  }
}

/** Datagrams from a host, stranger or peer, to the port of another; what is inside claims to come from the first one's subnet. */
export function hostileDatagrams(
  lab: Lab,
  from: LabHost,
  to: LabHost,
  options: HostileOptions = {},
): HostileSender {
  const plan = { via: 'datagrams', most: MOST_DATAGRAM_BYTES, ...outerTarget(to, options) };
  return start(from, plan, networksFrom(lab, from, to, options), options);
}

/**
 * Datagrams from a host that claim to come from a peer of the receiver, and forged ICMP errors about the tunnel between the
 * two; what is inside claims to come from the peer's subnet.
 */
export function hostileForgeries(
  lab: Lab,
  from: LabHost,
  { as: peer, to }: { readonly as: LabHost; readonly to: LabHost },
  options: HostileOptions = {},
): HostileSender {
  const ofPeer = options.underlay === 'ipv6' ? peer.publicIpv6 : peer.publicIp;
  const plan = {
    ...{ via: 'forged', most: lab.underlayMtu - overheadBytes(options), ...outerTarget(to, options) },
    ...{ outerSource: ofPeer, quotedPeer: ofPeer },
  };
  return start(from, plan, networksFrom(lab, peer, to, options), options);
}

/** Packets out of a pod, to pods of another host and to whatever a pod ought not reach. */
export async function hostilePackets(
  lab: Lab,
  from: LabPod,
  to: LabHost,
  options: HostileOptions = {},
): Promise<HostileSender> {
  const host = lab.host(from.number - 1);
  const plan = { via: 'packets', interface: 'eth0', mac: await bridgeMac(lab, from), most: lab.underlayMtu };
  return start(from, plan, networksFrom(lab, host, to, options), options);
}

/** Frames into the queue of a host's overlay device, past its IP stack, which would refuse half of them. */
export function hostileFrames(
  lab: Lab,
  from: LabHost,
  to: LabHost,
  device: string,
  options: HostileOptions = {},
): HostileSender {
  const plan = { via: 'frames', interface: device, most: lab.underlayMtu - overheadBytes(options) };
  return start(from, plan, networksFrom(lab, from, to, options), options);
}

function outerTarget(to: LabHost, { underlay }: HostileOptions): { address: string; port: number } {
  return { address: underlay === 'ipv6' ? to.publicIpv6 : to.publicIp, port: FLANNEL_PORT };
}

/** Addresses of one family, by what they are to the sender and the receiver. */
interface Network {
  readonly family: 4 | 6;
  readonly own: readonly string[];
  readonly victims: readonly string[];
  readonly spoofed: readonly string[];
  readonly refused: readonly string[];
  readonly elsewhere: readonly string[];
}

function networksFrom(lab: Lab, from: LabHost, to: LabHost, options: HostileOptions): Network[] {
  const { families = '46', victims } = options;
  const others = lab.othersOf(from);
  const thirds = others.filter((host) => host !== to);
  const victimsOf = (family: 4 | 6, usual: string[]): readonly string[] =>
    victims?.filter((address) => address.includes(':') === (family === 6)) ?? usual;
  const ipv4: Network = {
    family: 4,
    own: [`10.1.${from.number}.2`, `10.1.${from.number}.9`],
    victims: victimsOf(4, [`10.1.${to.number}.2`, `10.1.${to.number}.9`]),
    spoofed: ['10.1.77.2', '198.51.100.7', from.publicIp, ...others.map(({ number }) => `10.1.${number}.2`)],
    refused: [...lab.hosts.map(({ publicIp }) => publicIp), '127.0.0.1', '127.8.8.8'],
    elsewhere: ['10.1.77.2', '198.51.100.7', ...[from, ...thirds].map(({ number }) => `10.1.${number}.9`)],
  };
  const ipv6: Network = {
    family: 6,
    own: [`fd00:1:${from.number}::2`, `fd00:1:${from.number}::9`],
    victims: victimsOf(6, [`fd00:1:${to.number}::2`, `fd00:1:${to.number}::9`]),
    spoofed: [
      ...['fd00:1:77::2', '2001:db8::7', from.publicIpv6],
      ...others.map(({ number }) => `fd00:1:${number}::2`),
    ],
    refused: [...lab.hosts.map(({ publicIpv6 }) => publicIpv6), '::1', '::ffff:127.0.0.1'],
    elsewhere: [
      ...['fd00:1:77::2', '2001:db8::7'],
      ...[from, ...thirds].map(({ number }) => `fd00:1:${number}::9`),
    ],
  };
  const wanted = [ipv4, ipv6].filter(({ family }) => families.includes(String(family)));
  return wanted.filter((network) => network.victims.length > 0);
}

function start(
  from: Namespace,
  way: object,
  networks: readonly Network[],
  { count = DEFAULT_COUNT, seconds = DEFAULT_SECONDS, perSecond = DEFAULT_PER_SECOND, kinds }: HostileOptions,
): HostileSender {
  const seed = `${TEST_SEED}/${from.label}`;
  const plan = { ...way, networks, seed, count, seconds, perSecond, ...(kinds && { kinds }) };
  return new HostileSender(startTool(from, 'hostile', JSON.stringify(plan)), seconds);
}
