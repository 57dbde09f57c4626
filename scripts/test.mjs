// npm test: installs or starts what the tests need, runs every group, ends with "N passed, N failed, N skipped".
//
//   npm test                    all groups
//   npm test -- unit netns      some of them
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { ensurePackages, LAB_PACKAGES } from '../dist/test/netns/packages.js';
import { ensurePrivileges } from '../dist/test/netns/privileges.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const FUZZ_SECONDS = process.env.FUZZ_SECONDS ?? '15';

const PACKAGES = {
  native: ['g++', 'clang', 'g++-aarch64-linux-gnu', 'qemu-user'],
  unit: ['protobuf-compiler'],
  netns: [
    ...LAB_PACKAGES,
    'iperf3',
    'ethtool',
    'nftables',
    'traceroute',
    'iputils-tracepath',
    'tcpdump',
    'tshark',
    'openvpn',
    'python3',
    'etcd-server',
    'etcd-client',
    'openssl',
  ],
};

const GROUPS = {
  native: async () => {
    await ensureFuzzer();
    return [
      ['native tests under ASan and UBSan', await runTap('bash', ['test/native/run.sh'])],
      ['native tests for arm64 under qemu', await runTap('bash', ['test/native/run.sh', '--arm64'])],
      [
        `fuzzing, ${FUZZ_SECONDS} s each`,
        await runTap('bash', ['test/native/run.sh', '--fuzz', FUZZ_SECONDS]),
      ],
    ];
  },
  unit: async () => [['unit', await runTapFiles('unit')]],
  netns: async () => [['netns', await runTapFiles('netns')]],
};

/** libFuzzer is in a package of clang's own version, which Debian's clang only recommends. */
async function ensureFuzzer() {
  const probe = [
    '-c',
    'echo "extern \\"C\\" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }"' +
      ' | clang++ -fsanitize=fuzzer -x c++ - -o /dev/null 2>/dev/null',
  ];
  if (await succeeds('sh', probe)) return;
  const version = execFileSync('clang++', ['-dumpversion'], { encoding: 'utf8' }).split('.')[0];
  const install = `apt-get install -y -qq --no-install-recommends libclang-rt-${version}-dev`;
  if (process.getuid() === 0 && (await succeeds('sh', ['-c', install])) && (await succeeds('sh', probe)))
    return;
  throw new Error(`libFuzzer is not installed: as root, run ${install}`);
}

function succeeds(command, args) {
  return run(command, args).then(
    () => true,
    () => false,
  );
}

/** Runs a command that prints TAP, and counts its points. */
function runTap(command, args) {
  return new Promise((resolve) => {
    const counts = { passed: 0, failed: 0, skipped: 0 };
    const child = spawn(command, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] });
    let rest = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) countLine(line, counts);
    });
    child.on('close', (code) => {
      // A run that printed no failed point and yet failed has not run to its end.
      if (code !== 0 && counts.failed === 0) counts.failed++;
      resolve(counts);
    });
  });
}

/** tap closes with its own sums; other programs print their points at the left margin. */
function countLine(line, counts) {
  const sums = /^# \{ total: .*\}$/.exec(line);
  const point = /^(ok|not ok)\b(.*)$/.exec(line);
  if (sums !== null) {
    const sum = (name) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(line)?.[1] ?? 0);
    counts.passed = sum('pass');
    counts.failed = sum('fail');
    counts.skipped = sum('skip') + sum('todo');
  } else if (point !== null) {
    if (/# SKIP/i.test(point[2])) counts.skipped++;
    else if (point[1] === 'ok') counts.passed++;
    else counts.failed++;
  }
  // Points that passed inside a file are counted, not shown; all that tells of a failure is shown.
  if (!/^\s+(ok|1\.\.)/.test(line) && line.trim() !== '') console.log(line);
}

async function runTapFiles(folder) {
  const directory = `dist/test/${folder}`;
  const files = readdirSync(`${ROOT}/${directory}`).filter((name) => name.endsWith('.test.js'));
  if (!existsSync(`${ROOT}/.tap/plugins`)) await run('npx', ['tap', 'build']);
  return runTap('npx', [
    'tap',
    'run',
    '--disable-coverage',
    '--jobs=1',
    '--reporter=tap',
    ...files.map((name) => `${directory}/${name}`),
  ]);
}

function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: ROOT, stdio: ['ignore', 'ignore', 'inherit'] });
    child.on('close', (code) =>
      code === 0 ? resolve() : reject(new Error(`${command} ended with ${code}`)),
    );
  });
}

const asked = process.argv.slice(2);
const unknown = asked.find((name) => !(name in GROUPS));
if (unknown !== undefined) {
  console.error(`there is no group '${unknown}': the groups are ${Object.keys(GROUPS).join(', ')}`);
  process.exit(2);
}
const chosen = asked.length > 0 ? asked : Object.keys(GROUPS);
ensurePackages(chosen.flatMap((name) => PACKAGES[name])); // before the next step: root of a user namespace cannot install
if (chosen.includes('netns')) await ensurePrivileges(); // without root, all of this runs again in a user namespace
const total = { passed: 0, failed: 0, skipped: 0 };
for (const name of chosen) {
  const startedAt = Date.now();
  console.log(`\n=== ${name}`);
  for (const [title, counts] of await GROUPS[name]()) {
    for (const key of Object.keys(total)) total[key] += counts[key];
    console.log(`--- ${title}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  }
  console.log(`--- ${name} took ${Math.round((Date.now() - startedAt) / 1000)} s`);
}
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
