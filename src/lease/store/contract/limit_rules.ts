import assert from 'node:assert/strict';

import type { StoreEntry } from '../lease_store.js';
import { type RuleBody, type Scene, shortly } from './scene.js';

const KEY = 'subnets/10.1.2.0-24';
const WITNESS = 'witness';
/** etcd raises shorter limits to its minimum, 1.5 election timeouts rounded up: 2 seconds by default. */
const SHORT_SECONDS = 2;
const LONG_SECONDS = 600;

/**
 * Rules of time limits. None asserts how long something takes: where a limit must have passed, a witness with the same limit,
 * made later, has gone.
 */
export const LIMIT_RULES: Readonly<Record<string, RuleBody>> = {
  'an entry goes away when its time limit passes, and watchers see a delete': async (scene) => {
    const entry = await scene.make(KEY, 'one', SHORT_SECONDS);
    const watching = scene.watch('subnets', entry.revision, scene.other);
    await gone(scene, KEY);
    const { entries, revision } = await scene.store.list('subnets', scene.signal);
    assert.deepEqual(entries, []);
    await watching.reach(revision);
    assert.deepEqual(watching.events.map(shortly), [`-${KEY}`]);
    assert.equal(await scene.store.replace(entry, 'two', 0, scene.signal), undefined);
    assert.equal(await scene.store.remove(entry, scene.signal), false);
  },

  'an entry that has expired cannot be prolonged and has no seconds left': async (scene) => {
    const entry = await scene.make(KEY, 'one', SHORT_SECONDS);
    await gone(scene, KEY);
    assert.equal(await scene.store.prolong(entry, scene.signal), false);
    assert.equal(await scene.store.remainingSeconds(entry, scene.signal), 0);
  },

  'an expired key can be made again, and the old entry has no power over it': async (scene) => {
    const entry = await scene.make(KEY, 'one', SHORT_SECONDS);
    await gone(scene, KEY);
    const again = await scene.make(KEY, 'two', 0, scene.other);
    assert.equal(await scene.store.prolong(entry, scene.signal), false);
    assert.equal(await scene.store.remove(entry, scene.signal), false);
    assert.deepEqual(await scene.store.get(KEY, scene.signal), again);
  },

  'prolong keeps an entry beyond its time limit, and watchers see nothing': async (scene) => {
    const entry = await scene.make(KEY, 'one', SHORT_SECONDS);
    const watching = scene.watch('subnets', entry.revision);
    await scene.make(WITNESS, '', SHORT_SECONDS);
    await scene.until('the witness to expire', async () => {
      assert.equal(await scene.store.prolong(entry, scene.signal), true, 'prolonged in time');
      return (await scene.other.get(WITNESS, scene.signal)) === undefined;
    });
    assert.deepEqual(await scene.other.get(KEY, scene.signal), entry, 'it stands, unchanged');
    const { revision } = await scene.store.list('', scene.signal);
    const mark = await scene.make('subnets/mark', '');
    assert.ok(mark.revision > revision);
    await watching.reach(mark.revision);
    assert.deepEqual(watching.events.map(shortly), ['+subnets/mark=']);
    await gone(scene, KEY);
  },

  'replace starts a new time limit; the old one ends nothing': async (scene) => {
    const entry = await scene.make(KEY, 'one', SHORT_SECONDS);
    const renewed = await scene.store.replace(entry, 'two', LONG_SECONDS, scene.signal);
    assert.ok(renewed);
    await expireWitness(scene);
    assert.deepEqual(await scene.other.get(KEY, scene.signal), renewed);
    assert.ok((await scene.store.remainingSeconds(renewed, scene.signal)) > SHORT_SECONDS);
  },

  'replace with no time limit makes an entry without end, and back': async (scene) => {
    const entry = await scene.make(KEY, 'one', SHORT_SECONDS);
    const reserved = await scene.store.replace(entry, 'two', 0, scene.signal);
    assert.ok(reserved);
    assert.equal(reserved.grant, '');
    await expireWitness(scene);
    assert.deepEqual(await scene.other.get(KEY, scene.signal), reserved);
    const limited = await scene.other.replace(reserved, 'three', SHORT_SECONDS, scene.signal);
    assert.ok(limited);
    assert.notEqual(limited.grant, '');
    await gone(scene, KEY);
  },

  'remainingSeconds tells the time that is left, Infinity without a limit': async (scene) => {
    const forever = await scene.make('subnets/10.1.1.0-24', 'one');
    const limited = await scene.make(KEY, 'two', LONG_SECONDS);
    assert.equal(await scene.store.remainingSeconds(forever, scene.signal), Infinity);
    for (const client of [scene.store, scene.other]) {
      const left = await client.remainingSeconds(limited, scene.signal);
      // The bound below is half of what was asked for: it is not about how fast the store is.
      assert.ok(left > LONG_SECONDS / 2 && left <= LONG_SECONDS, `${left} s are left of ${LONG_SECONDS}`);
    }
  },

  'an entry read by another client has the same time limit': async (scene) => {
    const entry = await scene.make(KEY, 'one', LONG_SECONDS);
    const read: StoreEntry | undefined = await scene.other.get(KEY, scene.signal);
    assert.deepEqual(read, entry);
    const { entries } = await scene.other.list('subnets', scene.signal);
    assert.deepEqual(entries, [entry]);
    assert.equal(await scene.other.prolong(entry, scene.signal), true);
  },
};

async function gone(scene: Scene, key: string): Promise<void> {
  await scene.until(`${key} to expire`, async () => {
    return (await scene.store.get(key, scene.signal)) === undefined;
  });
}

/** Waits until every short limit that began before has passed. */
async function expireWitness(scene: Scene): Promise<void> {
  await scene.make(WITNESS, '', SHORT_SECONDS, scene.other);
  await gone(scene, WITNESS);
}
