import assert from 'node:assert/strict';

import { type RuleBody, type Scene, shortly } from './scene.js';

const KEY = 'subnets/10.1.2.0-24';

/** Rules of `watch`. */
export const WATCH_RULES: Readonly<Record<string, RuleBody>> = {
  'a watch is confirmed by onOpen though nothing happens': async (scene) => {
    const { revision } = await scene.store.list('subnets', scene.signal);
    const watching = scene.watch('subnets', revision);
    await watching.open();
    assert.deepEqual(watching.events, []);
  },

  'a watch delivers every change after its revision, in order, and not that of the revision itself': async (
    scene,
  ) => {
    const first = await scene.make(KEY, 'one');
    const second = await scene.store.replace(first, 'two', 0, scene.signal);
    assert.ok(second);
    assert.equal(await scene.store.remove(second, scene.signal), true);
    const third = await scene.make(KEY, 'three', 0, scene.other);
    const watching = scene.watch('subnets', first.revision);
    await watching.reach(third.revision);
    assert.deepEqual(watching.events.map(shortly), [`+${KEY}=two`, `-${KEY}`, `+${KEY}=three`]);
    const fourth = await scene.store.replace(third, 'four', 0, scene.signal);
    assert.ok(fourth);
    await watching.reach(fourth.revision);
    assert.deepEqual(watching.events.slice(3), [{ kind: 'put', entry: fourth }]);
    assert.equal(watching.opened, 1);
  },

  'a delete event has the revision of the removal': async (scene) => {
    const entry = await scene.make(KEY, 'one');
    const watching = scene.watch('subnets', entry.revision);
    await watching.open();
    assert.equal(await scene.other.remove(entry, scene.signal), true);
    const { revision } = await scene.store.list('', scene.signal);
    await watching.reach(revision);
    assert.deepEqual(watching.events, [{ kind: 'delete', key: KEY, revision }]);
  },

  'a watch delivers keys that begin with its prefix and no others': async (scene) => {
    const { revision } = await scene.store.list('subnets', scene.signal);
    const early = scene.watch('subnets', revision);
    await early.open();
    const keys = ['config', 'subnet', 'subnets', KEY, 'subnets-old', 'subnett', 'x/subnets'];
    for (const key of keys) await scene.make(key, 'v');
    const last = await scene.make('subnets/last', 'v');
    const late = scene.watch('subnets', revision);
    await early.reach(last.revision);
    await late.reach(last.revision);
    const expected = ['+subnets=v', `+${KEY}=v`, '+subnets-old=v', '+subnets/last=v'];
    assert.deepEqual(early.events.map(shortly), expected);
    assert.deepEqual(late.events.map(shortly), expected, 'in what is told again too');
  },

  'watching from the revision of a list misses nothing and repeats nothing under writes': async (scene) => {
    const writing = churn(scene);
    await scene.make('subnets/first', 'v');
    const listing = await scene.store.list('subnets', scene.signal);
    const watching = scene.watch('subnets', listing.revision);
    await writing;
    const { entries, revision } = await scene.other.list('subnets', scene.signal);
    await watching.reach(revision);
    const state = new Map(listing.entries.map((entry) => [entry.key, entry]));
    for (const event of watching.events) {
      if (event.kind === 'put') state.set(event.entry.key, event.entry);
      else assert.ok(state.delete(event.key), 'what is removed was known');
    }
    const sorted = [...state.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
    assert.deepEqual(sorted, entries);
  },

  'watches of one store are independent': async (scene) => {
    const { revision } = await scene.store.list('', scene.signal);
    const giveUp = new AbortController();
    const first = scene.watch('subnets', revision, scene.store, giveUp.signal);
    const second = scene.watch('config', revision);
    const third = scene.watch('subnets', revision);
    await Promise.all([first.open(), second.open(), third.open()]);
    giveUp.abort(new Error('given up'));
    await first.end();
    await scene.make('config', '{}', 0, scene.other);
    const last = await scene.make(KEY, 'one', 0, scene.other);
    await third.reach(last.revision);
    await scene.until('the event of the other prefix', () => second.events.length > 0);
    assert.deepEqual(second.events.map(shortly), ['+config={}']);
    assert.deepEqual(third.events.map(shortly), [`+${KEY}=one`]);
  },

  'a watch that is aborted rejects with the reason and is told nothing more': async (scene) => {
    const { revision } = await scene.store.list('', scene.signal);
    const giveUp = new AbortController();
    const reason = new Error('given up');
    const watching = scene.watch('subnets', revision, scene.store, giveUp.signal);
    const witness = scene.watch('subnets', revision);
    await Promise.all([watching.open(), witness.open()]);
    giveUp.abort(reason);
    assert.equal(await watching.end(), reason);
    const entry = await scene.make(KEY, 'one', 0, scene.other);
    await witness.reach(entry.revision);
    assert.deepEqual(watching.events, []);
  },

  'a watch whose signal has aborted before rejects with its reason': async (scene) => {
    const reason = new Error('given up');
    const watching = scene.watch('subnets', 0n, scene.store, AbortSignal.abort(reason));
    assert.equal(await watching.end(), reason);
    assert.equal(watching.opened, 0);
  },

  'a watch from before a compaction rejects with ERR_STORE_COMPACTED; one from a list after it works': async (
    scene,
  ) => {
    const first = await scene.make(KEY, '0');
    let entry = first;
    for (let turn = 1; turn <= 10; turn++) {
      const next = await scene.store.replace(entry, String(turn), 0, scene.signal);
      assert.ok(next);
      entry = next;
    }
    await scene.compact(entry.revision);
    const reason = await scene.watch('subnets', first.revision).end();
    assert.equal((reason as { code?: unknown }).code, 'ERR_STORE_COMPACTED');
    const { entries, revision } = await scene.store.list('subnets', scene.signal);
    assert.deepEqual(entries, [entry], 'compaction forgets changes, not entries');
    const watching = scene.watch('subnets', revision);
    await watching.open();
    const next = await scene.other.replace(entry, 'next', 0, scene.signal);
    assert.ok(next);
    await watching.reach(next.revision);
    assert.deepEqual(watching.events, [{ kind: 'put', entry: next }]);
  },

  'a compaction does not disturb a watch that has kept up': async (scene) => {
    const first = await scene.make(KEY, 'one');
    const watching = scene.watch('subnets', first.revision);
    const second = await scene.store.replace(first, 'two', 0, scene.signal);
    assert.ok(second);
    await watching.reach(second.revision);
    await scene.compact(second.revision);
    const third = await scene.other.replace(second, 'three', 0, scene.signal);
    assert.ok(third);
    await watching.reach(third.revision);
    assert.deepEqual(watching.events.map(shortly), [`+${KEY}=two`, `+${KEY}=three`]);
  },
};

/** Writes of every kind, one after another, on few keys. */
async function churn({ other, signal }: Scene): Promise<void> {
  for (let turn = 0; turn < 60; turn++) {
    const key = `subnets/10.1.${turn % 7}.0-24`;
    const entry = await other.get(key, signal);
    if (entry === undefined) await other.create(key, `made ${turn}`, 0, signal);
    else if (turn % 3 === 0) await other.remove(entry, signal);
    else await other.replace(entry, `written ${turn}`, 0, signal);
  }
}
