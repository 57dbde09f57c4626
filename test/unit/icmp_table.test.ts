import { existsSync, readFileSync } from 'node:fs';

import t from 'tap';

const ROOT = new URL('../../../', import.meta.url);

interface Rule {
  readonly rule: string;
  readonly where: string;
  readonly test: string;
}

const rules = readFileSync(new URL('docs/icmp.md', ROOT), 'utf8')
  .split('\n')
  .filter((line) => /^\| (?!section|---)/.test(line))
  .map((line): Rule => {
    const [section, rule, where, test, ...more] = line.split('|').slice(1, -1);
    if (test === undefined || more.length > 0) throw new Error(`not four cells: ${line}`);
    return { rule: `${section!.trim()}: ${rule!.trim()}`, where: where!.trim(), test: test.trim() };
  });

/** Why a rule needs no test of ours. */
const NOT_OURS = /not applicable|the kernel|never sent|no redirect|not done|superseded/;

const exists = (path: string): boolean => existsSync(new URL(path, ROOT));

const quoted = (cell: string, pattern: RegExp): string[] =>
  Array.from(cell.matchAll(/`([^`]+)`/g), ([, text]) => text!).filter((text) => pattern.test(text));

t.test('every rule of docs/icmp.md is held by a test, or is none of ours', (t) => {
  t.ok(rules.length > 60, `${rules.length} rules were found`);
  for (const { rule, where, test } of rules) t.ok(test !== '' || NOT_OURS.test(where), rule);
  t.end();
});

t.test('every file that docs/icmp.md names is there', (t) => {
  for (const { rule, where } of rules) {
    for (const file of quoted(where, /\.ts$/)) {
      t.ok(exists(file.includes('/') ? file : `src/encap/${file}`), `${rule}: ${file}`);
    }
  }
  t.end();
});

t.test('every test that docs/icmp.md names is there', (t) => {
  for (const { rule, test } of rules) {
    for (const name of quoted(test, /^\w+$/)) t.ok(exists(`test/unit/${name}.test.ts`), `${rule}: ${name}`);
    for (const name of quoted(test, /^test\/native\//)) t.ok(exists(name), `${rule}: ${name}`);
    for (const name of quoted(test, /^test\/netns\//)) t.ok(exists(`${name}.test.ts`), `${rule}: ${name}`);
  }
  t.end();
});
