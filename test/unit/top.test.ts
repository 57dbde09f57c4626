import t from 'tap';

import { statusOf } from '../../src/agent/agent_status.js';
import type { AgentView } from '../../src/agent/agent_view.js';
import { ratesOf, sortPeers, type TopSnapshot } from '../../src/cli/top_rates.js';
import { formatBitRate, formatRate, type TopBlock, topLines, type TopView } from '../../src/cli/top_text.js';
import { DropReason } from '../../src/encap/drop_reason.js';
import { INBOUND, OUTBOUND } from '../../src/workers/counters.js';
import type { PeerStats } from '../../src/workers/forwarder_stats.js';
import { lane, laneCounters, peer, stats, view } from './agent_fixture.js';

const SCREEN: TopView = { columns: 100, rows: 40, order: 'rate' };

interface Counted {
  readonly outFrames?: number;
  readonly inFrames?: number;
  readonly noRoute?: number;
  readonly refused?: number;
  readonly peers?: readonly PeerStats[];
  readonly view?: Partial<AgentView>;
}

function snapshot(atSeconds: number, counted: Counted): TopSnapshot {
  const { outFrames = 0, inFrames = 0, noRoute = 0, refused = 0, peers = [] } = counted;
  const counters = laneCounters();
  counters.addSent(OUTBOUND, outFrames, outFrames * 1000, 1, 0);
  counters.addSent(INBOUND, inFrames, inFrames * 1000, 1, 0);
  counters.addDrop(OUTBOUND, DropReason.noRoute, noRoute);
  const kernel = { udpReceiveOverflow: 0, strangersRefused: refused, tunQueueOverflow: 0 };
  const forwarder = stats({ lanes: [lane({ restarts: 1 }, counters)], kernel, peers });
  const status = { ...statusOf(view({ forwarder, ...counted.view })), pid: 4711 };
  return { name: 'blue', atMillis: atSeconds * 1000, status };
}

function block(before: TopSnapshot | undefined, after: TopSnapshot): TopBlock {
  return { kind: 'rates', rates: ratesOf(before, after) };
}

t.test('rates are differences by the time between', (t) => {
  const rates = ratesOf(
    snapshot(10, { outFrames: 100, noRoute: 5, refused: 1, peers: [peer({ bytesIn: 1000, framesIn: 2 })] }),
    snapshot(12, {
      outFrames: 300,
      inFrames: 50,
      noRoute: 5,
      refused: 7,
      peers: [peer({ bytesIn: 2000, framesIn: 6 })],
    }),
  );
  t.strictSame(rates.out, { frames: 100, bits: 800_000 });
  t.strictSame(rates.in, { frames: 25, bits: 200_000 });
  t.match(rates.lanes, [{ lane: 0, running: true, restarts: 1, out: 100, in: 25 }]);
  t.match(rates.peers, [{ out: { frames: 0, bits: 0 }, in: { frames: 2, bits: 4000 } }]);
  t.strictSame(
    rates.losses,
    [
      { label: 'kernel strangersRefused', total: 7, rate: 3 },
      { label: 'out noRoute', total: 5, rate: 0 },
    ],
    'those that move first, and none that is 0',
  );
  t.end();
});

t.test('without something to compare with there is no rate', (t) => {
  const now = snapshot(12, { outFrames: 300, peers: [peer()] });
  const other = snapshot(10, { view: { startedAt: new Date('2026-02-01T00:00:00Z') } });
  for (const before of [undefined, other, snapshot(12, {}), snapshot(10, { outFrames: 400 })]) {
    t.strictSame(ratesOf(before, now).out, { frames: null, bits: null });
  }
  t.strictSame(ratesOf(snapshot(10, {}), now).peers[0]?.out.bits, null, 'a peer that is new');
  const idle = { ...now, status: { ...now.status, forwarder: null } };
  t.match(ratesOf(now, idle), { out: { frames: null }, losses: [], lanes: [], peers: [] });
  t.end();
});

t.test('peers are sorted by what was asked, equal ones by address', (t) => {
  const before = ['192.0.2.10', '192.0.2.9', '192.0.2.11'].map((address) => peer({ address }));
  const [ten, nine, eleven] = before;
  const peers = [{ ...ten!, bytesOut: 10 }, { ...nine!, bytesIn: 30 }, { ...eleven! }];
  const rates = ratesOf(snapshot(10, { peers: before }), snapshot(11, { peers })).peers;
  const order = (by: TopView['order']) => sortPeers(rates, by).map(({ address }) => address.slice(8));
  t.strictSame(order('rate'), ['9', '10', '11']);
  t.strictSame(order('out'), ['10', '9', '11']);
  t.strictSame(order('in'), ['9', '10', '11']);
  t.strictSame(order('address'), ['9', '10', '11']);
  t.end();
});

t.test('a picture', (t) => {
  const peers = [peer({ pathMtuBytes: 1372 }), peer({ address: '192.0.2.3' })];
  const moved = [{ ...peers[0]!, bytesOut: 125_000, framesOut: 100 }, peers[1]!];
  const blocks = [
    block(snapshot(10, { peers }), snapshot(11, { outFrames: 1234, noRoute: 12, peers: moved })),
  ];
  t.strictSame(topLines(blocks, SCREEN), [
    'blue: flannel0 MTU 1472, 10.1.2.0/24, 2 routes',
    'health ok, ready',
    'out  1.23 k frames/s  9.87 Mbit/s',
    'in        0 frames/s      0 bit/s',
    'lanes 1 of 1 running',
    '  lane 0: out 1.23 k, in 0 frames/s, restarts 1',
    'lost         frames  frames/s',
    'out noRoute      12        12',
    'peers by rate           out  frames/s       in  frames/s  path MTU',
    '192.0.2.2:8285  1.00 Mbit/s       100  0 bit/s         0      1372',
    '192.0.2.3:8285      0 bit/s         0  0 bit/s         0',
  ]);
  t.end();
});

t.test('a picture never exceeds the terminal, and its head stays', (t) => {
  const peers = Array.from({ length: 300 }, (_, i) => peer({ address: `192.0.2.${i}` }));
  const blocks = [
    block(undefined, snapshot(10, { peers, noRoute: 3 })),
    block(undefined, snapshot(10, { peers })),
    { kind: 'failure', name: '/run/selvage/x.sock', message: 'no selvage runs there' } as const,
  ];
  for (const rows of [0, 1, 5, 18, 24, 60, 1000]) {
    for (const columns of [0, 1, 20, 80]) {
      const lines = topLines(blocks, { ...SCREEN, rows, columns });
      t.ok(lines.length <= rows && lines.every((line) => line.length <= columns), `${rows} x ${columns}`);
    }
  }
  const lines = topLines(blocks, { ...SCREEN, rows: 40 });
  t.equal(lines.filter((line) => /peers by rate \(\d+ of 300\)/.test(line)).length, 2, 'each has its share');
  t.equal(lines.at(-1), '/run/selvage/x.sock: no selvage runs there');
  t.equal(
    topLines(blocks, { ...SCREEN, rows: Infinity, columns: Infinity }).filter((line) => /:8285/.test(line))
      .length,
    600,
  );
  t.end();
});

t.test('of many lanes only those are listed that need a look', (t) => {
  const lanes = Array.from({ length: 20 }, (_, i) =>
    lane({ lane: i, running: i !== 7, restarts: i === 9 ? 4 : 0 }),
  );
  const status = statusOf(view({ forwarder: stats({ lanes }) }));
  const lines = topLines([block(undefined, { name: 'x', atMillis: 0, status })], SCREEN);
  t.strictSame(
    lines.filter((line) => /lane/.test(line) && !/health/.test(line)),
    ['lanes 19 of 20 running', '  lane 7: DOWN', '  lane 9: out -, in - frames/s, restarts 4'],
  );
  t.end();
});

t.test('what others said cannot move the cursor', (t) => {
  const shown = snapshot(10, { view: { fatal: 'a\x1b[2Jb' } });
  t.match(topLines([block(undefined, shown)], SCREEN)[1], /a\?\[2Jb/);
  t.end();
});

t.test('rates have three digits and a prefix', (t) => {
  const texts: readonly [number | null, string][] = [
    [null, '-'],
    [0, '0'],
    [7, '7'],
    [0.256, '0.26'],
    [9.996, '10.0'],
    [99.96, '100'],
    [812, '812'],
    [999.4, '999'],
    [999.6, '1.00 k'],
    [1250, '1.25 k'],
    [12_345_678, '12.3 M'],
    [9.41e9, '9.41 G'],
    [5e15, '5000 T'],
  ];
  for (const [rate, text] of texts) t.equal(formatRate(rate), text);
  t.equal(formatBitRate(9.41e9), '9.41 Gbit/s');
  t.equal(formatBitRate(12), '12 bit/s');
  t.equal(formatBitRate(null), '-');
  t.end();
});
