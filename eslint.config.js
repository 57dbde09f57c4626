import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';

/** Imports point one way: cli -> index -> diagnosis -> agent -> workers -> {tun, encap, routing, lease, host} -> bytes. */
const forbid = (files, folders, message) => ({
  files,
  rules: {
    'no-restricted-imports': [
      'error',
      { patterns: [{ group: folders.map((folder) => `**/${folder}`), message }] },
    ],
  },
});

const LOW = ['tun', 'encap', 'routing', 'lease', 'host'];
const siblingsOf = (folder) => LOW.filter((other) => other !== folder).map((other) => `${other}/**/*.js`);

export default tseslint.config(
  {
    ignores: ['dist/', 'build/', 'node_modules/', 'coverage/', '.tap/', 'prebuilds/', 'src/lease/etcd/gen/'],
  },
  eslint.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowNullish: true },
      ],
    },
  },
  {
    // The tap functions return promises that the runner itself waits for.
    files: ['test/**/*.ts'],
    rules: { '@typescript-eslint/no-floating-promises': 'off' },
  },
  {
    files: ['**/*.{js,mjs}'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', URL: 'readonly' } },
  },
  ...LOW.map((folder) =>
    forbid(
      [`src/${folder}/**/*.ts`],
      [...siblingsOf(folder), 'workers/*.js', 'agent/*.js', 'cli/*.js', 'index.js'],
      `src/${folder} is a leaf: it imports neither its siblings nor what is above them.`,
    ),
  ),
  forbid(
    ['src/workers/**/*.ts'],
    ['agent/*.js', 'cli/*.js', 'index.js'],
    'The workers know nothing of the control plane or the command line.',
  ),
  forbid(
    ['src/agent/**/*.ts'],
    ['diagnosis/*.js', 'cli/*.js', 'index.js'],
    'The agent knows nothing of those who watch it.',
  ),
  forbid(
    ['src/diagnosis/**/*.ts'],
    ['workers/*.js', 'tun/*.js', 'native.js', 'cli/*.js', 'index.js'],
    'A diagnosis looks from outside: at what the daemon says, and at the host.',
  ),
  forbid(
    ['src/cli/**/*.ts'],
    [
      ...LOW.map((folder) => `${folder}/**/*.js`),
      'workers/*.js',
      'agent/*.js',
      'diagnosis/*.js',
      'native.js',
      'errors.js',
      'prefix.js',
      'bytes.js',
    ],
    'The daemon is a client of the library: import from ../index.js.',
  ),
);
