import t from 'tap';

import { AgentMetrics } from '../../src/agent/metrics.js';
import { METRICS } from '../../src/agent/metric_table.js';
import { DROP_REASONS, DropReason } from '../../src/encap/drop_reason.js';
import { INBOUND, type LaneCounters, OUTBOUND } from '../../src/workers/counters.js';
import {
  AWAY,
  EXPIRES,
  fileView,
  lane,
  laneCounters,
  LEASE,
  peer,
  stats,
  storeView,
  view,
} from './agent_fixture.js';

/** The series of a text: `name{label="value",...}`, labels in order of name, to value. */
function parse(text: string): Map<string, number> {
  const series = new Map<string, number>();
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const [, name, labels = '', value] = /^([a-z0-9_]+)(?:\{(.*)\})? (\S+)$/i.exec(line) ?? [];
    if (name === undefined) throw new Error(`not a sample: ${line}`);
    const sorted = labels.match(/[a-z]+="[^"]*"/g)?.sort() ?? [];
    const key = sorted.length === 0 ? name : `${name}{${sorted.join(',')}}`;
    if (series.has(key)) throw new Error(`twice: ${key}`);
    series.set(key, Number(value));
  }
  return series;
}

async function render(given = view(), metrics = new AgentMetrics()): Promise<Map<string, number>> {
  return parse(await metrics.render(given));
}

/** Series of selvage's own whose name is `name`. */
function named(series: Map<string, number>, name: string): string[] {
  return [...series.keys()].filter((key) => key === name || key.startsWith(`${name}{`));
}

t.test('names and units follow the naming practice of Prometheus, and each has a sentence', (t) => {
  for (const { name, type, labels, help } of METRICS) {
    t.match(name, /^selvage_[a-z]+(_[a-z]+)*$/);
    t.equal(name.endsWith('_total'), type === 'counter', `${name} is a ${type}`);
    t.notMatch(name, /_(kib|mib|millis|ms|minutes|hours)(_|$)/, 'base units only');
    t.match(help, /^[A-Z0-9].*\.$/);
    for (const label of labels) t.match(label, /^[a-z]+$/);
  }
  const names = METRICS.map(({ name }) => name);
  t.equal(new Set(names).size, names.length, 'no name twice');
  t.end();
});

t.test('the text has exactly the metrics of the list, with its types, help and labels', async (t) => {
  const text = await new AgentMetrics().render(
    view({ forwarder: stats({ peers: [peer({ framesOut: 1, pathMtuBytes: 1400 })] }) }),
  );
  const series = parse(text);
  for (const { name, type, labels, help } of METRICS) {
    t.ok(text.includes(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`), name);
    const found = named(series, name);
    t.not(found.length, 0, `${name} has samples`);
    for (const key of found) {
      t.strictSame(key.match(/[a-z]+(?==")/g) ?? [], [...labels].sort(), key);
    }
  }
  const known = new Set(METRICS.map(({ name }) => name));
  const others = [...series.keys()].map((key) => key.split('{', 1)[0]!).filter((name) => !known.has(name));
  t.ok(others.every((name) => /^(process|nodejs)_/.test(name)));
  t.ok(others.includes('process_resident_memory_bytes'), 'those of the process are there too');
});

/** Gives every counter that the metrics show a number of its own, above `base`. */
function countAll(counters: LaneCounters, base: number): Map<string, number> {
  const expected = new Map<string, number>();
  let next = base;
  const take = (key: string): number => {
    expected.set(key, ++next);
    return next;
  };
  for (const [direction, at] of [
    ['outbound', OUTBOUND],
    ['inbound', INBOUND],
  ] as const) {
    const where = `direction="${direction}",lane="0"`;
    const frames = take(`selvage_frames_total{${where}}`);
    counters.addSent(at, frames, take(`selvage_bytes_total{${where}}`), 0, 0);
    const answers = (result: string): number =>
      take(`selvage_icmp_answers_total{${where},result="${result}"}`);
    counters.addAnswers(at, answers('sent'), answers('lost'));
    const suppressed = answers('suppressed');
    for (let i = 0; i < suppressed; i++) counters.addSuppressedAnswer(at);
    for (const { name, directions } of DROP_REASONS) {
      if (!directions.includes(direction)) continue;
      counters.addDrop(at, DropReason[name], take(`selvage_dropped_frames_total{${where},reason="${name}"}`));
    }
  }
  return expected;
}

t.test('each counter of a lane is in the series of its name', async (t) => {
  const counters = laneCounters();
  const expected = countAll(counters, 0);
  const series = await render(view({ forwarder: stats({ lanes: [lane({}, counters)] }) }));
  for (const [key, value] of expected) t.equal(series.get(key), value, key);
  t.ok(expected.size > 30, 'all of them were looked at');
});

t.test('lanes have series of their own', async (t) => {
  const [first, second] = [laneCounters(), laneCounters()];
  first.addSent(INBOUND, 3, 30, 1, 0);
  second.addSent(INBOUND, 5, 50, 1, 0);
  const lanes = [lane({}, first), lane({ lane: 1, restarts: 2, running: false, generation: 0 }, second)];
  const series = await render(view({ forwarder: stats({ lanes }) }));
  t.equal(series.get('selvage_frames_total{direction="inbound",lane="0"}'), 3);
  t.equal(series.get('selvage_bytes_total{direction="inbound",lane="1"}'), 50);
  t.equal(series.get('selvage_lane_restarts_total{lane="1"}'), 2);
  t.strictSame(
    [0, 1].map((index) => series.get(`selvage_lane_running{lane="${index}"}`)),
    [1, 0],
  );
  t.strictSame(
    [0, 1].map((index) => series.get(`selvage_lane_route_table_generation{lane="${index}"}`)),
    [7, 0],
  );
});

t.test('totals follow the counters from one scrape to the next and are not added up', async (t) => {
  const metrics = new AgentMetrics();
  const counters = laneCounters();
  const key = 'selvage_frames_total{direction="outbound",lane="0"}';
  const scrape = async (): Promise<number | undefined> =>
    (await render(view({ forwarder: stats({ lanes: [lane({}, counters)] }) }), metrics)).get(key);
  counters.addSent(OUTBOUND, 10, 0, 0, 0);
  t.equal(await scrape(), 10);
  t.equal(await scrape(), 10);
  counters.addSent(OUTBOUND, 5, 0, 0, 0);
  t.equal(await scrape(), 15);
});

t.test('scrapes at one time each show their own view', async (t) => {
  const metrics = new AgentMetrics();
  const counts = [1, 2, 3];
  const seen = await Promise.all(
    counts.map((count) => render(view({ forwarder: stats({ routes: { count, generation: 9 } }) }), metrics)),
  );
  t.strictSame(
    seen.map((series) => series.get('selvage_routes')),
    counts,
  );
});

t.test('peers that speak are counted in both directions, silent ones are left out', async (t) => {
  const peers = [
    peer({ framesOut: 1, bytesOut: 20, framesIn: 3, bytesIn: 40 }),
    peer({ address: '192.0.2.3' }),
    peer({ address: '192.0.2.4', port: 9000, framesIn: 7 }),
  ];
  const series = await render(view({ forwarder: stats({ peers }) }));
  const of = (name: string, direction: string, where: string): number | undefined =>
    series.get(`selvage_peer_${name}_total{direction="${direction}",peer="${where}"}`);
  t.equal(of('frames', 'outbound', '192.0.2.2:8285'), 1);
  t.equal(of('bytes', 'outbound', '192.0.2.2:8285'), 20);
  t.equal(of('frames', 'inbound', '192.0.2.2:8285'), 3);
  t.equal(of('bytes', 'inbound', '192.0.2.2:8285'), 40);
  t.equal(of('frames', 'outbound', '192.0.2.4:9000'), 0);
  t.equal(of('frames', 'inbound', '192.0.2.4:9000'), 7);
  t.equal([...series.keys()].filter((key) => key.includes('192.0.2.3')).length, 0);
});

t.test('ten thousand peers are all there', async (t) => {
  const peers = Array.from({ length: 10_000 }, (_, index) =>
    peer({ address: `10.0.${index >> 8}.${index & 255}`, framesOut: index + 1 }),
  );
  const series = await render(view({ forwarder: stats({ peers }) }));
  t.equal(named(series, 'selvage_peer_frames_total').length, 20_000);
  t.equal(series.get('selvage_peer_frames_total{direction="outbound",peer="10.0.39.15:8285"}'), 10_000);
});

t.test('the state of store, lease, routes and device is told', async (t) => {
  const forwarder = stats({
    routes: { count: 12, generation: 34 },
    kernel: { udpReceiveOverflow: 56, strangersRefused: 8, tunQueueOverflow: 78 },
  });
  const series = await render(view({ forwarder }));
  const expected: Record<string, number> = {
    selvage_routes: 12,
    selvage_route_table_generation: 34,
    selvage_udp_receive_overflow_datagrams_total: 56,
    selvage_tun_queue_overflow_frames_total: 78,
    selvage_mtu_bytes: 1472,
    selvage_store_connected: 1,
    selvage_store_disconnects_total: 4,
    selvage_store_relists_total: 5,
    selvage_lease_renewals_total: 2,
    selvage_leases: 3,
    selvage_leases_skipped: 1,
    selvage_routes_stale: 0,
    selvage_lease_held: 1,
    selvage_lease_reserved: 0,
    selvage_lease_expiry_timestamp_seconds: EXPIRES.getTime() / 1000,
    'selvage_build_info{version="1.2.3"}': 1,
    'selvage_health_status{status="ok"}': 1,
    'selvage_health_status{status="degraded"}': 0,
    'selvage_health_status{status="failing"}': 0,
  };
  for (const [key, value] of Object.entries(expected)) t.equal(series.get(key), value, key);
});

t.test('trouble shows in the gauges', async (t) => {
  const series = await render(storeView({ connection: AWAY, stale: true, lease: undefined }));
  t.equal(series.get('selvage_store_connected'), 0);
  t.equal(series.get('selvage_routes_stale'), 1);
  t.equal(series.get('selvage_lease_held'), 0);
  t.equal(series.get('selvage_health_status{status="degraded"}'), 1);
});

t.test('what cannot be told is absent, not 0', async (t) => {
  const reserved = await render(storeView({ lease: { ...LEASE, reserved: true, expiresAt: undefined } }));
  t.equal(reserved.get('selvage_lease_reserved'), 1);
  t.notOk(reserved.has('selvage_lease_expiry_timestamp_seconds'));
  const none = await render(storeView({ lease: undefined }));
  t.notOk(none.has('selvage_lease_reserved'));
  t.notOk(none.has('selvage_lease_expiry_timestamp_seconds'));
  const file = await render(fileView());
  t.strictSame(
    [...file.keys()].filter((key) => /^selvage_(store|lease)/.test(key)),
    [],
  );
  const moving = await render(view({ forwarder: undefined }));
  t.strictSame(
    [...moving.keys()].filter((key) =>
      /^selvage_(frames|bytes|dropped|routes$|route_|mtu|lane|peer)/.test(key),
    ),
    [],
  );
});
