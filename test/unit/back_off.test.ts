import { setTimeout as sleep } from 'node:timers/promises';

import t from 'tap';

import { BackOff, Bell, pause, spread } from '../../src/lease/back_off.js';
import { ConnectionRecord, ToldOnce } from '../../src/lease/store/store_connection.js';
import { SelvageError } from '../../src/errors.js';
import type { StoreConnection } from '../../src/lease/lease_event.js';

t.test('the bound of the wait doubles up to its end, and begins anew after a success', (t) => {
  const backOff = new BackOff({ firstMillis: 100, mostMillis: 700, random: () => 0.5 });
  t.strictSame(
    [backOff.next(), backOff.next(), backOff.next(), backOff.next(), backOff.next()],
    [50, 100, 200, 350, 350],
  );
  backOff.reset();
  t.equal(backOff.next(), 50);
  t.end();
});

t.test('full jitter: the wait is any part of the bound', (t) => {
  t.equal(new BackOff({ firstMillis: 100, mostMillis: 700, random: () => 0 }).next(), 0);
  t.equal(new BackOff({ firstMillis: 100, mostMillis: 700, random: () => 0.75 }).next(), 75);
  t.strictSame([spread(100, () => 0), spread(100, () => 0.5)], [75, 100], 'a pace is kept within a quarter');
  t.end();
});

t.test('a pause ends with the reason of its signal', async (t) => {
  const stop = new AbortController();
  const pausing = pause(60_000, stop.signal);
  stop.abort(new Error('enough'));
  await t.rejects(pausing, { message: 'enough' });
  await t.rejects(pause(0, stop.signal), { message: 'enough' });
  await pause(1, new AbortController().signal);
});

t.test('a bell wakes who sleeps, and ends the next sleep of who was awake', async (t) => {
  const bell = new Bell();
  const { signal } = new AbortController();
  const sleeping = bell.wait(Infinity, signal);
  bell.ring();
  await sleeping;
  bell.ring();
  await bell.wait(Infinity, signal);
  let woke = false;
  const again = bell.wait(Infinity, signal).then(() => (woke = true));
  await sleep(50);
  t.equal(woke, false, 'one ring, one waking');
  bell.ring();
  await again;
});

t.test(
  'a bell wakes when the time has passed, at once for a time in the past, and never early for a long one',
  async (t) => {
    const bell = new Bell();
    const stop = new AbortController();
    await bell.wait(1, stop.signal);
    await bell.wait(-1, stop.signal);
    let woke = false;
    const long = bell.wait(2 ** 40, stop.signal).finally(() => (woke = true));
    await sleep(50);
    t.equal(woke, false);
    stop.abort(new Error('enough'));
    await t.rejects(long, { message: 'enough' });
    await t.rejects(bell.wait(0, stop.signal), { message: 'enough' });
  },
);

t.test('a connection is told on change, with the time of the change', (t) => {
  const told: StoreConnection[] = [];
  const record = new ConnectionRecord((connection) => told.push(connection));
  const away = new SelvageError('ERR_STORE_UNAVAILABLE', 'away');
  record.down(away);
  t.strictSame(told, [], 'not before it once was there');
  t.match(record.current, { connected: false, reason: 'away' });
  record.up();
  record.up();
  record.down(away);
  const { since } = record.current;
  record.down(new SelvageError('ERR_STORE_UNAVAILABLE', 'still away'));
  record.down(new SelvageError('ERR_STORE_DENIED', 'who are you'));
  t.equal(record.current.since, since, 'another reason does not begin it anew');
  record.up();
  t.match(
    told.map(({ connected, reason }) => [connected, reason]),
    [
      [true, undefined],
      [false, 'away'],
      [false, 'who are you'],
      [true, undefined],
    ],
  );
  t.equal(record.disconnects, 1);
  t.end();
});

t.test('what was told is remembered, up to a bound', (t) => {
  const told = new ToldOnce();
  t.equal(told.isNews('a'), true);
  t.equal(told.isNews('a'), false);
  for (let n = 0; n < 100; n++) t.equal(told.isNews(`other ${n}`), true);
  t.equal(told.isNews('a'), true, 'forgotten among many');
  t.end();
});
