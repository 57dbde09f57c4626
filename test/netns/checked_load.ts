import type { Test } from 'tap';

import { TEST_SEED } from '../unit/test_seed.js';
import type { Child } from './child.js';
import type { LabPod } from './lab.js';
import { reportOf, startToolUntil } from './tool.js';

const PORT = 7003;
const FLOWS = 8;
const MOST_BYTES = 1400;
const UNTIL_STOPPED = 0;

/** UDP flows from one pod to another that go on until they are asked about; every datagram is checked. */
export class CheckedLoad {
  readonly #sender: Child;
  readonly #receiver: Child;

  private constructor(sender: Child, receiver: Child) {
    this.#sender = sender;
    this.#receiver = receiver;
  }

  static async start(from: LabPod, to: LabPod): Promise<CheckedLoad> {
    const receiver = await startToolUntil('listening', to, 'udp_flows', 'receive', to.address, PORT);
    const args = [FLOWS, UNTIL_STOPPED, MOST_BYTES, TEST_SEED];
    const sender = await startToolUntil('sending', from, 'udp_flows', 'send', to.address, PORT, ...args);
    return new CheckedLoad(sender, receiver);
  }

  /** Ends it, and asserts that every datagram arrived whole and in its flow's order. */
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
