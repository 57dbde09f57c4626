import t from 'tap';

import { PathProbe, type ProbeOutcome } from '../../src/workers/path_probe.js';

/** A path that gives back echoes of some sizes; `lose` says of how many sends none comes back, first ones first. */
class FakePath {
  readonly sent: number[] = [];
  readonly #passes: (bytes: number) => boolean;
  readonly #largest = new Map<number, number>();
  #lose: number;

  constructor(passes: (bytes: number) => boolean, lose = 0) {
    this.#passes = passes;
    this.#lose = lose;
  }

  send(round: number, bytes: number): boolean {
    this.sent.push(bytes);
    if (this.#lose > 0) this.#lose--;
    else if (this.#passes(bytes)) this.#largest.set(round, Math.max(bytes, this.largest(round)));
    return true;
  }

  largest(round: number): number {
    return this.#largest.get(round) ?? 0;
  }
}

function probe(path: FakePath, mostBytes = 1472): Promise<ProbeOutcome> {
  let round = 0;
  return new Promise((resolve) => {
    const running = setInterval(() => undefined, 1000); // the probe's own timer does not keep a process alive
    const onEnd = (outcome: ProbeOutcome): void => {
      clearInterval(running);
      resolve(outcome);
    };
    new PathProbe({
      mostBytes,
      send: (number, bytes) => path.send(number, bytes),
      largestEcho: (number) => path.largest(number),
      nextRound: () => ++round,
      onEnd,
    }).start();
  });
}

t.test('a path that takes full size costs one frame', async (t) => {
  const path = new FakePath(() => true);
  t.same(await probe(path), { kind: 'passes' });
  t.same(path.sent, [1472]);
});

t.test('two lost probes are no black hole', async (t) => {
  const path = new FakePath(() => true, 2);
  t.same(await probe(path), { kind: 'passes' });
  t.same(path.sent, [1472, 1472, 1472]);
});

t.test('nor are full sizes that are lost while others come back, when one does after all', async (t) => {
  const path = new FakePath(() => true, 3);
  t.same(await probe(path), { kind: 'passes' });
  t.ok(path.sent.includes(128), 'it has been searched for');
});

t.test('a probe that is cancelled while it sends says nothing, and sends no more', async (t) => {
  const sent: number[] = [];
  const running = new PathProbe({
    mostBytes: 1472,
    send: (_, bytes) => {
      sent.push(bytes);
      running.cancel();
      return false;
    },
    largestEcho: () => 0,
    nextRound: () => 1,
    onEnd: () => t.fail('it was cancelled'),
  });
  running.start();
  await new Promise((resolve) => setTimeout(resolve, 800));
  t.same(sent, [1472]);
});

t.test('a peer that never answers says nothing of sizes', async (t) => {
  t.same(await probe(new FakePath(() => false)), { kind: 'unknown' });
});

t.test('what cannot be sent says nothing of sizes', (t) => {
  let outcome: ProbeOutcome | undefined;
  const nothing = { nextRound: () => 1, largestEcho: () => 0, mostBytes: 1472 };
  new PathProbe({ ...nothing, send: () => false, onEnd: (end) => (outcome = end) }).start();
  t.same(outcome, { kind: 'unknown' });
  t.end();
});

for (const limit of [128, 576, 1252, 1471]) {
  t.test(
    `where up to ${limit} bytes pass, the limit found is at most 8 bytes less, and passes`,
    async (t) => {
      const outcome = await probe(new FakePath((bytes) => bytes <= limit));
      t.equal(outcome.kind, 'blackHole');
      if (outcome.kind !== 'blackHole') return;
      t.ok(outcome.largestBytes <= limit && outcome.largestBytes > limit - 9, `${outcome.largestBytes}`);
    },
  );
}

t.test('a cancelled probe ends nothing and sends no more', async (t) => {
  const path = new FakePath(() => false);
  const running = new PathProbe({
    mostBytes: 1472,
    send: (round, bytes) => path.send(round, bytes),
    largestEcho: () => 0,
    nextRound: () => 1,
    onEnd: () => t.fail('it was cancelled'),
  });
  running.start();
  running.cancel();
  await new Promise((resolve) => setTimeout(resolve, 800));
  t.same(path.sent, [1472]);
});
