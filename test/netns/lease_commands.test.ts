/**
 * `selvage lease` as its user meets it: the real program against a real etcd, what it wrote read back with etcdctl.
 */
import { execFile } from 'node:child_process';

import t from 'tap';

import type { CommandResult } from './child.js';
import { assertOneLine } from './cli_checks.js';
import { BASE, startEtcd } from './etcd_stores.js';
import { SELVAGE_MAIN } from './selvage.js';

const VALUE = '{"PublicIP":"192.0.2.1","PublicIPv6":null}';
const KEY = 'subnets/10.1.5.0-24';
const NO_LEASE = '';

t.setTimeout(120_000);

/** Runs `selvage lease ...` with nothing in its environment but what is given. */
function lease(args: readonly string[], env: Record<string, string>): Promise<CommandResult> {
  return new Promise((resolve) => {
    execFile(process.execPath, [SELVAGE_MAIN, 'lease', ...args], { env }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
  });
}

t.test('leases over a day in the life of an operator', async (t) => {
  const server = await startEtcd(t);
  await server.put(`${BASE}config`, '{"Network":"10.1.0.0/16"}');
  await server.put(BASE + KEY, VALUE, await server.grant(86_400));
  await server.put(`${BASE}subnets/rubbish`, 'x');
  // A dead endpoint before the living one, named as flanneld's users name it.
  const env = { FLANNELD_ETCD_ENDPOINTS: `http://127.0.0.1:1,${server.endpoint}` };

  await t.test('list shows what flanneld wrote, and what is malformed', async (t) => {
    const { code, stdout, stderr } = await lease(['list'], env);
    t.match({ code, stderr }, { code: 0, stderr: /^$/ });
    t.match(stdout, /^SUBNET +PUBLIC IP +BACKEND +TIME LEFT\n10\.1\.5\.0\/24 +192\.0\.2\.1 +udp +23 h/);
    t.match(stdout, /\nmalformed[^\n]*\n {2}subnets\/rubbish: the key names no subnet/);
  });

  await t.test('show finds the lease of a host', async (t) => {
    const { stdout } = await lease(['show', '192.0.2.1', '-json'], env);
    t.match(JSON.parse(stdout), [{ key: KEY, publicIp: '192.0.2.1', backendType: '', reserved: false }]);
  });

  await t.test(
    'reserve takes the time limit off, byte for byte the same value, and the old grant goes',
    async (t) => {
      t.match(await lease(['reserve', '10.1.5.0/24'], env), { code: 0, stdout: /no time limit any more/ });
      t.match(await server.get(BASE + KEY), { value: VALUE, lease: NO_LEASE });
      t.strictSame(await server.leases(), []);
    },
  );

  await t.test('reserve of a free subnet writes what flanneld would', async (t) => {
    const result = await lease(['reserve', '10.1.7.0/24', '--public-ip', '192.0.2.7'], env);
    t.match(result, { code: 0, stdout: /reserved for 192\.0\.2\.7/ });
    t.match(await server.get(`${BASE}subnets/10.1.7.0-24`), {
      value: '{"PublicIP":"192.0.2.7","PublicIPv6":null}',
      lease: NO_LEASE,
    });
  });

  await t.test('release gives the reservation a day', async (t) => {
    t.match(await lease(['release', '10.1.5.0/24'], env), { code: 0, stdout: /ends in 24 hours/ });
    const stored = await server.get(BASE + KEY);
    t.equal(stored?.value, VALUE);
    const { stdout } = await server.etcdctl(['lease', 'timetolive', stored?.lease ?? '', '-w', 'json']);
    t.match(stdout, /"granted-ttl":86400\b/);
  });

  await t.test('what is no reservation is removed only by force', async (t) => {
    const refused = await lease(['release', '10.1.5.0/24'], env);
    assertOneLine(t, refused, 1, /is leased to 192\.0\.2\.1, which may be alive.*--force/, 'without force');
    t.match(await lease(['release', '10.1.5.0/24', '--force'], env), { code: 0, stdout: /was removed/ });
    t.equal(await server.get(BASE + KEY), undefined);
    t.match(await lease(['release', 'rubbish', '--force'], env), { code: 0 });
    t.strictSame(
      (await server.list(`${BASE}subnets`)).map(({ key }) => key),
      [`${BASE}subnets/10.1.7.0-24`],
    );
  });

  await t.test('mistakes end in one line', async (t) => {
    assertOneLine(
      t,
      await lease(['show', '10.1.9.0/24'], env),
      1,
      /no lease has .*"10\.1\.9\.0\/24"/,
      'no lease',
    );
    assertOneLine(
      t,
      await lease(['reserve', '10.2.0.0/24', '--public-ip', '192.0.2.3'], env),
      2,
      /10\.2\.0\.0\/24 is none of the network's subnets \(10\.1\.1\.0\/24 to 10\.1\.255\.0\/24\)/,
      'outside the network',
    );
    const dead = { SELVAGE_ETCD_ENDPOINTS: 'http://127.0.0.1:1', ...env };
    assertOneLine(
      t,
      await lease(['list'], dead),
      1,
      /http:\/\/127\.0\.0\.1:1.*connection refused/,
      'no etcd',
    );
  });

  await t.test('a prefix without leases is told, as it may be a wrong one', async (t) => {
    const { code, stdout, stderr } = await lease(['list', '-etcd-prefix=/none', '--json'], env);
    t.match(
      { code, stdout, stderr },
      { code: 0, stdout: /^\[\]\n$/, stderr: /has no lease below \/none\n$/ },
    );
  });
});
