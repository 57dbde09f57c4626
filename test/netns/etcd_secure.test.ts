/**
 * Daemons whose etcd asks who they are: users and passwords, and certificates. How the client takes each refusal is in
 * etcd_security.test.ts; here is what becomes of the daemon.
 */
import { readFileSync, rmSync } from 'node:fs';

import t, { type Test } from 'tap';

import { readAgentRoutes } from '../../src/index.js';
import { type Certificates, makeCertificates } from './certificates.js';
import { answers, SECONDS, untilAway, untilHealthy } from './daemon_checks.js';
import type { EtcdServer } from './etcd_server.js';
import { leaseKey, leaseValue, PREFIX, startNetwork } from './flannel_network.js';
import { Scenario } from './scenario.js';
import { daemonFiles, type SelvageDaemon, type SelvageOptions } from './selvage.js';
import { until } from './until.js';

const USER = 'flannel';
const PASSWORD = 'correct-horse-7';

t.setTimeout(180_000);

t.test('etcd with users', async (t) => {
  const scenario = await Scenario.open(t, { hosts: 2, controlPlane: true, packages: ['nftables'] });
  const { lab } = scenario;
  const etcd = await startNetwork(lab);
  await etcd.addUser(USER, PASSWORD, `${PREFIX}/`);
  await etcd.addUser('stranger', PASSWORD, '/elsewhere/');
  await etcd.enableAuth();
  const options = optionsOf(etcd, ['--etcd-username', USER], { FLANNELD_ETCD_PASSWORD: PASSWORD });

  await t.test('a wrong password is said with the user, and waited over until it is right', async (t) => {
    const daemon = await refused(t, scenario, options, {
      env: { FLANNELD_ETCD_PASSWORD: 'new-password' },
      says: /^waiting: etcd http:\S+: wrong password, or no such user "flannel": check etcd-username and/,
    });
    t.notMatch(daemon.child.stderr, /new-password/, 'the password is not');
    await setPassword(etcd, 'new-password');
    await daemon.logged(({ msg }) => msg === 'ready', SECONDS);
    await daemon.stop();
    await setPassword(etcd, PASSWORD);
  });

  await t.test(
    'a missing permission is said with the prefix, and waited over until it is there',
    async (t) => {
      const daemon = await refused(
        t,
        scenario,
        optionsOf(etcd, ['--etcd-username', 'stranger'], options.env),
        {
          says: /permission denied: user "stranger" needs to read and write what is below \/coreos\.com\/network\//,
        },
      );
      const permission = ['readwrite', '--prefix', `${PREFIX}/`];
      await etcd.etcdctl(['role', 'grant-permission', 'stranger', ...permission]);
      await daemon.logged(({ msg }) => msg === 'ready', SECONDS);
      await daemon.stop();
    },
  );

  await t.test('the right user joins, and the password shows nowhere', async (t) => {
    const daemons = await Promise.all([scenario.start(0, options), scenario.start(1, options)]);
    await Promise.all(daemons.map(untilHealthy));
    t.ok(await answers(lab.pod(0), lab.pod(1).address));
    for (const { pid, child } of daemons) {
      t.notMatch(readFileSync(`/proc/${pid}/cmdline`, 'utf8'), PASSWORD);
      t.notMatch(child.stderr, PASSWORD);
    }
    await t.test('etcd started again, which forgets its tokens: the daemons log in again', async (t) => {
      await etcd.restart();
      await etcd.put(leaseKey('10.1.70.0/24'), leaseValue('192.168.100.70'));
      await Promise.all(daemons.map((daemon) => untilRoute(daemon, '10.1.70.0/24')));
      await Promise.all(daemons.map(untilHealthy));
      t.ok(await answers(lab.pod(0), lab.pod(1).address));
    });
    await t.test(
      'a password that is changed under way: said, the routes stay, and all is well with the old one',
      async (t) => {
        await setPassword(etcd, 'changed');
        await etcd.restart();
        for (const daemon of daemons) {
          const { message } = await untilAway(daemon);
          await until('the refusal in the status', async () =>
            /wrong password, or no such user "flannel"/.test((await untilAway(daemon)).message),
          );
          t.notMatch(message, PASSWORD);
        }
        t.ok(await answers(lab.pod(0), lab.pod(1).address), 'frames are carried');
        await setPassword(etcd, PASSWORD);
        await etcd.put(leaseKey('10.1.71.0/24'), leaseValue('192.168.100.71'));
        await Promise.all(daemons.map((daemon) => untilRoute(daemon, '10.1.71.0/24')));
        await Promise.all(daemons.map(untilHealthy));
      },
    );
  });
});

t.test('etcd with TLS', async (t) => {
  const scenario = await Scenario.open(t, { hosts: 2, controlPlane: true, packages: ['nftables'] });
  const { lab } = scenario;
  const certificates = makeCertificates(lab.directory, [lab.controlPlane.address]);
  const foreign = makeCertificates(lab.directory, [], 'foreign');
  const caFile = ['--etcd-cafile', certificates.ca.cert];

  await t.test('that shows a certificate', async (t) => {
    const etcd = await startNetwork(lab, { tls: { certificates } });
    await t.test('of an authority that is not ours: said, and waited', async (t) => {
      const ofAnother = optionsOf(etcd, ['--etcd-cafile', foreign.ca.cert]);
      await ended(
        refused(t, scenario, ofAnother, { says: /unknown authority: is etcd-cafile the right one\?/ }),
      );
      await ended(refused(t, scenario, optionsOf(etcd), { says: /unknown authority|self-signed/ }));
    });
    await t.test('is joined with its authority alone', async (t) => {
      const daemon = await scenario.start(0, optionsOf(etcd, caFile));
      t.match((await untilHealthy(daemon)).source, { store: etcd.endpoint.replace(/^/, 'etcd ') });
      await daemon.stop();
    });
    await etcd.close();
  });

  await t.test('that asks for a certificate', async (t) => {
    const etcd = await startNetwork(lab, { tls: { certificates, clientAuth: true } });
    const options = optionsOf(etcd, [...caFile, ...clientFlags(certificates)]);
    await t.test('none, or one of another authority: said, and waited', async (t) => {
      const says =
        /does not accept our client certificate, or wants one: check etcd-certfile and etcd-keyfile/;
      await ended(refused(t, scenario, optionsOf(etcd, caFile), { says }));
      await ended(refused(t, scenario, optionsOf(etcd, [...caFile, ...clientFlags(foreign)]), { says }));
    });
    const daemons = await Promise.all([scenario.start(0, options), scenario.start(1, options)]);
    await Promise.all(daemons.map(untilHealthy));
    t.ok(await answers(lab.pod(0), lab.pod(1).address), 'is joined with one');
    await t.test('all certificates renewed on disk, the authority too: the daemons go on', async (t) => {
      await etcd.stop();
      await Promise.all(daemons.map(untilAway));
      makeCertificates(lab.directory, [lab.controlPlane.address]);
      await etcd.restart();
      await etcd.put(leaseKey('10.1.70.0/24'), leaseValue('192.168.100.70'));
      await Promise.all(daemons.map((daemon) => untilRoute(daemon, '10.1.70.0/24')));
      await Promise.all(daemons.map(untilHealthy));
      t.ok(await answers(lab.pod(0), lab.pod(1).address));
    });
  });
});

function optionsOf(
  etcd: EtcdServer,
  extraArgs: readonly string[] = [],
  env: SelvageOptions['env'] = {},
): SelvageOptions & { readonly env: Readonly<Record<string, string>> } {
  return { etcd: etcd.endpoint, extraArgs, env };
}

function clientFlags({ client }: Certificates): string[] {
  return ['--etcd-certfile', client.cert, '--etcd-keyfile', client.key];
}

/** Starts a daemon that knows nothing yet on the first host, and that etcd refuses; asserts what it says, and that it goes on trying. */
async function refused(
  t: Test,
  scenario: Scenario,
  options: SelvageOptions,
  { says, env }: { readonly says: RegExp; readonly env?: SelvageOptions['env'] },
): Promise<SelvageDaemon> {
  // With the routes of an earlier run it would begin to forward.
  rmSync(daemonFiles(scenario.lab, 0).state, { recursive: true, force: true });
  const daemon = await scenario.start(0, {
    ...options,
    ...(env === undefined ? {} : { env }),
    started: 'spawned',
  });
  const { level, msg } = await daemon.logged(({ msg }) => msg.startsWith('waiting: '), SECONDS);
  t.match(msg, says);
  t.equal(level, 'warn');
  const status = await daemon.status();
  t.match(status, { readiness: { ready: false }, source: { connection: { connected: false } } });
  return daemon;
}

async function ended(starting: Promise<SelvageDaemon>): Promise<void> {
  await (await starting).stop();
}

async function setPassword(etcd: EtcdServer, password: string): Promise<void> {
  await etcd.etcdctl(['user', 'passwd', USER, '--interactive=false'], { input: `${password}\n` });
}

async function untilRoute(daemon: SelvageDaemon, subnet: string): Promise<void> {
  await until(
    `${daemon.child.title} to have a route to ${subnet}`,
    async () => (await readAgentRoutes(daemon.files.socket)).some(({ prefix }) => prefix === subnet),
    SECONDS,
  );
}
