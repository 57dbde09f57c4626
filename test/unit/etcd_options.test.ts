import { writeFileSync } from 'node:fs';

import t from 'tap';

import { SelvageError } from '../../src/errors.js';
import { checkEtcdOptions, type EtcdStoreOptions } from '../../src/lease/etcd/etcd_options.js';
import { openEtcdStore } from '../../src/lease/etcd/open_etcd_store.js';

const ENDPOINT = 'http://192.0.2.1:2379';

function endpointsOf(...endpoints: string[]): readonly string[] {
  return checkEtcdOptions({ endpoints }).endpoints;
}

t.test('endpoints are brought to one spelling, without repetition', (t) => {
  t.strictSame(
    endpointsOf(
      '192.0.2.1:2379',
      ' http://192.0.2.1:2379/ ',
      'https://Etcd.Example:4001',
      '[2001:db8::1]:80',
    ),
    ['http://192.0.2.1:2379', 'https://etcd.example:4001', 'http://[2001:db8::1]:80'],
  );
  t.strictSame(endpointsOf('etcd', 'https://etcd', 'https://etcd:443'), [
    'http://etcd:2379',
    'https://etcd:2379',
    'https://etcd:443',
  ]);
  t.end();
});

t.test('keys lie below the prefix as Go joins it', (t) => {
  const cases: readonly (readonly [string | undefined, string])[] = [
    [undefined, '/coreos.com/network/'],
    ['/coreos.com/network', '/coreos.com/network/'],
    ['//coreos.com//network//', '/coreos.com/network/'],
    ['/a/../b/.', '/b/'],
    ['relative', 'relative/'],
    ['/', '/'],
    ['', ''],
  ];
  for (const [prefix, base] of cases) {
    const options = { endpoints: [ENDPOINT], ...(prefix === undefined ? {} : { prefix }) };
    t.equal(checkEtcdOptions(options).keyBase, base, String(prefix));
  }
  t.end();
});

t.test('a mistake is an ERR_OPTION that names the flag', async (t) => {
  const directory = t.testdir({ 'empty.pem': '' });
  const base = { endpoints: [ENDPOINT] };
  const https = { endpoints: ['https://192.0.2.1:2379'] };
  const cases: readonly (readonly [EtcdStoreOptions, RegExp])[] = [
    [{ endpoints: [] }, /^etcd-endpoints: is empty/],
    [{ endpoints: [''] }, /^etcd-endpoints: "" is not a URL; write http/],
    [{ endpoints: ['http://:2379'] }, /^etcd-endpoints: .* is not a URL/],
    [{ endpoints: ['unix:///run/etcd'] }, /^etcd-endpoints: .* has the scheme unix:/],
    [{ endpoints: [`${ENDPOINT}/v2`] }, /^etcd-endpoints: .* has a path/],
    [{ endpoints: [`${ENDPOINT},http://192.0.2.2:2379`] }, /^etcd-endpoints: .* is not a URL/],
    [{ ...base, username: 'u' }, /^etcd-password: is missing/],
    [{ ...base, password: 'p' }, /^etcd-username: is missing/],
    [{ ...base, certFile: 'c' }, /^etcd-keyfile: is missing/],
    [{ ...base, keyFile: 'k' }, /^etcd-certfile: is missing/],
    [{ ...https, caFile: '/does/not/exist' }, /^etcd-cafile: \/does\/not\/exist: no such file/],
    [{ ...https, caFile: `${directory}/empty.pem` }, /^etcd-cafile: .*empty\.pem: holds no PEM certificate/],
    [{ ...base, requestTimeoutMillis: 99 }, /^requestTimeoutMillis: 99 is not/],
    [{ ...base, requestTimeoutMillis: NaN }, /^requestTimeoutMillis: NaN is not/],
  ];
  for (const [options, message] of cases) {
    await t.rejects(openEtcdStore(options), { code: 'ERR_OPTION', message }, String(message));
  }
});

t.test('a password in an endpoint is refused and not repeated', async (t) => {
  const error = await openEtcdStore({ endpoints: ['http://root:secret@192.0.2.1:2379'] }).catch(
    (e: unknown) => e,
  );
  t.match(error, { code: 'ERR_OPTION', message: /holds a password, which belongs into etcd-username/ });
  t.notMatch((error as SelvageError).message, /secret/);
});

t.test('a store tells what stands before its keys', async (t) => {
  const rows: [prefix: string | undefined, keyBase: string][] = [
    [undefined, '/coreos.com/network/'],
    ['/net//b/', '/net/b/'],
    ['', ''],
  ];
  for (const [prefix, keyBase] of rows) {
    const options = { endpoints: [ENDPOINT], ...(prefix === undefined ? {} : { prefix }) };
    const store = await openEtcdStore(options);
    t.equal(store.keyBase, keyBase, `prefix ${prefix}`);
    await store.close();
  }
});

t.test('certificate files without TLS are a warning', async (t) => {
  const caFile = `${t.testdir()}/ca.pem`;
  writeFileSync(caFile, '');
  const store = await openEtcdStore({ endpoints: [ENDPOINT], caFile });
  t.strictSame(store.warnings, [
    `the certificate files are not used for ${ENDPOINT}: write https:// to have TLS`,
  ]);
  t.equal(store.name, `etcd ${ENDPOINT}`);
  t.strictSame((await openEtcdStore({ endpoints: [ENDPOINT] })).warnings, []);
});
