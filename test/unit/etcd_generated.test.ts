import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import t from 'tap';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

t.test('the generated code is what its script makes of the proto files', (t) => {
  const fresh = t.testdir();
  const kept = `${ROOT}/src/lease/etcd/gen`;
  execFileSync(`${ROOT}/scripts/generate-etcd.sh`, [fresh], { stdio: ['ignore', 'ignore', 'pipe'] });
  t.strictSame(readdirSync(kept).sort(), readdirSync(fresh).sort());
  for (const name of readdirSync(fresh)) {
    const [made, committed] = [fresh, kept].map((folder) => readFileSync(`${folder}/${name}`, 'utf8'));
    t.equal(committed, made, `${name}: npm run generate`);
  }
  t.end();
});
