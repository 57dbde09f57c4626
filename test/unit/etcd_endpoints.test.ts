import fc from 'fast-check';
import t from 'tap';

import { Authenticator } from '../../src/lease/etcd/authenticator.js';
import { Endpoint } from '../../src/lease/etcd/endpoint.js';
import { EndpointPool } from '../../src/lease/etcd/endpoint_pool.js';
import { grantText, leaseIdOf } from '../../src/lease/etcd/key_space.js';

const TLS = { caFile: undefined, certFile: undefined, keyFile: undefined };

function poolOf(count: number, random = 0): EndpointPool {
  const origins = Array.from({ length: count }, (_, i) => `http://192.0.2.${i + 1}:2379`);
  return new EndpointPool(
    origins.map((origin) => new Endpoint(origin, TLS)),
    () => random,
  );
}

t.test('hosts begin at different servers and stay with one that works', (t) => {
  const firsts = [0, 0.34, 0.67, 0.999].map((random) => poolOf(3, random).pick([]).origin);
  t.equal(new Set(firsts).size, 3);
  const pool = poolOf(3);
  const first = pool.pick([]);
  pool.worked(first);
  t.equal(pool.pick([]), first);
  t.end();
});

t.test('a server that failed is not picked while others may be tried', (t) => {
  const pool = poolOf(3);
  const first = pool.pick([]);
  pool.failed(first, 'gone');
  const second = pool.pick([first]);
  t.not(second, first);
  pool.worked(second);
  t.equal(pool.pick([]), second, 'also by calls that come later');
  t.equal(first.lastFault, 'gone');
  t.end();
});

t.test('a call tries every server before any again', (t) => {
  const pool = poolOf(4);
  const tried: Endpoint[] = [];
  for (let i = 0; i < 4; i++) {
    const endpoint = pool.pick(tried);
    tried.push(endpoint);
    pool.failed(endpoint, 'gone');
  }
  t.equal(new Set(tried).size, 4);
  t.ok(tried.includes(pool.pick(tried)));
  t.end();
});

t.test('every lease id has a text of its own, and none has none', (t) => {
  t.equal(grantText(0n), '');
  t.equal(leaseIdOf(''), 0n);
  t.equal(grantText(0x694d8c5b2f0a1b03n), '694d8c5b2f0a1b03', 'as etcdctl writes it');
  fc.assert(fc.property(fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), (id) => leaseIdOf(grantText(id)) === id));
  t.end();
});

t.test('a call that was called off asks for no token', async (t) => {
  let asked = 0;
  const authenticate = (): Promise<never> => {
    asked++;
    return Promise.reject(new Error('refused'));
  };
  const endpoint = { calls: { auth: { authenticate } } } as unknown as Endpoint;
  const authenticator = new Authenticator({ username: 'u', password: 'p' });
  const token = (signal: AbortSignal): Promise<string> =>
    authenticator.token(endpoint, new Headers(), 1000, signal);
  await t.rejects(token(AbortSignal.abort(new Error('called off'))), { message: 'called off' });
  t.equal(asked, 0, "its failure would be nobody's, and end the process");
  await t.rejects(token(new AbortController().signal), { message: 'refused' });
  t.equal(asked, 1);
});
