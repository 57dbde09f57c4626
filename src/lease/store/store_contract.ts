import { ENTRY_RULES } from './contract/entry_rules.js';
import { LIMIT_RULES } from './contract/limit_rules.js';
import { Scene, type StoreFixture, type StoreRule } from './contract/scene.js';
import { WATCH_RULES } from './contract/watch_rules.js';

export type { StoreFixture, StoreRule } from './contract/scene.js';

/** Settings of {@link storeContract}. */
export interface StoreContractOptions {
  /** How long a rule waits for one thing to happen, seconds; by default 30. Must exceed the store's shortest time limit. */
  readonly deadlineSeconds?: number;
}

/**
 * The test suite of `lease_store.ts`, which every store must pass. Independent of test frameworks: run each rule as a test of
 * its name.
 *
 * ```ts
 * for (const rule of storeContract(openMyStore)) test(rule.name, () => rule.run());
 * ```
 *
 * A rule takes up to some seconds, where a time limit has to pass. The half-open connection is not covered: no suite can make
 * one without knowing the transport.
 *
 * @param open called for each rule: a space with nothing in it, and two clients
 */
export function storeContract(
  open: () => Promise<StoreFixture>,
  { deadlineSeconds = 30 }: StoreContractOptions = {},
): readonly StoreRule[] {
  const rules = { ...ENTRY_RULES, ...WATCH_RULES, ...LIMIT_RULES };
  return Object.entries(rules).map(([name, body]) => ({
    name,
    run: async () => {
      const fixture = await open();
      const scene = new Scene(fixture, deadlineSeconds);
      try {
        await body(scene);
      } finally {
        scene.end();
        await fixture.close();
      }
    },
  }));
}
