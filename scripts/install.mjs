// npm install: takes a prebuilt addon that fits this system, or builds one; and builds raw-socket where npm could not.
//
// Node's headers come with Node nearly everywhere, so they are looked for beside it first; node-gyp alone would download them,
// and fail where only a package registry can be reached.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const rawSocket = join(root, 'node_modules/raw-socket');
const prefix = resolve(process.execPath, '../..');
const env = { ...process.env };
const hasHeaders = existsSync(join(prefix, 'include/node/node_api.h'));
if (env.npm_config_nodedir === undefined && hasHeaders) env.npm_config_nodedir = prefix;

const { status, error } = spawnSync('node-gyp-build', { env, stdio: 'inherit' });
if (error !== undefined) console.error(`node-gyp-build: ${error.message}`);
process.exitCode = status ?? 1;

// npm takes an optional package away whose own build failed, as it does without headers. As a dependency of another package
// it is left at that: the tree is not ours to change.
const isRoot = resolve(env.npm_config_local_prefix ?? '') === resolve(root);
if (process.exitCode === 0 && isRoot && hasHeaders && !existsSync(rawSocket)) buildRawSocket();

/** What `selvage check` sends echoes with. Without it the command says so and does what is left. */
function buildRawSocket() {
  const run = (command, args, cwd) => spawnSync(command, args, { cwd, env, encoding: 'utf8' }).status === 0;
  const quiet = ['--ignore-scripts', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'];
  const built =
    run('npm', ['install', ...quiet], root) &&
    existsSync(rawSocket) &&
    run('node-gyp', ['rebuild'], rawSocket);
  if (!built) console.warn("raw-socket could not be built: 'selvage check' will send no echoes");
}
