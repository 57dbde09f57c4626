// npm install: takes a prebuilt addon that fits this system, or builds one.
//
// Node's headers come with Node nearly everywhere, so they are looked for beside it first; node-gyp alone would download them,
// and fail where only a package registry can be reached.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

const prefix = resolve(process.execPath, '../..');
const env = { ...process.env };
if (env.npm_config_nodedir === undefined && existsSync(join(prefix, 'include/node/node_api.h'))) {
  env.npm_config_nodedir = prefix;
}
const { status, error } = spawnSync('node-gyp-build', { env, stdio: 'inherit' });
if (error !== undefined) console.error(`node-gyp-build: ${error.message}`);
process.exitCode = status ?? 1;
