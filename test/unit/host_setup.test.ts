import { mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import { HostSetup } from '../../src/agent/host_setup.js';
import { until } from '../netns/until.js';

const PLACE = { network: '10.1.0.0/16', subnet: '10.1.2.0/24' };

function setupOf(t: Test, subnetFile: string, told: string[]): HostSetup {
  const setup = new HostSetup({
    firewall: undefined,
    blackholeRoute: false,
    subnetFile,
    resyncSeconds: 0.01,
    onWarning: (message) => told.push(message),
  });
  t.teardown(() => setup.close());
  return setup;
}

t.test('a subnet file that could not be written is tried again until it can', async (t) => {
  const directory = t.testdir();
  const parent = join(directory, 'flannel');
  const path = join(parent, 'subnet.env');
  writeFileSync(parent, 'a file where the directory should be');
  const told: string[] = [];
  const setup = setupOf(t, path, told);

  await setup.apply(PLACE, 'flannel0', 1472, 8285);
  t.match(setup.subnetFile, { path, written: false, error: /ENOTDIR|EEXIST/ });
  t.match(told, [/could not be written, so no pod can be attached/]);

  rmSync(parent);
  mkdirSync(path, { recursive: true });
  await until('another failure to be told', () => told.length === 2);
  t.match(setup.subnetFile, { written: false, error: /EISDIR|ENOTEMPTY|EEXIST/ }, 'each has its own warning');

  rmdirSync(path);
  await until('the file to be written', () => setup.subnetFile?.written === true);
  t.match(readFileSync(path, 'utf8'), /^FLANNEL_SUBNET=10\.1\.2\.1\/24$/m);
  t.strictSame(setup.subnetFile, { path, written: true }, 'without an error');
  t.strictSame(told.slice(2), [`${path} is written now`], 'one line says so, and no failure was told twice');
});

t.test('what is tried again is the latest place', async (t) => {
  const directory = t.testdir();
  const parent = join(directory, 'flannel');
  const path = join(parent, 'subnet.env');
  writeFileSync(parent, '');
  const setup = setupOf(t, path, []);
  await setup.apply(PLACE, 'flannel0', 1472, 8285);
  await setup.apply({ ...PLACE, subnet: '10.1.9.0/24' }, 'flannel0', 1372, 8285);
  rmSync(parent);
  await until('the file to be written', () => setup.subnetFile?.written === true);
  t.match(readFileSync(path, 'utf8'), /^FLANNEL_SUBNET=10\.1\.9\.1\/24\nFLANNEL_MTU=1372$/m);
});

t.test('nothing is tried again after close', async (t) => {
  const directory = t.testdir();
  const parent = join(directory, 'flannel');
  writeFileSync(parent, '');
  const told: string[] = [];
  const setup = setupOf(t, join(parent, 'subnet.env'), told);
  await setup.apply(PLACE, 'flannel0', 1472, 8285);
  await setup.close();
  rmSync(parent);
  const other = setupOf(t, join(directory, 'other', 'subnet.env'), []);
  // Another one, which began later and looks as often, has had its turn by then.
  writeFileSync(join(directory, 'other'), '');
  await other.apply(PLACE, 'flannel0', 1472, 8285);
  rmSync(join(directory, 'other'));
  await until('the other to be written', () => other.subnetFile?.written === true);
  t.equal(setup.subnetFile?.written, false);
  t.equal(told.length, 1);
});
