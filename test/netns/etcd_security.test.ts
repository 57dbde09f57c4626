/**
 * `EtcdStore` with users and with TLS, against a real etcd-server that demands them.
 */
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import type { EtcdStoreOptions } from '../../src/lease/etcd/etcd_options.js';
import { type Certificates, makeCertificates } from './certificates.js';
import type { EtcdServer } from './etcd_server.js';
import { BASE, errorOf, FOREVER, openStore, startEtcd, WatchRecord } from './etcd_stores.js';
import { TcpProxy } from './tcp_proxy.js';
import { until } from './until.js';

const USER = { username: 'selvage', password: 'correct horse' };

t.setTimeout(120_000);

t.test('users', async (t) => {
  const server = await startEtcd(t, { flags: ['--auth-token-ttl=1'] });
  await server.put(`${BASE}config`, '{}');
  await server.addUser(USER.username, USER.password, BASE);
  await server.addUser('reader', 'pw', BASE, 'read');
  await server.addUser('stranger', 'pw', '/elsewhere/');
  const { endpoint } = server;

  await t.test('credentials do no harm where etcd asks for none, and count once it does', async (t) => {
    const store = await openStore(t, { endpoints: [endpoint], ...USER });
    t.equal((await store.get('config', FOREVER))?.value, '{}');
    await server.enableAuth();
    t.equal((await store.get('config', FOREVER))?.value, '{}');
  });

  await t.test('every call works with a user that may read and write below the prefix', async (t) => {
    const store = await openStore(t, { endpoints: [endpoint], ...USER });
    const { revision } = await store.list('', FOREVER);
    const record = await new WatchRecord(t, store, revision).untilOpen();
    const entry = await store.create('k', 'v', 100, FOREVER);
    const next = entry && (await store.replace(entry, 'w', 100, FOREVER));
    if (next === undefined) throw new Error('not replaced');
    t.ok(await store.prolong(next, FOREVER));
    t.ok((await store.remainingSeconds(next, FOREVER)) > 0);
    t.ok(await store.remove(next, FOREVER));
    await until('the events', () => record.keys.length === 3);
    await until('the leases to go', async () => (await server.leases()).length === 0);
  });

  await t.test('a token that has ended is renewed by any call, and by a watch', async (t) => {
    const calls = await openStore(t, { endpoints: [endpoint], ...USER });
    const watches = await openStore(t, { endpoints: [endpoint], ...USER });
    const reads = await openStore(t, { endpoints: [endpoint], ...USER });
    for (const store of [calls, watches, reads]) await store.get('config', FOREVER);
    await server.kill(); // takes the tokens with it
    await server.restart();
    t.ok(await calls.create('after', 'a', 100, FOREVER));
    await new WatchRecord(t, watches, 0n).untilOpen();
    const entries = await Promise.all(['config', 'config', 'config'].map((key) => reads.get(key, FOREVER)));
    t.strictSame(
      entries.map((entry) => entry?.value),
      ['{}', '{}', '{}'],
    );
  });

  await t.test('a change of users, which makes tokens outdated, is survived', async (t) => {
    const store = await openStore(t, { endpoints: [endpoint], ...USER });
    await store.get('config', FOREVER);
    await server.addUser('another', 'pw', '/another/');
    t.ok(await store.create('changed', 'c', 0, FOREVER));
  });

  const refusals: readonly {
    readonly rule: string;
    readonly options: Partial<EtcdStoreOptions>;
    readonly says: RegExp;
  }[] = [
    {
      rule: 'a wrong password',
      options: { ...USER, password: 'wrong' },
      says: /: wrong password, or no such user "selvage": check etcd-username and etcd-password$/,
    },
    {
      rule: 'an unknown user',
      options: { ...USER, username: 'nobody' },
      says: /: wrong password, or no such user "nobody"/,
    },
    { rule: 'no user', options: {}, says: /: it wants a user: give etcd-username and etcd-password$/ },
    {
      rule: 'a user without permission',
      options: { username: 'stranger', password: 'pw' },
      says: /: permission denied: user "stranger" needs to read and write what is below \/coreos\.com\/network\/ \(etcdctl role grant-permission ROLE readwrite --prefix \/coreos\.com\/network\/\)$/,
    },
  ];
  for (const { rule, options, says } of refusals) {
    await t.test(`${rule} is refused with what to do, by calls and watches`, async (t) => {
      const store = await openStore(t, { endpoints: [endpoint], ...options });
      t.match(await errorOf(store.list('', FOREVER)), { code: 'ERR_STORE_DENIED', message: says });
      t.match(await errorOf(store.create('x', 'y', 100, FOREVER)), {
        code: 'ERR_STORE_DENIED',
        message: says,
      });
      const watching = await openStore(t, { endpoints: [endpoint], ...options });
      const end = await new WatchRecord(t, watching, 0n).untilEnd();
      t.equal(end.code, 'ERR_STORE_DENIED');
      if (options.username !== undefined) t.match(end.message, says);
      t.notMatch(end.message, /correct horse/);
    });
  }

  await t.test('a user who may only read can list and watch, and is told what a write lacks', async (t) => {
    const store = await openStore(t, { endpoints: [endpoint], username: 'reader', password: 'pw' });
    await store.list('', FOREVER);
    await new WatchRecord(t, store, 0n).untilOpen();
    const before = await server.leases();
    const error = await errorOf(store.create('x', 'y', 100, FOREVER));
    t.match(error, { code: 'ERR_STORE_DENIED', message: /user "reader" needs to read and write/ });
    await until('the lease to go', async () => (await server.leases()).length === before.length);
  });
});

t.test('TLS', async (t) => {
  const directory = t.testdir();
  const certificates = makeCertificates(directory);
  const foreign = makeCertificates(directory, [], 'foreign');
  const plain = await startEtcd(t, { tls: { certificates } });
  const mutual = await startEtcd(t, { tls: { certificates, clientAuth: true } });
  const caFile = certificates.ca.cert;
  const pair = ({ client }: Certificates) => ({ certFile: client.cert, keyFile: client.key });

  async function roundTrip(t: Test, server: EtcdServer, options: Partial<EtcdStoreOptions>): Promise<void> {
    const store = await openStore(t, { endpoints: [server.endpoint], ...options });
    const record = await new WatchRecord(t, store, 0n).untilOpen();
    const entry = await store.create('k', 'v', 100, FOREVER);
    t.ok(entry && (await store.remove(entry, FOREVER)));
    await until('the events', () => record.keys.length >= 2);
  }

  await t.test('works with the authority alone', (t) => roundTrip(t, plain, { caFile }));

  await t.test('works with a client certificate', (t) =>
    roundTrip(t, mutual, { caFile, ...pair(certificates) }),
  );

  await t.test('trusts the authorities of the system without a file of its own', async (t) => {
    process.env.SSL_CERT_FILE = caFile;
    t.teardown(() => delete process.env.SSL_CERT_FILE);
    await roundTrip(t, plain, {});
  });

  await t.test('works with a name', async (t) => {
    await roundTrip(t, plain, { caFile, endpoints: [`https://localhost:${plain.port}`] });
  });

  const refusals: readonly {
    readonly rule: string;
    readonly server: EtcdServer;
    readonly options: Partial<EtcdStoreOptions>;
    readonly says: RegExp;
  }[] = [
    {
      rule: 'a server of another authority',
      server: plain,
      options: { caFile: foreign.ca.cert },
      says: /: its certificate is of an unknown authority: is etcd-cafile the right one\?$/,
    },
    {
      rule: 'a server of an authority that the system does not know',
      server: plain,
      options: {},
      says: /: its certificate is of an unknown authority/,
    },
    {
      rule: 'a client without certificate',
      server: mutual,
      options: { caFile },
      says: /: it does not accept our client certificate, or wants one: check etcd-certfile and etcd-keyfile$/,
    },
    {
      rule: 'a client with a certificate of another authority',
      server: mutual,
      options: { caFile, ...pair(foreign) },
      says: /: it does not accept our client certificate, or wants one/,
    },
  ];
  for (const { rule, server, options, says } of refusals) {
    await t.test(`${rule} is refused with what to do`, async (t) => {
      const store = await openStore(t, { endpoints: [server.endpoint], ...options });
      for (const call of [store.list('', FOREVER), new WatchRecord(t, store, 0n).untilEnd()]) {
        const error = await call.catch((thrown: unknown) => thrown);
        t.match(error, { code: 'ERR_STORE_DENIED', message: says });
      }
    });
  }

  await t.test('a certificate for another name is refused with the names it is for', async (t) => {
    const proxy = await TcpProxy.start(plain.port, '127.0.0.2');
    t.teardown(() => proxy.close());
    const store = await openStore(t, { endpoints: [`https://127.0.0.2:${proxy.port}`], caFile });
    t.match(await errorOf(store.list('', FOREVER)), {
      code: 'ERR_STORE_DENIED',
      message: /its certificate is for another name: .*127\.0\.0\.2.*127\.0\.0\.1/,
    });
  });

  await t.test('http where TLS is spoken, and https where it is not, are told apart', async (t) => {
    const http = await openStore(t, { endpoints: [`http://127.0.0.1:${plain.port}`] });
    t.match(await errorOf(http.list('', FOREVER)), {
      code: 'ERR_STORE_UNAVAILABLE',
      message: /: the server ended the connection: is it https:/,
    });
    const bare = await startEtcd(t);
    const https = await openStore(t, { endpoints: [`https://127.0.0.1:${bare.port}`], caFile });
    t.match(await errorOf(https.list('', FOREVER)), {
      code: 'ERR_STORE_UNAVAILABLE',
      message: /: the server ended the connection: .* or is it http:/,
    });
  });

  await t.test('certificates that are renewed on disk count from the next connection on', async (t) => {
    const [cert, key] = [join(directory, 'live.pem'), join(directory, 'live.key')];
    copyFileSync(foreign.client.cert, cert);
    copyFileSync(foreign.client.key, key);
    const store = await openStore(t, { endpoints: [mutual.endpoint], caFile, certFile: cert, keyFile: key });
    t.equal((await errorOf(store.list('', FOREVER))).code, 'ERR_STORE_DENIED');
    copyFileSync(certificates.client.cert, cert);
    copyFileSync(certificates.client.key, key);
    await store.list('', FOREVER);
    t.pass('the new certificate was used');
  });

  await t.test('a certificate file that was spoilt is named', async (t) => {
    const cert = join(directory, 'spoilt.pem');
    copyFileSync(certificates.client.cert, cert);
    const options = { caFile, certFile: cert, keyFile: certificates.client.key };
    const store = await openStore(t, { endpoints: [mutual.endpoint], ...options });
    writeFileSync(cert, 'not a certificate');
    const error = await errorOf(store.list('', FOREVER));
    t.match(error, { code: 'ERR_STORE_DENIED', message: /etcd-certfile, etcd-keyfile: \S+spoilt\.pem/ });
  });
});
