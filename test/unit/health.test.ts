import t from 'tap';

import type { AgentView } from '../../src/agent/agent_view.js';
import { healthOf, readinessOf, type ReasonCode } from '../../src/agent/health.js';
import { statusOf } from '../../src/agent/agent_status.js';
import {
  AWAY,
  AWAY_SINCE,
  CONFIRMED,
  fileView,
  lane,
  sourceState,
  stats,
  STARTED,
  storeView,
  view,
} from './agent_fixture.js';

const DOWN = { running: false, generation: 0 };

interface Row {
  readonly rule: string;
  readonly view: AgentView;
  readonly status: 'ok' | 'degraded' | 'failing';
  readonly reasons?: readonly (readonly [ReasonCode, since: Date | null])[];
  /** What keeps it from being ready; none when it is ready. */
  readonly missing?: readonly ReasonCode[];
}

const ROWS: readonly Row[] = [
  { rule: 'all well over a store', view: view(), status: 'ok' },
  { rule: 'all well over a file', view: fileView(), status: 'ok' },
  { rule: 'a network without peers is well', view: view({ routes: () => [] }), status: 'ok' },
  {
    rule: 'a store that is away degrades, since then, and leaves it ready',
    view: storeView({ connection: AWAY }),
    status: 'degraded',
    reasons: [['storeAway', AWAY_SINCE]],
  },
  {
    rule: 'routes of an earlier run degrade and are good enough to be ready, without a lease too',
    view: storeView({ connection: AWAY, stale: true, lease: undefined, syncedAt: undefined }),
    status: 'degraded',
    reasons: [
      ['storeAway', AWAY_SINCE],
      ['staleRoutes', null],
    ],
  },
  {
    rule: 'stale routes tell since when, where that is known',
    view: storeView({ stale: true }),
    status: 'degraded',
    reasons: [['staleRoutes', CONFIRMED]],
  },
  {
    rule: 'one lane of two down degrades and is not ready',
    view: view({ forwarder: stats({ lanes: [lane(), lane({ lane: 1, restarts: 3, ...DOWN })] }) }),
    status: 'degraded',
    reasons: [['laneDown', null]],
    missing: ['laneDown'],
  },
  {
    rule: 'every lane down fails',
    view: view({ forwarder: stats({ lanes: [lane(DOWN), lane({ lane: 1, ...DOWN })] }) }),
    status: 'failing',
    reasons: [
      ['laneDown', null],
      ['laneDown', null],
    ],
    missing: ['laneDown', 'laneDown'],
  },
  {
    rule: 'a lane with the empty first table is well and not ready',
    view: view({ forwarder: stats({ lanes: [lane({ generation: 1 })] }) }),
    status: 'ok',
    missing: ['routesNotApplied'],
  },
  {
    rule: 'a lane that is a change behind is ready',
    view: view({ forwarder: stats({ lanes: [lane({ generation: 6 })] }) }),
    status: 'ok',
  },
  {
    rule: 'another host with our public IP degrades',
    view: storeView({ duplicate: '10.1.7.0/24' }),
    status: 'degraded',
    reasons: [['duplicatePublicIp', null]],
  },
  {
    rule: 'a firewall that could not be set degrades',
    view: view({ firewall: { masquerade: true, forward: false, error: 'nft is not installed' } }),
    status: 'degraded',
    reasons: [['firewall', null]],
  },
  {
    rule: 'a blackhole route that could not be set degrades',
    view: view({ blackholeRoute: { error: 'ip: Operation not permitted' } }),
    status: 'degraded',
    reasons: [['blackholeRoute', null]],
  },
  {
    rule: 'a subnet file that could not be written degrades and is not ready',
    view: view({ subnetFile: { path: '/run/x', written: false, error: 'EROFS' } }),
    status: 'degraded',
    reasons: [['subnetFile', null]],
    missing: ['subnetFile'],
  },
  {
    rule: 'a subnet file that is not written yet is not ready',
    view: view({ subnetFile: { path: '/run/x', written: false } }),
    status: 'ok',
    missing: ['subnetFile'],
  },
  {
    rule: 'neither subnet file nor firewall asked for is well',
    view: view({ subnetFile: undefined, firewall: undefined }),
    status: 'ok',
  },
  {
    rule: 'a broken routes file degrades and leaves it ready',
    view: fileView({ source: { kind: 'file', path: '/x', error: '/x: no such file' } }),
    status: 'degraded',
    reasons: [['routesFile', null]],
  },
  {
    rule: 'routes of a store that were refused degrade and leave it ready: those of before are in force',
    view: view({
      source: { kind: 'store', state: sourceState(), error: 'the route table would be too large' },
    }),
    status: 'degraded',
    reasons: [['routesRefused', null]],
  },
  {
    rule: 'without a lease it is degraded: a restart would only wait again',
    view: storeView({ lease: undefined }),
    status: 'degraded',
    reasons: [['noLease', null]],
    missing: ['noLease'],
  },
  {
    rule: 'a store that calls itself stale without a snapshot does not stand for a lease',
    view: storeView({ lease: undefined, stale: true }, { snapshot: undefined, forwarder: undefined }),
    status: 'degraded',
    reasons: [
      ['noLease', null],
      ['notForwarding', STARTED],
      ['staleRoutes', CONFIRMED],
    ],
    missing: ['noLease', 'notForwarding'],
  },
  {
    rule: 'a store that has no subnet for this host: the saved one is not held, and it is not ready',
    view: storeView({ lease: undefined, stale: true, refuted: true }),
    status: 'degraded',
    reasons: [
      ['noLease', null],
      ['staleRoutes', CONFIRMED],
    ],
    missing: ['noLease'],
  },
  {
    rule: 'before the first snapshot it is degraded since it was started, and not ready',
    view: storeView({ lease: undefined, connection: AWAY }, { snapshot: undefined, forwarder: undefined }),
    status: 'degraded',
    reasons: [
      ['noLease', null],
      ['notForwarding', STARTED],
      ['storeAway', AWAY_SINCE],
    ],
    missing: ['noLease', 'notForwarding'],
  },
  {
    rule: 'while it moves to another subnet it is degraded, and not ready',
    view: view({ forwarder: undefined }),
    status: 'degraded',
    reasons: [['notForwarding', null]],
    missing: ['notForwarding'],
  },
  {
    rule: 'a fatal fault fails, and its consequences do not hide it',
    view: view({ fatal: 'the device is gone', forwarder: stats({ lanes: [lane(DOWN)] }) }),
    status: 'failing',
    reasons: [['fatal', null]],
    missing: ['fatal', 'laneDown'],
  },
];

for (const { rule, view: given, status, reasons = [], missing = [] } of ROWS) {
  t.test(rule, (t) => {
    const health = healthOf(given);
    t.equal(health.status, status);
    t.strictSame(
      health.reasons.map(({ code, since }) => [code, since]),
      reasons.map(([code, since]) => [code, since?.toISOString() ?? null]),
    );
    const { ready, reasons: absent } = readinessOf(given);
    t.strictSame(
      absent.map(({ code }) => code),
      missing,
    );
    t.equal(ready, missing.length === 0);
    t.end();
  });
}

t.test('every message is one line with something to read', (t) => {
  for (const { view: given } of ROWS) {
    for (const { message } of [...healthOf(given).reasons, ...readinessOf(given).reasons]) {
      t.match(message, /^[^\n]{5,}$/);
    }
  }
  t.end();
});

t.test('the message says which lane, which store and why', (t) => {
  const { reasons } = healthOf(
    storeView(
      { connection: AWAY },
      { forwarder: stats({ lanes: [lane(), lane({ lane: 1, restarts: 3, ...DOWN })] }) },
    ),
  );
  t.strictSame(
    reasons.map(({ message }) => message),
    ['lane 1 does not run, started again 3 times so far', 'etcd http://192.0.2.9:2379: connection refused'],
  );
  t.end();
});

t.test('a status is plain JSON: it is the same after a round trip, whatever is not known', (t) => {
  for (const { rule, view: given } of ROWS) {
    const status = statusOf(given);
    t.strictSame(JSON.parse(JSON.stringify(status)), status, rule);
  }
  t.end();
});

t.test('a status has the same keys whatever is known', (t) => {
  const keys = Object.keys(statusOf(view())).sort();
  for (const { rule, view: given } of ROWS) t.strictSame(Object.keys(statusOf(given)).sort(), keys, rule);
  t.end();
});

t.test('a status keeps a revision above 2^53 exactly, and dates in UTC', (t) => {
  const { source, startedAt } = statusOf(view());
  t.match(source, {
    revision: '9007199254740993',
    lease: { subnet: '10.1.2.0/24', expiresAt: '2026-03-02T12:00:01.000Z' },
  });
  t.equal(startedAt, '2026-03-01T12:00:00.000Z');
  t.end();
});
