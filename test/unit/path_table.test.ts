import t from 'tap';

import { PathTable } from '../../src/workers/path_table.js';

t.test('a limit is seen through every view of the block, and 0 lifts it', (t) => {
  const block = PathTable.allocate(4);
  const lane = new PathTable(block);
  const main = new PathTable(block);
  t.equal(main.limit(2), 0);
  lane.setLimit(2, 1372);
  t.equal(main.limit(2), 1372);
  t.equal(main.limit(1), 0, 'of this id only');
  main.setLimit(2, 0);
  t.equal(lane.limit(2), 0);
  t.end();
});

t.test('an id without a place of its own has no limit, whatever is set', (t) => {
  const paths = new PathTable(PathTable.allocate(4));
  paths.setLimit(4, 1000);
  paths.noteEcho(4, 1, 1000);
  paths.forget(4);
  t.equal(paths.limit(4), 0);
  t.equal(paths.largestEcho(4, 1), 0);
  t.end();
});

t.test('of the echoes of one round the largest is known, in whatever order they come', (t) => {
  const paths = new PathTable(PathTable.allocate(2));
  for (const bytes of [500, 1400, 900]) paths.noteEcho(1, 7, bytes);
  t.equal(paths.largestEcho(1, 7), 1400);
  t.equal(paths.largestEcho(1, 8), 0, 'another round has its own');
  paths.noteEcho(1, 65_535, 60_000);
  t.equal(paths.largestEcho(1, 65_535), 60_000, 'the largest numbers fit');
  t.equal(paths.largestEcho(1, 7), 0);
  t.end();
});

t.test('an id that is forgotten begins anew', (t) => {
  const paths = new PathTable(PathTable.allocate(2));
  paths.setLimit(1, 1000);
  paths.noteEcho(1, 3, 800);
  paths.forget(1);
  t.equal(paths.limit(1), 0);
  t.equal(paths.largestEcho(1, 3), 0);
  t.end();
});
