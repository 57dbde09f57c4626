/**
 * The seed of this run's random tests: `TEST_SEED` from the environment, or a new one. Int32, as fast-check wants it.
 * Tests put it into their names, so a failure tells how to repeat it.
 */
export const TEST_SEED: number = readSeed(process.env['TEST_SEED']);

function readSeed(text: string | undefined): number {
  if (text === undefined || text === '') return (Math.random() * 0x7fff_ffff) | 0;
  const seed = Number(text);
  if (!Number.isInteger(seed)) throw new Error(`TEST_SEED=${text} is not a whole number`);
  return seed | 0;
}

/** A generator of numbers in [0, 1) that a seed determines (mulberry32, Tommy Ettinger 2017). */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
