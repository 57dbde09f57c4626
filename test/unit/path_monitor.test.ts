import { constants } from 'node:os';

import t, { type Test } from 'tap';

import { parseAddress } from '../../src/ip_address.js';
import { type PathChange, PathMonitor } from '../../src/workers/path_monitor.js';
import { PathTable } from '../../src/workers/path_table.js';
import { until } from '../netns/until.js';

t.jobs = 16; // they wait for timers most of the time

const OVERHEAD_BYTES = 28;
const FULL_BYTES = 1472;
const PACE = { lookMillis: 5, askAgainMillis: 20, raiseMillis: 60_000 };

interface PathOptions {
  /** Most bytes of an inner frame that the kernel knows to pass. */
  readonly kernelKnows?: number;
  /** Most bytes of an inner frame that a router lets pass; it tells the kernel. */
  readonly routerTakes?: number;
  /** Most bytes of an inner frame that come back. */
  readonly passes?: number;
}

/** A way to a peer, and the kernel that sends on it. */
class FakePath {
  kernelKnows: number;
  routerTakes: number;
  passes: number;
  framesOut = 1;
  asked = 0;
  readonly sent: number[] = [];

  constructor({ kernelKnows = FULL_BYTES, routerTakes = FULL_BYTES, passes = FULL_BYTES }: PathOptions) {
    this.kernelKnows = kernelKnows;
    this.routerTakes = routerTakes;
    this.passes = passes;
  }

  /** @returns whether the echo comes back, or undefined when the kernel refuses to send it */
  send(bytes: number): boolean | undefined {
    if (bytes > this.kernelKnows) return undefined;
    this.sent.push(bytes);
    if (bytes > this.routerTakes) this.kernelKnows = this.routerTakes;
    return bytes <= Math.min(this.routerTakes, this.passes);
  }
}

/** Peers 1, 2, ... with a path each, watched; what was told is in `changes`. */
class Watch {
  readonly table = new PathTable(PathTable.allocate(1000));
  readonly changes: PathChange[] = [];
  readonly monitor: PathMonitor;
  isBusy = true;

  constructor(t: Test, paths: readonly FakePath[], probeSeconds = 0.01, pace = PACE) {
    const endpoints = paths.map((_, i) => ({
      address: parseAddress(`192.0.2.${(i % 250) + 1}`),
      port: 8285,
      path: paths[i]!,
      id: i + 1,
    }));
    const idOf = (endpoint: object): number => endpoints.findIndex((each) => each === endpoint) + 1;
    let last: { round: number; bytes: number } | undefined;
    this.monitor = new PathMonitor({
      paths: this.table,
      overheadBytes: OVERHEAD_BYTES,
      probeSeconds,
      pace,
      mtuBytes: () => FULL_BYTES,
      peers: () =>
        endpoints.map((endpoint) => {
          if (this.isBusy && endpoint.path.framesOut > 0) endpoint.path.framesOut++;
          return { id: endpoint.id, endpoint, framesOut: endpoint.path.framesOut };
        }),
      echo: (_, round, bytes) => {
        last = { round, bytes };
        return new Uint8Array(bytes);
      },
      askKernel: (endpoint) => {
        const path = paths[idOf(endpoint) - 1]!;
        path.asked++;
        return path.kernelKnows + OVERHEAD_BYTES;
      },
      sendProbe: (endpoint, frame) => {
        const id = idOf(endpoint);
        const comesBack = paths[id - 1]!.send(frame.length);
        if (comesBack === undefined) return -constants.errno.EMSGSIZE;
        if (comesBack) this.table.noteEcho(id, last!.round, last!.bytes);
        return frame.length;
      },
      onChange: (change) => this.changes.push(change),
    });
    const running = setInterval(() => undefined, 1000); // the monitor's own timers do not keep a process alive
    t.teardown(() => {
      clearInterval(running);
      this.monitor.close();
    });
  }
}

function within(limit: number, bytes: number): boolean {
  return limit <= bytes && limit > bytes - 9;
}

t.test('a path that takes full size is probed again and again, and nothing is told', async (t) => {
  const path = new FakePath({});
  const { changes, table } = new Watch(t, [path]);
  await until('three probes', () => path.sent.length >= 3);
  t.same([...new Set(path.sent)], [FULL_BYTES]);
  t.equal(path.asked, 0, 'the kernel is not asked about what it does not limit');
  t.equal(table.limit(1), 0);
  t.same(changes, []);
});

t.test('a peer that nothing is sent to is not probed', async (t) => {
  const silent = new FakePath({});
  const used = new FakePath({});
  silent.framesOut = 0;
  new Watch(t, [silent, used]);
  await until('three probes of the other', () => used.sent.length >= 3);
  t.same(silent.sent, []);
});

t.test('a peer that was sent to once is probed once', async (t) => {
  const [once, used] = [new FakePath({}), new FakePath({})];
  const watch = new Watch(t, [once, used]);
  watch.isBusy = false;
  await until('its probe', () => once.sent.length > 0);
  const probed = once.sent.length;
  const from = used.sent.length;
  await until('three probes of another', () => {
    used.framesOut++;
    return used.sent.length >= from + 3;
  });
  t.equal(once.sent.length, probed);
});

t.test(
  'without probes what a lane learned is told, and taken back when the kernel has forgotten it',
  async (t) => {
    const path = new FakePath({ kernelKnows: 1372 });
    const watch = new Watch(t, [path], 0);
    watch.table.setLimit(1, 1372);
    await until('it to be told', () => watch.changes.length > 0);
    t.same(watch.changes, [{ peer: '192.0.2.1', mtuBytes: 1372, known: 'icmp' }]);
    path.kernelKnows = FULL_BYTES;
    await until('the limit to be lifted', () => watch.table.limit(1) === 0);
    t.same(watch.changes.slice(1), [{ peer: '192.0.2.1', mtuBytes: 0, known: 'icmp' }]);
    t.same(path.sent, []);
  },
);

t.test('what a lane set that is not so is corrected without a word', async (t) => {
  const watch = new Watch(t, [new FakePath({})], 0);
  watch.table.setLimit(1, 900);
  await until('it to be taken back', () => watch.table.limit(1) === 0);
  t.same(watch.changes, []);
});

t.test('while the kernel cannot say, what it said last counts', async (t) => {
  const path = new FakePath({ kernelKnows: 1372 });
  const watch = new Watch(t, [path], 0);
  watch.table.setLimit(1, 1372);
  await until('it to be told', () => watch.changes.length > 0);
  path.kernelKnows = -constants.errno.ENETUNREACH - OVERHEAD_BYTES;
  const { asked } = path;
  await until('it to be asked again', () => path.asked > asked + 1);
  t.equal(watch.table.limit(1), 1372);
  t.equal(watch.changes.length, 1);
});

t.test("a router's word is taken exactly, also when a probe brought it about", async (t) => {
  const path = new FakePath({ routerTakes: 1372 });
  const watch = new Watch(t, [path]);
  await until('a probe at the new size', () => path.sent.at(-1) === 1372);
  t.same(watch.changes, [{ peer: '192.0.2.1', mtuBytes: 1372, known: 'icmp' }]);
  t.equal(watch.table.limit(1), 1372);
  t.same([...new Set(path.sent)], [FULL_BYTES, 1372], 'nothing else is searched for');
});

t.test('a black hole behind a router that speaks is found as well', async (t) => {
  const path = new FakePath({ routerTakes: 1372, passes: 1272 });
  const watch = new Watch(t, [path]);
  await until('both', () => watch.changes.length >= 2);
  t.match(watch.changes, [{ mtuBytes: 1372, known: 'icmp' }, { known: 'silence' }]);
  t.ok(within(watch.table.limit(1), 1272), `${watch.table.limit(1)}`);
});

t.test(
  'a black hole is found, is found again where it gets worse, and is lifted when it heals',
  async (t) => {
    const path = new FakePath({ passes: 1372 });
    const watch = new Watch(t, [path], 0.01, { ...PACE, raiseMillis: 9_000 });
    await until('the limit', () => watch.table.limit(1) > 0);
    t.ok(within(watch.table.limit(1), 1372), `${watch.table.limit(1)}`);
    t.match(watch.changes, [{ peer: '192.0.2.1', known: 'silence', mtuBytes: watch.table.limit(1) }]);

    path.passes = 1272;
    await until('the smaller limit', () => watch.changes.length > 1);
    t.ok(within(watch.table.limit(1), 1272), `${watch.table.limit(1)}`);
    t.match(watch.changes[1], { known: 'silence', mtuBytes: watch.table.limit(1) });

    path.passes = FULL_BYTES;
    await until('the limit to be lifted', () => watch.table.limit(1) === 0);
    t.same(watch.changes.slice(2), [{ peer: '192.0.2.1', mtuBytes: 0, known: 'silence' }]);
  },
);

t.test(
  'a lane that learns more than the probes found is followed, and the probes stay in force',
  async (t) => {
    const path = new FakePath({ passes: 1372 });
    const watch = new Watch(t, [path]);
    await until('the limit', () => watch.table.limit(1) > 0);
    const silentLimit = watch.table.limit(1);
    path.kernelKnows = 1252;
    watch.table.setLimit(1, 1252);
    await until('it to be told', () => watch.changes.length > 1);
    t.match(watch.changes[1], { mtuBytes: 1252, known: 'icmp' });
    path.kernelKnows = FULL_BYTES;
    await until('it to be forgotten', () => watch.table.limit(1) !== 1252);
    t.equal(watch.table.limit(1), silentLimit);
  },
);

t.test('a peer that answers no echo keeps full size', async (t) => {
  const [mute, other] = [new FakePath({ passes: 0 }), new FakePath({ passes: 1372 })];
  const watch = new Watch(t, [mute, other]);
  await until('the limit of another', () => watch.table.limit(2) > 0);
  await until('the probes of this one to begin anew', () => mute.sent.filter((b) => b === 128).length > 2);
  t.equal(watch.table.limit(1), 0);
  t.match(watch.changes, [{ peer: '192.0.2.2' }]);
});

t.test('an id that changes hands takes nothing along', async (t) => {
  const path = new FakePath({ passes: 1372 });
  const watch = new Watch(t, [path]);
  await until('the limit', () => watch.table.limit(1) > 0);
  watch.isBusy = false;
  path.framesOut = 0;
  watch.monitor.forget(1);
  t.equal(watch.table.limit(1), 0);
  path.passes = FULL_BYTES;
  path.sent.length = 0;
  path.framesOut = 1;
  await until('its probe', () => path.sent.length > 0);
  t.same([...new Set(path.sent)], [FULL_BYTES]);
  t.equal(watch.changes.length, 1, 'that it has no limit is no change');
});

t.test('an id that changes hands in the middle of a probe is told nothing of its outcome', async (t) => {
  const path = new FakePath({ passes: 1372 });
  const watch = new Watch(t, [path]);
  await until('the search', () => path.sent.includes(128));
  watch.isBusy = false;
  path.framesOut = 0;
  watch.monitor.forget(1);
  const other = new FakePath({ passes: 1372 });
  const witness = new Watch(t, [other]);
  await until('a whole probe elsewhere', () => witness.table.limit(1) > 0);
  t.equal(watch.table.limit(1), 0);
  t.same(watch.changes, []);
});

t.test('of more peers than are probed at once each has its turn', async (t) => {
  const paths = Array.from({ length: 200 }, () => new FakePath({}));
  new Watch(t, paths, 0.001);
  await until('probes of all', () => paths.every(({ sent }) => sent.length > 0));
  t.pass();
});
