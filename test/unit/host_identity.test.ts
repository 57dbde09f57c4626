/**
 * Who this host is, whatever its addresses are.
 */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';

import t from 'tap';

import { readHostIdentity } from '../../src/host/host_identity.js';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

t.test('the id is made once and survives restarts', async (t) => {
  const directory = `${t.testdir()}/lib/selvage`;
  const first = await readHostIdentity(directory);
  t.match(first.id, UUID);
  t.equal(first.name, hostname());
  t.notOk('warning' in first);
  t.strictSame(await readHostIdentity(directory), first);
  t.equal(statSync(`${directory}/host-id`).mode & 0o777, 0o600, 'and is nobody else’s business');
});

t.test('segments that start at once on a new host are one host', async (t) => {
  const directory = `${t.testdir()}/lib/selvage`;
  const all = await Promise.all(Array.from({ length: 8 }, () => readHostIdentity(directory)));
  const kept = await readHostIdentity(directory);
  for (const each of all) t.strictSame(each, kept, 'the same id, no warning');
  t.strictSame(readdirSync(directory), ['host-id'], 'and nothing is left beside it');
});

t.test('two directories have two ids', async (t) => {
  const [one, two] = [await readHostIdentity(t.testdir()), await readHostIdentity(`${t.testdir()}/two`)];
  t.not(one.id, two.id);
});

t.test('a file that holds no id is replaced', async (t) => {
  for (const text of ['', 'host1\n', '00000000-0000-4000-8000-00000000000']) {
    const directory = t.testdir({ 'host-id': text });
    const { id, warning } = await readHostIdentity(directory);
    t.match(id, UUID, JSON.stringify(text));
    t.equal(warning, undefined);
    t.equal(readFileSync(`${directory}/host-id`, 'utf8'), `${id}\n`);
  }
});

t.test('where nothing can be kept the host has an id for this run, and a warning', async (t) => {
  const root = t.testdir();
  writeFileSync(`${root}/file`, '');
  const first = await readHostIdentity(`${root}/file`);
  t.match(first.id, UUID);
  t.match(first.warning, /file\/host-id cannot be kept.*another id after each start/);
  t.not((await readHostIdentity(`${root}/file`)).id, first.id);
});
