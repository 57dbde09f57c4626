/** The seed of every random test: `TEST_SEED=n` repeats a run. Tests put it into their names, so a failure shows it. */
export const TEST_SEED =
  process.env['TEST_SEED'] === undefined ? Date.now() | 0 : Number(process.env['TEST_SEED']);
