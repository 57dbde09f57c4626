import { OUTER_HEADER_BYTES } from '../encap/outer_headers.js';
import { familyOf, formatEndpoint } from '../ip_address.js';
import type { Drops, EchoOutcome, InnerFacts, NetworkFacts, PeerFacts } from './facts.js';
import { echoText, type Finding, FindingsAbout } from './finding.js';

const MOST_LISTED = 3;

/** Drops that are about frames to or from a peer; others happen on any host at any time. */
const TELLING_OUT = ['noRoute', 'underlayUnreachable', 'sendRefused', 'sendFailed', 'underlayTooBig'];
const TELLING_IN = ['unknownPeer', 'spoofedSource', 'notLocal'];

/** The path to one peer, from the near end to the far one. */
export function peerFindings(peer: PeerFacts, facts: NetworkFacts): Finding[] {
  const about = new FindingsAbout(`peer ${formatEndpoint(peer.address, peer.port)}`);
  if (facts.target.kind !== 'inner') about.ok('routePresent', `the way to ${prefixesText(peer.prefixes)}`);
  judgeKernelRoutes(about, peer, facts);
  judgeUnderlay(about, peer);
  judgeListener(about, peer, facts);
  for (const inner of peer.inner) judgeInner(about, inner, peer, facts);
  judgeSize(about, peer, facts);
  return about.list;
}

function prefixesText(prefixes: readonly string[]): string {
  const more = prefixes.length - MOST_LISTED;
  return `${prefixes.slice(0, MOST_LISTED).join(', ')}${more > 0 ? ' and more' : ''}`;
}

/** Without this, echoes and pods' frames go another way than the overlay. */
function judgeKernelRoutes(about: FindingsAbout, { inner }: PeerFacts, { status }: NetworkFacts): void {
  const device = status.forwarder?.device.name;
  if (device === undefined) return;
  for (const { address, kernelDevice } of inner) {
    if (kernelDevice === undefined || kernelDevice === device) continue;
    about.fault(
      'kernelRouteElsewhere',
      `the kernel sends ${address} ${kernelDevice === null ? 'nowhere' : `to ${kernelDevice}`}, not to ${device}`,
      `ip route get ${address}: is ${device} up, and what else has a route to the overlay network?`,
    );
  }
}

function isReached({ inner }: PeerFacts): boolean {
  return inner.some(({ small }) => small?.kind === 'answered');
}

/** Frames of it came in while we waited, whatever they were. */
function isHeard(peer: PeerFacts): boolean {
  return isReached(peer) || (peer.moved?.framesIn ?? 0) > 0;
}

function judgeUnderlay(about: FindingsAbout, peer: PeerFacts): void {
  const { underlay, address } = peer;
  if (underlay === null) return;
  const { small, largestBytes, isInterfaceMtu } = underlay;
  if (small.kind === 'answered') {
    const most = isInterfaceMtu ? ', all that this interface takes' : '';
    const size = largestBytes === null ? '' : `; packets of ${largestBytes} bytes pass${most}`;
    about.ok('underlayReachable', `${address} on the underlay: ${echoText(small)}${size}`);
  } else if (isHeard(peer)) {
    about.ok(
      'underlayEchoRefused',
      `${address} answers no echo on the underlay, and its frames arrive: what size passes there is not known`,
    );
  } else if (small.kind === 'silent') {
    about.warn(
      'underlaySilent',
      `${address} on the underlay: no answer`,
      'is the host up? Its network, or a firewall, may refuse echoes: that alone is no fault',
    );
  } else {
    about.fault(
      'underlayUnreachable',
      `${address} on the underlay: ${echoText(small)}`,
      `ip route get ${address}; is that host up, and is this its address?`,
    );
  }
}

function judgeListener(
  about: FindingsAbout,
  { address, port, listener }: PeerFacts,
  facts: NetworkFacts,
): void {
  if (listener === null) return;
  switch (listener.kind) {
    case 'answers':
      about.ok('portAnswers', `frames come back through UDP port ${port}`);
      return;
    case 'refused':
      about.fault(
        'portClosed',
        `nobody listens at UDP port ${port} of ${address}`,
        facts.status.source.kind === 'file'
          ? 'does the daemon run there? Has the routes file its port?'
          : 'does the daemon run there, with the port of the network config (Backend.Port)?',
      );
      return;
    case 'notSent':
      about.fault(
        'portNotSent',
        `no datagram could be sent to ${formatEndpoint(address, port)}: ${listener.why}`,
        `ip route get ${address}; do rules for OUTPUT refuse UDP ${port}?`,
      );
      return;
    case 'silent':
    // Whether that is a fault is what comes back through the overlay to say.
  }
}

function judgeInner(about: FindingsAbout, inner: InnerFacts, peer: PeerFacts, facts: NetworkFacts): void {
  const { small, address, role } = inner;
  const what = role === 'device' ? `its device, ${address}` : address;
  if (small === null) return;
  if (small.kind === 'answered') {
    about.ok('innerAnswers', `${what}, through the overlay: ${echoText(small)}`);
    judgeFull(about, inner, peer);
  } else if (role === 'target') judgeSilentTarget(about, inner, small, peer);
  else judgeSilentDevice(about, inner, small, peer, facts);
}

/** The overlay may be well to there. */
function judgeSilentTarget(
  about: FindingsAbout,
  { address }: InnerFacts,
  outcome: EchoOutcome,
  peer: PeerFacts,
): void {
  const isNear = peer.inner.some(({ role, small }) => role === 'device' && small?.kind === 'answered');
  about.fault(
    'addressSilent',
    `${address}: ${echoText(outcome)}${isNear ? '; the overlay to its host works' : ''}`,
    isNear
      ? 'does that pod run, does it answer pings, and does a network policy there let them in?'
      : 'see what is wrong with the path to its host, above',
  );
}

function judgeSilentDevice(
  about: FindingsAbout,
  { address }: InnerFacts,
  outcome: EchoOutcome,
  peer: PeerFacts,
  facts: NetworkFacts,
): void {
  const message = `its device, ${address}, through the overlay: ${echoText(outcome)}`;
  if (isReached(peer)) {
    about.warn(
      'innerEchoRefused',
      `${message}; another address there answers`,
      "that host's firewall may refuse echoes on its device: pods do not mind",
    );
    return;
  }
  if (isHeard(peer)) {
    about.fault(
      'oneWay',
      `${message}; frames of that host arrive, so the way to it is broken, or it refuses echoes`,
      'check the address of a pod there, and run selvage check on that host: a firewall there may refuse this host',
    );
    return;
  }
  about.fault('innerSilent', `${message}${meanwhile(facts)}`, remedyOfSilence(peer, facts));
}

/** What was counted while we waited, and may be ours. */
function meanwhile({ dropped, strangersRefused }: NetworkFacts): string {
  const told = (direction: string, drops: Drops, reasons: readonly string[]): string[] =>
    reasons.filter((reason) => drops[reason]).map((reason) => `${direction} ${reason} ${drops[reason]}`);
  const counted = [...told('out', dropped.outbound, TELLING_OUT), ...told('in', dropped.inbound, TELLING_IN)];
  if (strangersRefused > 0) counted.push(`datagrams of strangers ${strangersRefused}`);
  return counted.length === 0 ? '' : ` (counted here meanwhile: ${counted.join(', ')})`;
}

function remedyOfSilence(peer: PeerFacts, { dropped, strangersRefused }: NetworkFacts): string {
  const { address, port, moved, listener } = peer;
  if (listener?.kind === 'refused') return 'start the daemon on that host';
  if (dropped.outbound['sendRefused']) return `this host's firewall refuses datagrams: let UDP ${port} out`;
  if (moved?.framesOut === 0) return 'the daemon here sent nothing to it: selvage trace --drops tells why';
  if (strangersRefused > 0 || dropped.inbound['unknownPeer']) {
    return `does that host send from another address than ${address} (NAT, a second address)? --public-ip, --iface there`;
  }
  return (
    `run selvage check on that host too: a firewall may keep UDP ${port} from it, its daemon may not run, or not know ` +
    'this host'
  );
}

function judgeFull(about: FindingsAbout, { full, address }: InnerFacts, peer: PeerFacts): void {
  if (full === null) return;
  const { bytes, outcome } = full;
  if (outcome.kind === 'answered') {
    about.ok('fullSizePasses', `${address}: frames of ${bytes} bytes pass`);
    return;
  }
  const learned = outcome.kind === 'tooBig' && outcome.mtuBytes !== null && peer.pathMtuBytes === null;
  if (learned) {
    about.warn(
      'pathNarrowLearned',
      `${address}: a frame of ${bytes} bytes does not pass: ${echoText(outcome)}`,
      'senders are told, and send smaller frames; docs/mtu.md',
    );
    return;
  }
  about.fault(
    'fullSizeLost',
    `${address}: small frames are answered, and those of ${bytes} bytes are not: ${echoText(outcome)}`,
    `connections stall when they send much: ${stallRemedy(bytes, peer)}`,
  );
}

function stallRemedy(bytes: number, { pathMtuBytes, address }: PeerFacts): string {
  if (pathMtuBytes !== null && pathMtuBytes < bytes) {
    const lockBytes = pathMtuBytes + OUTER_HEADER_BYTES[familyOf(address)];
    return (
      `the path takes less than IPv6 needs: a larger MTU on the way, or on both hosts, so that the kernel makes fragments, ` +
      `'ip route add PEER via GATEWAY mtu lock ${lockBytes}'; docs/mtu.md`
    );
  }
  return (
    `let ICMP through on the underlay, or give the hosts a smaller --mtu; the daemon's probes find it seconds after ` +
    'the path is used, if --path-probe-seconds is not 0'
  );
}

/** Whether the underlay takes a frame of full size. */
function judgeSize(about: FindingsAbout, peer: PeerFacts, { status }: NetworkFacts): void {
  const { pathMtuBytes, underlay, address } = peer;
  const frameBytes = status.forwarder?.device.mtuBytes;
  if (frameBytes === undefined) return;
  const largestBytes = underlay?.largestBytes ?? null;
  const neededBytes = frameBytes + OUTER_HEADER_BYTES[familyOf(address)];
  if (pathMtuBytes !== null) {
    about.warn(
      'pathNarrow',
      `the path takes frames of ${pathMtuBytes} bytes, less than the ${frameBytes} of the network; senders are told`,
      'larger packets on the underlay carry more: its MTU on the way; docs/mtu.md',
    );
  } else if (largestBytes !== null && largestBytes < neededBytes) {
    about.warn(
      'underlayNarrow',
      `echoes of more than ${largestBytes} bytes are lost on the underlay, and a full frame needs ${neededBytes}`,
      `give the hosts --mtu ${largestBytes - OUTER_HEADER_BYTES[familyOf(address)]}, or let the daemon find out, which takes seconds: --path-probe-seconds is not to be 0`,
    );
  }
}
