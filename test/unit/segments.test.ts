import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';

import t, { type Test } from 'tap';

import { PlaceClaims } from '../../src/agent/place_claims.js';
import { findSegmentConflicts } from '../../src/agent/segment_conflicts.js';
import {
  checkSegmentName,
  type SegmentAgentOptions,
  type SegmentOptions,
} from '../../src/agent/segment_options.js';
import { createSegments, type Segments } from '../../src/agent/segments.js';
import type { SegmentsView, SegmentView } from '../../src/agent/segment_view.js';
import { segmentsHealthOf, segmentsReadinessOf, segmentsStatusOf } from '../../src/agent/segments_status.js';
import { AgentMetrics } from '../../src/agent/metrics.js';
import { readAgentRoutes, readDaemonStatus, readStatus } from '../../src/agent/control_client.js';
import { ControlServer } from '../../src/agent/control_server.js';
import { segmentsText } from '../../src/cli/segments_text.js';
import { showRoutes } from '../../src/cli/routes.js';
import { showStatus } from '../../src/cli/status.js';
import { SelvageError } from '../../src/errors.js';
import { until } from '../netns/until.js';
import { AWAY, STARTED, storeView, view } from './agent_fixture.js';

const RESTART = new Date('2026-03-01T13:00:11Z');
const NOW = new Date('2026-03-01T13:00:01Z');
const FAILURE = { reason: 'the device is gone', restartAt: RESTART };

function segment(name: string, changes: Partial<SegmentView> = {}): SegmentView {
  return { name, state: 'running', failure: undefined, restarts: 0, agent: view(), ...changes };
}

function failed(name: string): SegmentView {
  const agent = view({ forwarder: undefined, fatal: FAILURE.reason });
  return segment(name, { state: 'failed', failure: FAILURE, restarts: 3, agent });
}

function process(...segments: SegmentView[]): SegmentsView {
  return { version: '1.2.3', startedAt: STARTED, segments };
}

function directory(t: Test): string {
  const path = mkdtempSync(`${tmpdir()}/selvage-test-`);
  t.teardown(() => rmSync(path, { recursive: true }));
  return path;
}

async function serve(t: Test, shown: SegmentsView): Promise<string> {
  const socketPath = `${directory(t)}/x.sock`;
  const server = await ControlServer.open({ view: () => shown, socketPath });
  t.teardown(() => server.close());
  return socketPath;
}

t.test('one failing segment degrades the process while another works, and all failing fail it', (t) => {
  const some = segmentsHealthOf(process(segment('blue'), failed('green')));
  t.equal(some.status, 'degraded');
  t.match(some.reasons[0], {
    severity: 'degraded',
    segment: 'green',
    message: 'segment green: the device is gone',
  });
  t.equal(segmentsHealthOf(process(failed('blue'), failed('green'))).status, 'failing');
  t.equal(segmentsHealthOf(process(segment('blue'), segment('green'))).status, 'ok');
  const away = segment('green', { agent: storeView({ connection: AWAY }) });
  t.equal(
    segmentsHealthOf(process(failed('blue'), away)).status,
    'degraded',
    'a degraded one carries frames',
  );
  t.end();
});

t.test('readiness names the segments that are not', (t) => {
  t.strictSame(segmentsReadinessOf(process(segment('blue'))), { ready: true, reasons: [] });
  const { ready, reasons } = segmentsReadinessOf(process(segment('blue'), failed('green')));
  t.equal(ready, false);
  t.ok(reasons.length > 0 && reasons.every((reason) => reason.segment === 'green'));
  t.end();
});

t.test('the status is plain JSON with every key, whatever is known', (t) => {
  const status = segmentsStatusOf(process(segment('blue'), failed('green')));
  t.strictSame(JSON.parse(JSON.stringify(status)), status);
  t.match(status.segments, [
    { name: 'blue', state: 'running', reason: null, restartAt: null, restarts: 0 },
    {
      name: 'green',
      state: 'failed',
      reason: 'the device is gone',
      restartAt: RESTART.toISOString(),
      restarts: 3,
    },
  ]);
  t.end();
});

t.test('the list for people has a line for each segment', (t) => {
  const text = segmentsText(
    { ...segmentsStatusOf(process(segment('blue'), failed('green'))), pid: 4711 },
    NOW,
  );
  t.equal(
    text,
    `selvage  1.2.3, process 4711, up 60 min
health   degraded, not ready

segment  network      subnet       device    state    reason
blue     10.1.0.0/16  10.1.2.0/24  flannel0  running
green    10.1.0.0/16  10.1.2.0/24  -         failed   the device is gone; starts again in 10 s
`,
  );
  t.end();
});

t.test('no two series of a scrape are the same, and each tells its segment', async (t) => {
  const text = await new AgentMetrics().renderSegments(
    process(segment('blue'), segment('green'), failed('red')),
  );
  const own = text.split('\n').filter((line) => line.startsWith('selvage_'));
  const series = own.map((line) => line.slice(0, line.lastIndexOf(' ')));
  t.equal(new Set(series).size, series.length);
  t.ok(series.every((each) => /segment="(blue|green|red)"/.test(each)));
  t.ok(own.includes('selvage_health_status{segment="red",status="failing"} 1'));
  t.notOk(
    own.some((line) => line.startsWith('selvage_routes{segment="red"')),
    'what is not known is left out',
  );
});

t.test('a client asks about all segments, or about one by name', async (t) => {
  const shown = process(segment('blue'), failed('green'));
  const path = await serve(t, shown);
  t.strictSame(await readDaemonStatus(path), segmentsStatusOf(shown));
  t.equal((await readStatus(path, 'green')).fatal, 'the device is gone');
  t.equal((await readAgentRoutes(path, 'blue')).length, 2);
  const expected = { code: 'ERR_SEGMENT', message: /there are blue, green; name one with --segment/ };
  await t.rejects(readStatus(path), expected);
  await t.rejects(readAgentRoutes(path), expected);
  await t.rejects(readStatus(path, 'bl&ue'), {
    code: 'ERR_SEGMENT',
    message: /no segment here is named "bl&ue"/,
  });
});

t.test('a daemon with one network has no segments to ask for', async (t) => {
  const socketPath = `${directory(t)}/x.sock`;
  const server = await ControlServer.open({ view: () => view(), socketPath });
  t.teardown(() => server.close());
  await t.rejects(readStatus(socketPath, 'blue'), {
    code: 'ERR_SEGMENT',
    message: /one network, without segments; leave --segment out$/,
  });
});

t.test('status and routes print all segments, or one', async (t) => {
  const socket = await serve(t, process(segment('blue'), failed('green')));
  const printed = async (show: typeof showStatus, options: object): Promise<string> => {
    let text = '';
    await show({ socket, json: false, ...options }, (more) => (text += more));
    return text;
  };
  t.match(await printed(showStatus, {}), /^green .* failed /m);
  t.match(await printed(showStatus, { segment: 'blue' }), /^health +ok, ready$/m);
  t.match(JSON.parse(await printed(showStatus, { json: true })), {
    segments: [{ name: 'blue' }, { name: 'green' }],
  });
  t.match(await printed(showRoutes, {}), /^segment blue\nprefix [^]*\n\nsegment green\n/);
  const routes = JSON.parse(await printed(showRoutes, { json: true })) as unknown;
  t.match(routes, {
    segments: [{ name: 'blue', routes: [{ prefix: '10.1.10.0/24' }, {}] }, { name: 'green' }],
  });
  t.ok(Array.isArray(JSON.parse(await printed(showRoutes, { json: true, segment: 'blue' }))));
});

const store = (changes: Partial<SegmentAgentOptions> = {}, networkName = '/blue'): SegmentAgentOptions => ({
  source: {
    kind: 'store',
    networkName,
    endpoints: ['http://192.0.2.1:2379', 'http://192.0.2.2:2379'],
    openStore: () => Promise.reject(new SelvageError('ERR_OPTION', 'no such certificate')),
  },
  forwarder: { tunName: 'a' },
  subnetFile: '/run/a.env',
  ...changes,
});

t.test('every conflict between two segments is found, with its remedy', (t) => {
  const conflicts = (other: SegmentAgentOptions, name = 'other', one = store()): string[] =>
    findSegmentConflicts([
      { name: 'one', agent: one },
      { name, agent: other },
    ]);
  const apart = { forwarder: { tunName: 'b' }, subnetFile: '/run/b.env' };
  t.strictSame(conflicts(store(apart, '/green')), []);
  t.strictSame(conflicts(store({ ...apart, forwarder: { tunName: 'f%d' } }, '/green')), []);
  t.match(conflicts(store(apart, '/green'), 'one'), [/^two segments have the name "one": give each/]);
  t.match(conflicts(store({ ...apart, forwarder: { tunName: 'a' } }, '/green')), [
    /the TUN device a: give each a "tun"/,
  ]);
  t.match(conflicts(store({ ...apart, subnetFile: '/run/a.env' }, '/green')), [
    /the subnet file \/run\/a\.env/,
  ]);
  t.match(conflicts(store({ ...apart, stateDirectory: '/var/lib/x' }, '//blue/')), [
    /^segments "one" and "other" both have the network \/blue of one store: /,
  ]);
  t.match(conflicts(store(apart, '-blue')), [
    /the state file \/var\/lib\/selvage\/blue\.json: give one of them another "state-dir"/,
  ]);
  const port = { forwarder: { tunName: 'a', port: 8285 } };
  const file = { source: { kind: 'file', path: '/r.json' }, forwarder: { tunName: 'b' } } as const;
  t.match(
    conflicts(file, 'other', store(port)),
    [/UDP port 8285 on one address/],
    'the default port of a file',
  );
  t.strictSame(conflicts({ ...file, underlay: { iface: ['eth1'] } }, 'other', store(port)), []);
  t.end();
});

t.test('places that overlap are refused to the later one, which is told whose they are', (t) => {
  const claims = new PlaceClaims();
  const place = { networks: ['10.1.0.0/16', 'fd00:1::/48'], address: '192.0.2.1', port: 8285 };
  claims.claim('blue', place);
  claims.claim('blue', place);
  const refused = (networks: string[], port: number, message: RegExp): void => {
    const claim = (): void => claims.claim('green', { networks, address: '192.0.2.1', port });
    t.throws(claim, { code: 'ERR_SEGMENT_OVERLAP', message });
  };
  refused(
    ['10.1.128.0/17'],
    8286,
    /^the network 10\.1\.128\.0\/17 overlaps 10\.1\.0\.0\/16 of segment "blue"/,
  );
  refused(['10.2.0.0/16', 'fd00:1::/32'], 8286, /fd00:1::\/32 overlaps fd00:1::\/48 of segment "blue"/);
  refused(['10.2.0.0/16'], 8285, /^UDP port 8285 on 192\.0\.2\.1 is that of segment "blue"/);
  claims.claim('green', { ...place, networks: ['10.2.0.0/16'], address: '192.0.2.2' });
  claims.release('green');
  claims.release('blue');
  claims.claim('red', place);
  t.end();
});

t.test('a name stands in file names: it is short and plain', (t) => {
  for (const name of ['blue', 'B-1.x_y', 'x'.repeat(32)]) t.doesNotThrow(() => checkSegmentName(name));
  for (const name of ['', '.', '-a', 'a/b', 'a b', 'ä', 'x'.repeat(33)]) {
    t.throws(() => checkSegmentName(name), { code: 'ERR_OPTION' }, name);
  }
  t.end();
});

async function open(t: Test, segments: readonly SegmentOptions[]): Promise<Segments> {
  const opened = await createSegments({ segments, firstRestartMillis: 1, mostRestartMillis: 4 });
  t.teardown(() => opened.close());
  return opened;
}

t.test('conflicts, no segments and wrong names are refused before anything starts', async (t) => {
  const one = { name: 'one', agent: store() };
  await t.rejects(createSegments({ segments: [one, one] }), {
    code: 'ERR_SEGMENT_CONFLICT',
    message: /name "one".*; .*TUN device/,
  });
  await t.rejects(createSegments({ segments: [] }), { code: 'ERR_OPTION' });
  await t.rejects(createSegments({ segments: [{ ...one, name: '/' }] }), { code: 'ERR_OPTION' });
});

t.test(
  'a segment that fails is tried again, later each time up to a bound, whatever listeners do',
  async (t) => {
    const warnings: string[] = [];
    const onWarning = (warning: Error): number => warnings.push(warning.message);
    globalThis.process.on('warning', onWarning);
    t.teardown(() => globalThis.process.off('warning', onWarning));
    const { segments } = await open(t, [{ name: 'one', agent: store() }]);
    const [one] = segments;
    const pauses: number[] = [];
    one!.on('failed', (error, millis) => {
      pauses.push(millis);
      t.match(error, { code: 'ERR_OPTION' });
      throw new Error('a listener that throws');
    });
    one!.run();
    await until('six failures', () => pauses.length >= 6);
    t.ok(
      pauses.slice(2).every((millis) => millis >= 2 && millis <= 4),
      pauses.join(', '),
    );
    await until('the warning', () => warnings.length > 0);
    t.match(warnings[0], "a listener for 'failed' of segment one threw: a listener that throws");
    t.match(one!.view(), { restarts: Number, agent: { networkName: '/blue', forwarder: undefined } });
  },
);

t.test('a store that is opened for a start is closed after it', async (t) => {
  let opened = 0;
  let closed = 0;
  const file = `${directory(t)}/is-a-file`;
  writeFileSync(file, '');
  const agent = store({ underlay: { iface: ['absent0'] }, stateDirectory: file });
  const source = agent.source as Extract<SegmentAgentOptions['source'], { openStore: unknown }>;
  const openStore: typeof source.openStore = () => {
    opened++;
    return Promise.resolve({ close: () => Promise.resolve(void closed++) } as Awaited<
      ReturnType<typeof source.openStore>
    >);
  };
  const made = await open(t, [{ name: 'one', agent: { ...agent, source: { ...source, openStore } } }]);
  let failures = 0;
  made.segments[0]!.on('failed', () => failures++);
  made.start();
  await until('two failures', () => failures >= 2);
  await made.close();
  t.ok(opened >= 2);
  t.equal(closed, opened);
  t.equal(made.close(), made.close(), 'closing twice is closing once');
});
