import assert from 'node:assert/strict';

import type { RuleBody } from './scene.js';

const KEY = 'subnets/10.1.2.0-24';
const RACERS = 20;

/** Rules of `get`, `list`, `create`, `replace` and `remove`. */
export const ENTRY_RULES: Readonly<Record<string, RuleBody>> = {
  'get of a key that does not exist gives undefined': async ({ store, signal }) => {
    assert.equal(await store.get(KEY, signal), undefined);
  },

  'create makes an entry that every client reads': async (scene) => {
    const entry = await scene.make(KEY, 'one');
    assert.deepEqual(
      { key: entry.key, value: entry.value, grant: entry.grant },
      { key: KEY, value: 'one', grant: '' },
    );
    assert.equal(entry.createdAt, entry.revision, 'it came to be with its first write');
    assert.deepEqual(await scene.store.get(KEY, scene.signal), entry);
    assert.deepEqual(await scene.other.get(KEY, scene.signal), entry);
  },

  'create of a key that exists gives undefined and changes nothing': async (scene) => {
    const entry = await scene.make(KEY, 'one');
    assert.equal(await scene.other.create(KEY, 'two', 0, scene.signal), undefined);
    assert.equal(
      await scene.other.create(KEY, 'one', 60, scene.signal),
      undefined,
      'not with the same value either',
    );
    assert.deepEqual(await scene.store.get(KEY, scene.signal), entry);
  },

  'of 20 that create one key at once, exactly one gets it': async ({ store, other, signal }) => {
    const racers = Array.from({ length: RACERS }, (_, index) => (index % 2 === 0 ? store : other));
    const entries = await Promise.all(
      racers.map((racer, index) => racer.create(KEY, `racer ${index}`, index % 3 === 0 ? 0 : 60, signal)),
    );
    const won = entries.filter((entry) => entry !== undefined);
    assert.equal(won.length, 1, 'exactly one wins');
    assert.deepEqual(await store.get(KEY, signal), won[0], 'and what it was given is what stands');
  },

  'each entry with a time limit has a grant of its own': async (scene) => {
    const first = await scene.make('subnets/10.1.1.0-24', 'one', 60);
    const second = await scene.make('subnets/10.1.2.0-24', 'two', 60, scene.other);
    const third = await scene.store.replace(first, 'three', 60, scene.signal);
    const grants = [first.grant, second.grant, third?.grant];
    assert.ok(!grants.includes(''), 'only an entry without end has no grant');
    assert.equal(new Set(grants).size, grants.length);
  },

  'replace writes a key again: same entry, next revision': async (scene) => {
    const entry = await scene.make(KEY, 'one');
    const next = await scene.other.replace(entry, 'two', 0, scene.signal);
    assert.ok(next);
    assert.equal(next.value, 'two');
    assert.equal(next.createdAt, entry.createdAt);
    assert.ok(next.revision > entry.revision);
    assert.deepEqual(await scene.store.get(KEY, scene.signal), next);
  },

  'replace of an entry that was written meanwhile gives undefined and changes nothing': async (scene) => {
    const entry = await scene.make(KEY, 'one');
    const next = await scene.other.replace(entry, 'two', 0, scene.signal);
    assert.equal(await scene.store.replace(entry, 'three', 0, scene.signal), undefined);
    assert.deepEqual(await scene.store.get(KEY, scene.signal), next);
  },

  'replace of an entry that was removed, or removed and made again, gives undefined': async (scene) => {
    const entry = await scene.make(KEY, 'one');
    assert.equal(await scene.other.remove(entry, scene.signal), true);
    assert.equal(await scene.store.replace(entry, 'two', 0, scene.signal), undefined);
    assert.equal(await scene.store.get(KEY, scene.signal), undefined);
    const again = await scene.make(KEY, 'one');
    assert.equal(await scene.store.replace(entry, 'two', 0, scene.signal), undefined);
    assert.deepEqual(await scene.store.get(KEY, scene.signal), again);
  },

  'of 20 that replace one entry at once, exactly one does': async (scene) => {
    const entry = await scene.make(KEY, 'start');
    const racers = Array.from({ length: RACERS }, (_, index) =>
      index % 2 === 0 ? scene.store : scene.other,
    );
    const entries = await Promise.all(
      racers.map((racer, index) => racer.replace(entry, `racer ${index}`, 0, scene.signal)),
    );
    const won = entries.filter((next) => next !== undefined);
    assert.equal(won.length, 1, 'exactly one wins');
    assert.deepEqual(await scene.store.get(KEY, scene.signal), won[0]);
  },

  'remove removes the entry that was read, once': async (scene) => {
    const entry = await scene.make(KEY, 'one');
    assert.equal(await scene.other.remove(entry, scene.signal), true);
    assert.equal(await scene.store.get(KEY, scene.signal), undefined);
    assert.equal(await scene.store.remove(entry, scene.signal), false);
  },

  'remove leaves an entry that was written meanwhile': async (scene) => {
    const entry = await scene.make(KEY, 'one');
    const next = await scene.other.replace(entry, 'two', 0, scene.signal);
    assert.equal(await scene.store.remove(entry, scene.signal), false);
    assert.deepEqual(await scene.store.get(KEY, scene.signal), next);
  },

  'a key that was removed and made again is another entry': async (scene) => {
    const entry = await scene.make(KEY, 'one');
    assert.equal(await scene.store.remove(entry, scene.signal), true);
    const again = await scene.make(KEY, 'one');
    assert.ok(again.createdAt > entry.revision);
    assert.equal(await scene.store.remove(entry, scene.signal), false);
  },

  'list gives all keys that begin with the prefix, in order of key': async (scene) => {
    const inside = [
      'subnets',
      'subnets-10.1.9.0-24',
      'subnets/10.1.1.0-24',
      'subnets/10.1.10.0-24',
      'subnets/10.1.2.0-24',
    ];
    for (const key of ['config', 'subnet', ...[...inside].reverse(), 'subnett', 'x/subnets/10.1.3.0-24']) {
      await scene.make(key, `value of ${key}`);
    }
    const { entries } = await scene.other.list('subnets', scene.signal);
    assert.deepEqual(
      entries.map(({ key, value }) => [key, value]),
      inside.map((key) => [key, `value of ${key}`]),
    );
    assert.deepEqual(entries[2], await scene.store.get('subnets/10.1.1.0-24', scene.signal));
  },

  'list has the revision of the last change, whatever key that was': async (scene) => {
    const { revision: before } = await scene.store.list('subnets', scene.signal);
    const entry = await scene.make('config', '{}', 0, scene.other);
    const { entries, revision } = await scene.store.list('subnets', scene.signal);
    assert.deepEqual(entries, []);
    assert.ok(entry.revision > before, 'a change has the next revision');
    assert.equal(revision, entry.revision);
  },

  'keys and values come back as they were written': async (scene) => {
    const texts = [
      '',
      '{"PublicIP":"192.0.2.1","PublicIPv6":null}',
      ' \n\t"\\ ',
      'h\u00f4te \u{1f5a7} \u0000',
      'x'.repeat(10_000),
    ];
    for (const [index, value] of texts.entries()) {
      const key = `subnets/10.1.${index}.0-24&fd00:1:${index}::-64`;
      const entry = await scene.make(key, value);
      assert.equal(entry.value, value);
      const read = await scene.other.get(key, scene.signal);
      assert.equal(read?.key, key);
      assert.equal(read.value, value);
    }
  },

  'a confirmed write is read by every client at once': async (scene) => {
    let entry = await scene.make(KEY, '0');
    for (let turn = 1; turn <= 20; turn++) {
      const [writer, reader] = turn % 2 === 0 ? [scene.store, scene.other] : [scene.other, scene.store];
      const next = await writer.replace(entry, String(turn), 0, scene.signal);
      assert.ok(next);
      assert.deepEqual(await reader.get(KEY, scene.signal), next);
      assert.deepEqual((await reader.list(KEY, scene.signal)).entries, [next]);
      entry = next;
    }
  },

  'a call whose signal has aborted rejects with its reason and does nothing': async (scene) => {
    const entry = await scene.make(KEY, 'one');
    const reason = new Error('given up');
    const signal = AbortSignal.abort(reason);
    const same = (error: unknown): boolean => error === reason;
    await assert.rejects(scene.store.get(KEY, signal), same);
    await assert.rejects(scene.store.list('', signal), same);
    await assert.rejects(scene.store.create('config', '{}', 0, signal), same);
    await assert.rejects(scene.store.replace(entry, 'two', 0, signal), same);
    await assert.rejects(scene.store.remove(entry, signal), same);
    await assert.rejects(scene.store.prolong(entry, signal), same);
    await assert.rejects(scene.store.remainingSeconds(entry, signal), same);
    assert.deepEqual((await scene.other.list('', scene.signal)).entries, [entry]);
  },

  'after close every call rejects with ERR_CLOSED, and other clients go on': async (scene) => {
    const entry = await scene.make(KEY, 'one');
    const watching = scene.watch('subnets', entry.revision);
    await watching.open();
    await scene.within('close', scene.store.close());
    await watching.end();
    const closed = { code: 'ERR_CLOSED' };
    const { store, signal } = scene;
    await assert.rejects(store.get(KEY, signal), closed);
    await assert.rejects(store.list('', signal), closed);
    await assert.rejects(store.create('config', '{}', 0, signal), closed);
    await assert.rejects(store.replace(entry, 'two', 0, signal), closed);
    await assert.rejects(store.remove(entry, signal), closed);
    await assert.rejects(store.prolong(entry, signal), closed);
    await assert.rejects(store.remainingSeconds(entry, signal), closed);
    const listener = { onOpen: () => {}, onBatch: () => {} };
    await assert.rejects(scene.within('watch to reject', store.watch('', 0n, listener, signal)), closed);
    assert.deepEqual(await scene.other.get(KEY, signal), entry);
  },
};
