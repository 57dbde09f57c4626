import t from 'tap';

import { largestOf, type SizeOutcome } from '../../src/diagnosis/size_search.js';

/** Searches a path that takes `limit`; `told` is what a router on it says. */
async function search(limit: number, most: number, told: number | null = null) {
  const tried: number[] = [];
  const found = await largestOf(84, most, (size): Promise<SizeOutcome> => {
    tried.push(size);
    return Promise.resolve(size <= limit ? { passes: true } : { passes: false, hintBytes: told });
  });
  return { found, tried };
}

t.test('what passes at once is not searched', async (t) => {
  t.strictSame(await search(9000, 1500), { found: 1500, tried: [1500] });
});

t.test('every limit is found to the byte, without help and with any help', async (t) => {
  for (let limit = 84; limit <= 1500; limit += 7) {
    t.equal((await search(limit, 1500)).found, limit);
    t.equal((await search(limit, 1500, limit)).found, limit);
    for (const lie of [0, 83, 84, 576, 1499, 1501, 65_535]) {
      t.equal((await search(limit, 1500, lie)).found, limit, `${limit}, told ${lie}`);
    }
  }
});

t.test('a router that tells the truth ends the search at once', async (t) => {
  t.strictSame((await search(1300, 1500, 1300)).tried, [1500, 1300, 1301]);
});

t.test('the search is short, also for jumbo frames', async (t) => {
  for (const limit of [84, 1000, 4321, 8999]) {
    t.ok((await search(limit, 9000)).tried.length <= 1 + 5 * 8);
  }
});

t.test('where nothing passes, not even again, it ends with the size known before', async (t) => {
  t.equal((await search(0, 1500)).found, 84);
  t.strictSame(await search(0, 84), { found: 84, tried: [] });
});

t.test('losses at random end it as well', async (t) => {
  let calls = 0;
  const found = await largestOf(84, 1500, () => {
    return Promise.resolve(calls++ % 3 === 0 ? { passes: true } : { passes: false, hintBytes: null });
  });
  t.ok(found >= 84 && found <= 1500);
});
