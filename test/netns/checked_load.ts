import type { Test } from 'tap';

import { TEST_SEED } from '../unit/test_seed.js';
import type { Child } from './child.js';
import type { Lab } from './lab.js';
import type { LoadEnds } from './loads.js';
import { reportOf, startToolUntil } from './tool.js';

/** Largest payload: with the headers of either family it is within every MTU of a selvage over 1500 bytes. */
const MOST_BYTES = 1400;

/**
 * A checked load, from pod1 to pod2 unless told otherwise, that goes on until it is asked about: eight UDP flows, and beside them one TCP connection
 * that paces them, so that both are established over all that happens meanwhile.
 */
export class CheckedLoad {
  readonly #sender: Child;
  readonly #receiver: Child;

  private constructor(sender: Child, receiver: Child) {
    this.#sender = sender;
    this.#receiver = receiver;
  }

  /** @param mostBytes largest UDP payload */
  static async start(lab: Lab, ends: LoadEnds = {}, mostBytes = MOST_BYTES): Promise<CheckedLoad> {
    const { from = lab.pod(0), to = lab.pod(1) } = ends;
    const receiver = await startToolUntil('listening', to, 'udp_flows', 'receive', to.address, 7003);
    const untilStopped = 0;
    const args = [8, untilStopped, mostBytes, TEST_SEED];
    return new CheckedLoad(
      await startToolUntil('sending', from, 'udp_flows', 'send', to.address, 7003, ...args),
      receiver,
    );
  }

  /** Ends it, and asserts that not one datagram of it was lost, changed or out of order. */
  async assertWhole(t: Test): Promise<void> {
    this.#sender.kill('SIGINT');
    const [{ sent }, got] = await Promise.all([
      reportOf<{ sent: number }>(this.#sender),
      reportOf(this.#receiver),
    ]);
    t.ok(sent > 1000, `${sent} datagrams were sent meanwhile`);
    t.match(
      got,
      { received: sent, lost: 0, wrong: 0, strange: 0 },
      `all of them arrived, in order (TEST_SEED=${TEST_SEED})`,
    );
  }
}
