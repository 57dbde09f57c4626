import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import t from 'tap';

import type { CountersSnapshot } from '../../src/workers/counters.js';

interface ProbeResult {
  readonly framesPerBurst: number;
  /** Bytes per burst, as the two that follow. */
  readonly outbound: number;
  readonly inbound: number;
  readonly control: number;
  /** One burst in each direction, while a trace is on. */
  readonly traced: number;
  /** What the trace recorded, and what its rate kept back. */
  readonly kept: { readonly records: number; readonly limited: number };
  readonly counters: CountersSnapshot;
}

t.test('2,000 bursts of forwarded, refused and answered frames allocate nothing', (t) => {
  const probe = fileURLToPath(new URL('./alloc_probe.js', import.meta.url));
  // Code that waits for a compiler thread on a busy machine runs interpreted, and that allocates: compile at once.
  const compiler = '--no-concurrent-recompilation';
  const flags = ['--expose-gc', '--min-semi-space-size=64', '--max-semi-space-size=64', compiler];
  const child = spawnSync(process.execPath, [...flags, probe], { encoding: 'utf8', timeout: 60_000 });
  t.equal(child.status, 0, 'the probe ran', { stderr: child.stderr });
  const result = JSON.parse(child.stdout) as ProbeResult;
  t.comment(JSON.stringify({ ...result, counters: undefined }));

  t.ok(result.control > 30 * result.framesPerBurst, 'an object per frame is seen');
  // The smallest thing V8 allocates is a number of 16 bytes, so this sees even one per burst.
  t.ok(result.outbound < 8, `outbound: ${result.outbound} B per burst`);
  t.ok(result.inbound < 8, `inbound: ${result.inbound} B per burst`);
  t.ok(result.traced < 8, `both, with a trace on: ${result.traced} B per two bursts`);
  t.ok(result.kept.records > 10_000 && result.kept.limited > 10_000, 'rows were recorded, and kept back');

  const { outbound, inbound } = result.counters;
  for (const direction of [outbound, inbound]) {
    t.ok(direction.framesSent > 0 && direction.superframesSent > 0, 'frames went on');
    t.ok(direction.answersSent > 0 && direction.answersSuppressed > 0, 'answers were written and suppressed');
    const kinds = Object.values(direction.drops).filter((frames) => frames > 0).length;
    t.ok(kinds >= 11, `frames were dropped for ${kinds} reasons`);
  }
  t.end();
});
