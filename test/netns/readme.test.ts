/**
 * The commands of the README's first screen, as they stand there: joining a flannel network, and going back.
 *
 * ```text
 *  control plane: etcd, with the lease that flanneld made for host1
 *  host1: the README's commands        host2: selvage, as any other host
 * ```
 *
 * Only the endpoint and the interface are other ones, and systemctl and npm are stand-ins that write down what they are asked.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import t from 'tap';

import { searchPath } from './child.js';
import { EtcdServer } from './etcd_server.js';
import { Scenario } from './scenario.js';
import { SELVAGE_MAIN } from './selvage.js';
import { until } from './until.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const LEASE = '/coreos.com/network/subnets/10.1.1.0-24';
const LEASE_VALUE = '{"PublicIP":"192.168.100.1","PublicIPv6":null}';
/** Directories that the commands use by default, here private to the shell that runs them. */
const DEFAULT_DIRECTORIES = ['/run/selvage', '/run/flannel', '/var/lib/selvage'];

t.setTimeout(120_000);

/** The commands between two markers of the README. */
function commands(section: string): string[] {
  const text = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const block = new RegExp(
    `<!-- ${section}:begin -->\\s*\`\`\`sh\\n([^]*?)\`\`\`\\s*<!-- ${section}:end -->`,
  );
  const lines = block.exec(text)?.[1]?.trim().split('\n') ?? [];
  return lines.map((line) => line.replace(/\s+#.*$/, ''));
}

function writeProgram(path: string, lines: readonly string[]): void {
  writeFileSync(path, `#!/bin/bash\n${lines.join('\n')}\n`);
  chmodSync(path, 0o755);
}

t.test('join a flannel network, and go back', async (t) => {
  const scenario = await Scenario.open(t, { controlPlane: true, packages: ['nftables'] });
  const { lab } = scenario;
  await lab.setPodMtu(1472);
  const { namespace, address } = lab.controlPlane;
  const etcd = await EtcdServer.start({ host: namespace, address });
  t.teardown(() => etcd.close());
  await etcd.put('/coreos.com/network/config', '{"Network":"10.1.0.0/16"}');
  await etcd.put(LEASE, LEASE_VALUE);
  await scenario.start(1, { etcd: etcd.endpoint });

  const place = (name: string): string => join(lab.directory, name);
  const programs = place('programs');
  mkdirSync(programs);
  writeProgram(join(programs, 'selvage'), [`exec '${process.execPath}' '${SELVAGE_MAIN}' "$@"`]);
  for (const name of ['systemctl', 'npm']) {
    writeProgram(join(programs, name), [`echo "${name} $*" >> '${place('asked')}'`]);
  }
  const here = (line: string): string =>
    line.replace('http://10.0.0.1:2379', etcd.endpoint).replace('eth0', lab.host(0).underlay);
  const [join_, back] = [commands('join').map(here), commands('back').map(here)];
  t.ok(join_.length >= 3 && back.length >= 3, 'the README has both blocks');
  const patient = join_.flatMap((line) =>
    line.startsWith('selvage status')
      ? ['until selvage status > /dev/null 2>&1; do sleep 0.1; done', `${line} > '${place('status')}'`]
      : [line],
  );
  writeProgram(place('commands'), [
    ...DEFAULT_DIRECTORIES.flatMap((path) => [`mkdir -p ${path}`, `mount -t tmpfs none ${path}`]),
    ...patient,
    `cp /run/flannel/subnet.env '${place('subnet.env')}'`,
    `touch '${place('joined')}'; until [ -e '${place('leave')}' ]; do sleep 0.1; done`,
    ...back,
    'wait',
  ]);
  const shell = lab.host(0).spawn('unshare', ['-m', place('commands')], {
    env: { PATH: `${programs}:${searchPath()}` },
  });

  await until('the commands to have joined', () => existsSync(place('joined')) || !shell.running, 60);
  t.ok(shell.running, `the commands went on: ${shell.stderr}`);
  const status = readFileSync(place('status'), 'utf8');
  t.match(status, /^health +(ok|degraded)/m, 'selvage status tells');
  await until('a ping between the pods', async () => {
    const { code } = await lab.pod(0).exec('ping', ['-c1', '-W1', lab.pod(1).address], { mayFail: true });
    return code === 0;
  });
  t.match(readFileSync(place('subnet.env'), 'utf8'), 'FLANNEL_SUBNET=10.1.1.1/24', 'the subnet of before');
  const rules = (): Promise<string> =>
    lab
      .host(0)
      .exec('nft', ['list', 'tables'])
      .then(({ stdout }) => stdout);
  t.match(await rules(), 'table inet selvage-flannel0');

  writeFileSync(place('leave'), '');
  const { code } = await shell.exited;
  t.equal(code, 0, `the commands went back: ${shell.stderr}`);
  t.notMatch(await rules(), 'selvage');
  const device = await lab.host(0).exec('ip', ['link', 'show', 'flannel0'], { mayFail: true });
  t.not(device.code, 0, 'flannel0 is gone');
  t.equal((await etcd.get(LEASE))?.value, LEASE_VALUE, 'the lease is there for flanneld');
  t.equal(
    readFileSync(place('asked'), 'utf8').trim(),
    ['npm install', 'npm link', 'systemctl stop flanneld', 'systemctl start flanneld'].join('\n'),
  );
});
