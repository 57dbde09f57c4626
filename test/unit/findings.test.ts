import { readFileSync, readdirSync } from 'node:fs';

import t from 'tap';

import { statusOf } from '../../src/agent/agent_status.js';
import type { Finding } from '../../src/diagnosis/finding.js';
import { findingsOf, verdictOf } from '../../src/diagnosis/findings.js';
import type { NetworkFacts, PeerFacts } from '../../src/diagnosis/facts.js';
import { AWAY, lane, LEASE, stats, storeView, view } from './agent_fixture.js';
import { ANSWERED, inner, networkFacts, peerFacts, silentPeer, SILENT, status } from './check_fixture.js';

/** A store that skips no lease. */
const CLEAN = statusOf(storeView({ skipped: 0 }));

function find(changes: Partial<NetworkFacts>): Finding[] {
  return findingsOf(networkFacts({ status: CLEAN, ...changes }));
}

/** Codes of all that is not well. */
function trouble(changes: Partial<NetworkFacts>): string[] {
  return find(changes)
    .filter(({ severity }) => severity !== 'ok')
    .map(({ code, severity }) => `${severity} ${code}`);
}

function troubleWith(peer: PeerFacts, changes: Partial<NetworkFacts> = {}): string[] {
  return trouble({ peers: [peer], ...changes });
}

function found(code: string, changes: Partial<NetworkFacts>): Finding {
  const finding = find(changes).find((each) => each.code === code);
  if (finding === undefined) throw new Error(`no ${code}`);
  return finding;
}

t.test('where all is well, each step is told and nothing has a remedy', (t) => {
  const findings = find({});
  t.strictSame(
    findings.map(({ code }) => code),
    [
      'daemonWell',
      'leaseFresh',
      'routesFresh',
      'routePresent',
      'underlayReachable',
      'portAnswers',
      'innerAnswers',
      'fullSizePasses',
    ],
  );
  t.strictSame(new Set(findings.map(({ remedy }) => remedy)), new Set([null]));
  t.equal(verdictOf(findings, new Map()), 'ok');
  t.end();
});

t.test('health: what keeps frames from being carried is a fault, the rest a warning', (t) => {
  const down = view({ forwarder: stats({ lanes: [lane({ running: false })] }) });
  const cases = [
    { shown: down, has: 'fault laneDown' },
    { shown: view({ forwarder: undefined }), has: 'fault notForwarding' },
    { shown: view({ fatal: 'it ends' }), has: 'fault fatal' },
    { shown: storeView({ lease: undefined }), has: 'fault noLease' },
    { shown: storeView({ duplicate: '10.1.7.0/24' }), has: 'fault duplicatePublicIp' },
    { shown: storeView({ connection: AWAY }), has: 'warning storeAway' },
    { shown: storeView({ stale: true }), has: 'warning staleRoutes' },
    {
      shown: view({ firewall: { masquerade: true, forward: true, error: 'no nft' } }),
      has: 'warning firewall',
    },
    { shown: view({ subnetFile: { path: '/run/x', written: false } }), has: 'warning subnetFile' },
  ];
  for (const { shown, has } of cases) {
    const told = trouble({ status: statusOf(shown) });
    t.ok(told.includes(has), `${has}: ${told.join(', ')}`);
  }
  t.end();
});

t.test('a reason that this version does not know is told all the same', (t) => {
  const reason = { code: 'moonPhase', message: 'full', since: null, severity: 'degraded' };
  const strange = { ...CLEAN, health: { status: 'degraded', reasons: [reason] } } as typeof CLEAN;
  t.strictSame(trouble({ status: strange }), ['warning moonPhase']);
  t.match(found('moonPhase', { status: strange }).remedy, /selvage status/);
  t.end();
});

t.test('the lease: how long it is good for, and that it ran out', (t) => {
  t.match(found('leaseFresh', {}).message, /10\.1\.2\.0\/24 is good for 23 h, confirmed 60 min ago/);
  const reserved = statusOf(storeView({ lease: { ...LEASE, reserved: true, expiresAt: undefined } }));
  t.match(found('leaseFresh', { status: reserved }).message, /no time limit/);
  const over = statusOf(
    storeView({ lease: { ...LEASE, expiresAt: new Date('2026-03-01T12:59:00Z') }, skipped: 0 }),
  );
  t.strictSame(trouble({ status: over }), ['fault leaseExpired']);
  t.match(found('leaseExpired', { status: over }).message, /ran out 61 s ago/);
  t.end();
});

t.test('the clock of the last event: in step while connected, old while away', (t) => {
  t.match(found('routesFresh', {}).message, /in step 60 min ago, last event at revision 9007199254740993/);
  const away = statusOf(storeView({ connection: AWAY, skipped: 0 }));
  t.match(found('routesOld', { status: away }).message, /last 60 min ago/);
  t.end();
});

t.test('leases that are skipped, hosts that are alone, and peers that are left out', (t) => {
  t.strictSame(trouble({ status: status() }), ['warning leasesSkipped']);
  t.strictSame(trouble({ peers: [] }), ['warning noPeers']);
  t.match(found('peersLeftOut', { peersLeftOut: 9 }).message, /^9 of 10 peers/);
  t.end();
});

t.test('a segment that failed', (t) => {
  t.strictSame(trouble({ segmentFailure: 'no /dev/net/tun' }), ['fault segmentFailed']);
  t.match(found('segmentFailed', { segmentFailure: 'no /dev/net/tun' }).message, /no \/dev\/net\/tun/);
  t.end();
});

t.test('without probes the verdict is unchecked, unless there is a fault', (t) => {
  const none = { available: false, why: 'EPERM', remedy: 'be root' } as const;
  const probing: NetworkFacts['probing'] = new Map([[4, none] as const, [6, none] as const]);
  const blind = peerFacts({
    underlay: null,
    listener: { kind: 'silent' },
    inner: [inner({ small: null, full: null })],
  });
  t.strictSame(troubleWith(blind, { probing }), ['warning noProbes'], 'once for both families');
  t.equal(verdictOf(find({ peers: [blind], probing }), probing), 'unchecked');
  const refused = { ...blind, listener: { kind: 'refused' } as const };
  t.strictSame(troubleWith(refused, { probing }), ['warning noProbes', 'fault portClosed']);
  t.equal(verdictOf(find({ peers: [refused], probing }), probing), 'fault');
  t.end();
});

t.test('an address: covered, uncovered, or none of ours', (t) => {
  const address = '10.1.10.5';
  t.match(find({ target: { kind: 'inner', address, prefix: '10.1.10.0/24' } }), {
    3: { code: 'routePresent', subject: 'address 10.1.10.5' },
  });
  t.strictSame(trouble({ target: { kind: 'noRoute', address }, peers: [] }), ['fault noRoute']);
  t.strictSame(trouble({ target: { kind: 'unknown', address }, peers: [] }), ['fault notInNetwork']);
  t.match(found('notInNetwork', { target: { kind: 'unknown', address } }).message, /10\.1\.0\.0\/16/);
  t.end();
});

t.test("an address of this host's own subnet", (t) => {
  const target = { kind: 'local', address: '10.1.2.5', prefix: '10.1.2.0/24' } as const;
  const local = inner({ address: '10.1.2.5', role: 'target', kernelDevice: 'cni0', full: null });
  const given = (changes: Partial<typeof local>) => ({ target, peers: [], local: { ...local, ...changes } });
  t.strictSame(trouble(given({})), []);
  t.strictSame(trouble(given({ small: null })), []);
  t.strictSame(trouble(given({ small: SILENT })), ['fault localSilent']);
  t.strictSame(trouble(given({ kernelDevice: 'flannel0' })), ['fault localNotAttached']);
  t.end();
});

t.test("the kernel's route: elsewhere or nowhere is a fault, not known is none", (t) => {
  const by = (kernelDevice: string | null | undefined) => peerFacts({ inner: [inner({ kernelDevice })] });
  t.strictSame(troubleWith(by('eth0')), ['fault kernelRouteElsewhere']);
  t.strictSame(troubleWith(by(null)), ['fault kernelRouteElsewhere']);
  t.match(found('kernelRouteElsewhere', { peers: [by(null)] }).message, /nowhere, not to flannel0/);
  t.strictSame(troubleWith(by(undefined)), []);
  t.end();
});

t.test('the underlay: silence is a fault only together with the overlay', (t) => {
  const quiet = { small: SILENT, largestBytes: null, isInterfaceMtu: false };
  t.strictSame(troubleWith(peerFacts({ underlay: quiet })), [], 'its frames arrive');
  t.strictSame(troubleWith(silentPeer({ underlay: quiet })), ['warning underlaySilent', 'fault innerSilent']);
  const small = { kind: 'unreachable', why: 'host unreachable', by: '192.0.2.254' } as const;
  const peer = silentPeer({ underlay: { ...quiet, small } });
  t.strictSame(troubleWith(peer), ['fault underlayUnreachable', 'fault innerSilent']);
  t.match(found('underlayUnreachable', { peers: [peer] }).message, /192\.0\.2\.254 says: host unreachable/);
  const unsent = { kind: 'notSent', why: 'Network is unreachable' } as const;
  const cut = silentPeer({
    underlay: { ...quiet, small: unsent },
    listener: { kind: 'notSent', why: 'ENETUNREACH' },
  });
  t.strictSame(troubleWith(cut), ['fault underlayUnreachable', 'fault portNotSent', 'fault innerSilent']);
  t.end();
});

t.test('silence through the overlay: the remedy goes by what was seen meanwhile', (t) => {
  const remedy = (peer: Partial<PeerFacts>, changes: Partial<NetworkFacts> = {}) =>
    found('innerSilent', { peers: [silentPeer(peer)], ...changes }).remedy;
  t.match(remedy({}), /run selvage check on that host too/);
  t.match(remedy({ listener: { kind: 'refused' } }), /start the daemon/);
  t.match(remedy({ moved: { framesOut: 0, framesIn: 0 } }), /sent nothing to it/);
  t.match(remedy({}, { strangersRefused: 3 }), /another address than 192\.0\.2\.2/);
  t.match(remedy({}, { dropped: { outbound: { sendRefused: 3 }, inbound: {} } }), /let UDP 8285 out/);
  const counted = { outbound: { sendRefused: 3, ttlExceeded: 4 }, inbound: { unknownPeer: 2 } };
  t.match(
    found('innerSilent', { peers: [silentPeer()], dropped: counted }).message,
    /\(counted here meanwhile: out sendRefused 3, in unknownPeer 2\)$/,
    'what has nothing to do with it is left out',
  );
  t.end();
});

t.test('frames that arrive do not hide that none come back', (t) => {
  t.strictSame(troubleWith(silentPeer({ moved: { framesOut: 5, framesIn: 3 } })), ['fault oneWay']);
  t.strictSame(troubleWith(silentPeer({ moved: undefined })), ['fault innerSilent']);
  t.end();
});

t.test('an address that is silent, with and without its host', (t) => {
  const target = { kind: 'inner', address: '10.1.10.5', prefix: '10.1.10.0/24' } as const;
  const silent = inner({ address: '10.1.10.5', role: 'target', small: SILENT, full: null });
  const near = peerFacts({ inner: [inner(), silent] });
  t.strictSame(troubleWith(near, { target }), ['fault addressSilent']);
  t.match(found('addressSilent', { peers: [near], target }).message, /the overlay to its host works/);
  const far = silentPeer({ inner: [inner({ small: SILENT, full: null }), silent] });
  t.strictSame(troubleWith(far, { target }), ['fault innerSilent', 'fault addressSilent']);
  t.match(found('addressSilent', { peers: [far], target }).remedy, /above/);
  const refusing = peerFacts({
    inner: [inner({ small: SILENT, full: null }), { ...silent, small: ANSWERED }],
  });
  t.strictSame(troubleWith(refusing, { target }), ['warning innerEchoRefused'], 'a device need not answer');
  t.end();
});

t.test('full size: lost, learned meanwhile, known before', (t) => {
  const full = (outcome: typeof SILENT, bytes = 1472) => [inner({ full: { bytes, outcome } })];
  t.strictSame(troubleWith(peerFacts({ inner: full(SILENT) })), ['fault fullSizeLost']);
  const tooBig = { kind: 'tooBig', mtuBytes: 1372, by: '10.1.2.0' } as const;
  t.strictSame(troubleWith(peerFacts({ inner: full(tooBig) })), ['warning pathNarrowLearned']);
  const known = peerFacts({ inner: full(ANSWERED, 1372), pathMtuBytes: 1372 });
  t.strictSame(troubleWith(known), ['warning pathNarrow']);
  t.strictSame(
    troubleWith(peerFacts({ inner: full(SILENT, 1372), pathMtuBytes: 1372 })),
    ['fault fullSizeLost', 'warning pathNarrow'],
    'not even what is known to pass',
  );
  const belowIpv6 = peerFacts({ inner: full(SILENT, 1280), pathMtuBytes: 1271 });
  t.match(found('fullSizeLost', { peers: [belowIpv6] }).remedy, /less than IPv6 needs.*mtu lock 1299/);
  t.end();
});

t.test('an underlay that takes less than a full frame is told with the MTU to set, of either family', (t) => {
  const narrow = { small: ANSWERED, largestBytes: 1499, isInterfaceMtu: false };
  t.strictSame(troubleWith(peerFacts({ underlay: narrow })), ['warning underlayNarrow']);
  t.match(found('underlayNarrow', { peers: [peerFacts({ underlay: narrow })] }).remedy, /--mtu 1471,/);
  const six = peerFacts({ address: '2001:db8::2', underlay: { ...narrow, largestBytes: 1519 } });
  t.strictSame(troubleWith(six), ['warning underlayNarrow']);
  t.match(found('underlayNarrow', { peers: [six] }), {
    message: /a full frame needs 1520/,
    remedy: /--mtu 1471,/,
    subject: 'peer [2001:db8::2]:8285',
  });
  t.end();
});

t.test('docs/check.md has each code that the rules give, and no other', (t) => {
  const folder = new URL('../../../src/diagnosis/', import.meta.url);
  const sources = readdirSync(folder)
    .filter((name) => /findings\.ts$/.test(name))
    .map((name) => readFileSync(new URL(name, folder), 'utf8'))
    .join('\n');
  const given = [...sources.matchAll(/\.(?:ok|warn|fault)\(\s*'(\w+)'|code: '(\w+)'/g)].map(
    (match) => match[1] ?? match[2]!,
  );
  const page = readFileSync(new URL('../../../docs/check.md', import.meta.url), 'utf8');
  const listed = new Set(
    page
      .split('\n')
      .filter((line) => /^\|.*\| (ok|warning|fault) \|/.test(line))
      .flatMap((line) => [...line.split('|')[1]!.matchAll(/`(\w+)`/g)].map((match) => match[1]!)),
  );
  for (const code of new Set(given)) t.ok(listed.has(code), `${code} is listed`);
  const remedies = /const REMEDIES[^]*?\n};/.exec(sources)![0];
  for (const code of listed) {
    t.ok(given.includes(code) || remedies.includes(`  ${code}:`), `${code} is given`);
  }
  for (const [, code] of remedies.matchAll(/^ {2}(\w+):/gm)) t.ok(listed.has(code!), `${code} is listed`);
  t.end();
});
