/** The documentation says what the code says. */

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import t from 'tap';

import { environmentNames } from '../../src/cli/option_table.js';
import { RUN_OPTIONS } from '../../src/cli/run_options.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const NOT_OURS = new Set(['node_modules', 'build', 'dist', 'coverage', 'prebuilds']);

/** Paths of our files with these endings, from the root, in order. */
function filesOf(folder: string, endings: readonly string[]): string[] {
  const entries = readdirSync(join(ROOT, folder), { withFileTypes: true });
  const ours = entries.filter(({ name }) => !name.startsWith('.') && !NOT_OURS.has(name));
  return ours
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return filesOf(path, endings);
      return endings.some((ending) => path.endsWith(ending)) ? [path] : [];
    })
    .sort();
}

function textOf(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** Text without code, in which a bracket is no link and a sharp no heading. */
function proseOf(markdown: string): string {
  return markdown.replace(/^```[^]*?^```/gm, '').replace(/`[^`\n]*`/g, 'x');
}

/** Anchors that the headings of a page make: lower case, punctuation gone, blanks to hyphens. */
function anchorsOf(markdown: string): string[] {
  const headings = markdown.replace(/^```[^]*?^```/gm, '').matchAll(/^#+ (.*)$/gm);
  return Array.from(headings, ([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

/** Targets of a page's links that lie in this repository. */
function relativeLinks(markdown: string): string[] {
  const targets = Array.from(proseOf(markdown).matchAll(/\]\(([^)\s]+)\)/g), ([, target]) => target!);
  return targets.filter((target) => !/^[a-z]+:/.test(target));
}

function leadsSomewhere(page: string, link: string): boolean {
  const [path, anchor] = link.split('#');
  const target = path === '' ? page : join(dirname(page), path!);
  if (!existsSync(join(ROOT, target))) return false;
  return anchor === undefined || anchorsOf(textOf(target)).includes(anchor);
}

t.test('the generated pages are what the code makes of them now', (t) => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/docs.mjs', '--check'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  t.equal(stderr, '');
  t.equal(status, 0);
  t.end();
});

t.test('the README has every option of the daemon and its environment variables', (t) => {
  const rows = textOf('README.md').split('\n');
  for (const option of RUN_OPTIONS) {
    const row = rows.find((line) => line.startsWith(`| \`--${option.name}\` |`));
    t.ok(row, `--${option.name} has a row`);
    for (const variable of environmentNames(option)) t.match(row, `\`${variable}\``);
  }
  t.end();
});

t.test('docs/errors.md has every error code there is, and no other', (t) => {
  const source = filesOf('src', ['.ts'])
    .concat(filesOf('native', ['.cc']))
    .map(textOf)
    .join('\n');
  const codes = Array.from(source.matchAll(/['"](ERR_[A-Z0-9_]+)['"]/g), ([, code]) => code!);
  const raised = new Set(codes.filter((code) => !/^ERR_(TLS|SSL)_/.test(code))); // those are Node's own
  const rows = textOf('docs/errors.md').matchAll(/^\| `(ERR_[A-Z0-9_]+)` \|/gm);
  const documented = Array.from(rows, ([, code]) => code!);
  t.ok(raised.size > 10, 'codes were found in the source');
  t.same([...documented].sort(), [...raised].sort());
  t.end();
});

t.test('docs/errors.md has every remedy of a system error, and no other', (t) => {
  const source = textOf('native/set_up_error.cc').matchAll(/\{"(\w+)", (E\w+),/g);
  const rows = textOf('docs/errors.md').matchAll(/^\| `(\w+)` \| `(E\w+)` \|/gm);
  const inSource = Array.from(source, ([, syscall, code]) => `${syscall} ${code}`);
  const documented = Array.from(rows, ([, syscall, code]) => `${syscall} ${code}`);
  t.ok(inSource.length > 10, 'remedies were found in the source');
  t.same(documented.sort(), inSource.sort());
  t.end();
});

t.test('every link between our pages leads somewhere', (t) => {
  const pages = filesOf('.', ['.md']);
  t.ok(pages.length > 20, 'pages were found');
  for (const page of pages) {
    for (const link of relativeLinks(textOf(page))) t.ok(leadsSomewhere(page, link), `${page}: ${link}`);
  }
  t.end();
});

t.test('a link that leads nowhere would be noticed', (t) => {
  t.same(relativeLinks('[a](b.md#c) `[d](e)` [f](https://example.org)'), ['b.md#c']);
  t.ok(leadsSomewhere('README.md', 'docs/errors.md#system-errors'));
  t.notOk(leadsSomewhere('README.md', 'docs/errors.md#no-such-heading'));
  t.notOk(leadsSomewhere('README.md', 'docs/no-such-page.md'));
  t.end();
});

t.test('files that pages and comments name are there', (t) => {
  const named = /\b((?:src|native|test|bench|scripts|examples|docs)\/[\w./-]*\w\.(?:ts|cc|h|mjs|md|sh))\b/g;
  const files = filesOf('.', ['.md']).concat(filesOf('src', ['.ts']));
  for (const file of files) {
    for (const [, path] of textOf(file).matchAll(named)) {
      const found = existsSync(join(ROOT, path!)) || existsSync(join(ROOT, dirname(file), path!));
      t.ok(found, `${file} names ${path}`);
    }
  }
  t.end();
});

t.test('every folder of the tree has a page, and examples in pages are those that are run', (t) => {
  const layers = readdirSync(join(ROOT, 'src'), { withFileTypes: true }).filter((entry) =>
    entry.isDirectory(),
  );
  for (const folder of [...layers.map(({ name }) => `src/${name}`), 'native', 'bench', 'test']) {
    t.ok(existsSync(join(ROOT, folder, 'README.md')), `${folder}/README.md`);
  }
  const shown = { 'README.md': 'examples/embed.mjs', 'docs/leases.md': 'examples/agent.mjs' };
  for (const [page, file] of Object.entries(shown)) {
    const [, example] = /^```js\n([^]*?)^```$/m.exec(textOf(page)) ?? [];
    t.equal(example, textOf(file), page);
  }
  t.end();
});
