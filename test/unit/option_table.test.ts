import t, { type Test } from 'tap';

import { formatOptions, HELP_COLUMNS, reflow, wrap } from '../../src/cli/option_help.js';
import {
  choiceOption,
  type CliOption,
  type CliValues,
  environmentNames,
  integerOption,
  readOptions,
} from '../../src/cli/option_table.js';
import { refusesUsage } from './refuses_usage.js';

const TABLE: readonly CliOption[] = [
  { name: 'count', value: 'N', fallback: '1', help: 'a number' },
  { name: 'iface', value: 'NAME', repeatable: true, flanneld: true, help: 'a name' },
  { name: 'ip-masq', flanneld: true, help: 'a switch' },
  { name: 'forward', fallback: 'true', help: 'a switch that is on' },
  { name: 'public-ip', value: 'ADDRESS', flanneld: true, help: 'an address' },
  { name: 'password', value: 'WORD', secret: true, help: 'a secret' },
  { name: 'log_backtrace_at', value: 'PLACE', flanneld: true, help: 'an underscore' },
  { name: 'version', commandLineOnly: true, help: 'a switch that no variable sets' },
];

function read(args: readonly string[], environment: NodeJS.ProcessEnv = {}): CliValues {
  return readOptions(TABLE, args, environment);
}

function refuses(
  t: Test,
  args: readonly string[],
  message: RegExp,
  environment: NodeJS.ProcessEnv = {},
): void {
  refusesUsage(t, args, message, () => read(args, environment));
}

t.test("values are read in Go's syntax and in GNU's", (t) => {
  for (const args of [['-count', '7'], ['-count=7'], ['--count', '7'], ['--count=7']]) {
    const values = read(args);
    t.equal(values.text('count'), '7', args.join(' '));
    t.ok(values.isGiven('count'));
    t.strictSame(values.positionals, []);
  }
  t.equal(read(['--public-ip=a=b']).text('public-ip'), 'a=b', 'only the first = parts name and value');
  t.equal(read(['--count', '1', '--count', '2']).text('count'), '2', 'the last one counts');
  t.end();
});

t.test("a switch takes Go's words for true and false behind =, and no argument", (t) => {
  for (const args of [['-ip-masq'], ['--ip-masq=1'], ['-ip-masq=t'], ['-ip-masq=TRUE'], ['--ip-masq=True']]) {
    t.equal(read(args).isOn('ip-masq'), true, args.join(' '));
  }
  for (const word of ['0', 'f', 'F', 'false', 'FALSE', 'False', 'off', 'no']) {
    const values = read([`-forward=${word}`]);
    t.equal(values.isOn('forward'), false, word);
    t.ok(values.isGiven('forward'), 'a switch that is turned off was given');
  }
  t.ok(read([]).isOn('forward'), 'on by default');
  t.notOk(read([]).isGiven('forward'));
  refuses(t, ['--ip-masq=maybe'], /^--ip-masq: "maybe" is not one of true, 1, t, yes, on, false,/);
  refuses(t, ['--ip-masq='], /^--ip-masq: "" is not one of/);
  refuses(t, ['--ip-masq', 'false'], /^--ip-masq takes its value behind "=": --ip-masq=false$/);
  t.end();
});

t.test('a repeatable option keeps all its values in order', (t) => {
  const values = read(['-iface', 'eth0', '--count=2', '--iface=eth1', '-iface', 'eth0']);
  t.strictSame(values.texts('iface'), ['eth0', 'eth1', 'eth0']);
  t.strictSame(read([]).texts('iface'), []);
  t.strictSame(
    read(['-iface', 'eth0'], { SELVAGE_IFACE: 'eth9' }).texts('iface'),
    ['eth0'],
    'the environment adds nothing to the command line',
  );
  t.end();
});

t.test('arguments that are no options are kept apart, and all that follow --', (t) => {
  t.strictSame(read(['a', '--count', '2', 'b', '-']).positionals, ['a', 'b', '-']);
  t.strictSame(read(['a', '--', '--count', '-x']).positionals, ['a', '--count', '-x']);
  t.end();
});

t.test('help ends the reading, whatever follows or is wrong in the environment', (t) => {
  for (const word of ['-h', '--help', '-help']) {
    t.ok(read([word, '--no-such-option'], { SELVAGE_IP_MASQ: 'maybe' }).helpAsked, word);
  }
  t.notOk(read(['--', '--help']).helpAsked);
  t.end();
});

t.test('an unknown option names the nearest one, and never its value', (t) => {
  refuses(t, ['--cuont=7'], /^there is no option --cuont; did you mean --count\?$/);
  refuses(t, ['-ip_masq'], /did you mean --ip-masq\?$/);
  refuses(t, ['--frobnicate'], /^there is no option --frobnicate$/);
  refuses(t, ['--passwrod=hunter2'], /^there is no option --passwrod; did you mean --password\?$/);
  refuses(t, ['---count'], /^"---count" is not an option$/);
  refuses(t, ['-=hunter2'], /^"-" is not an option$/);
  t.end();
});

t.test('a value that is missing is not taken from the next option', (t) => {
  refuses(t, ['--count'], /^--count needs a value: --count N$/);
  refuses(t, ['--count', '--ip-masq'], /^--count needs a value/);
  refuses(t, ['--count', '-iface=x'], /^--count needs a value/);
  t.equal(read(['--password', '-x-']).text('password'), '-x-', 'a value may begin with a dash');
  t.end();
});

t.test("an empty value is absent for flanneld's flags without default, and refused for others", (t) => {
  t.notOk(read(['--public-ip=']).isGiven('public-ip'));
  t.strictSame(read(['-iface', '', '-iface', 'eth0']).texts('iface'), ['eth0']);
  refuses(t, ['--count='], /^--count needs a value/);
  refuses(t, ['--password', ''], /^--password needs a value/);
  t.end();
});

t.test('the command line wins over SELVAGE_, that over FLANNELD_, that over the default', (t) => {
  const all = { SELVAGE_PUBLIC_IP: 's', FLANNELD_PUBLIC_IP: 'f' };
  t.equal(read(['-public-ip', 'c'], all).text('public-ip'), 'c');
  t.equal(read([], all).text('public-ip'), 's');
  t.equal(read([], { ...all, SELVAGE_PUBLIC_IP: '' }).text('public-ip'), 'f', 'empty counts as absent');
  t.equal(read([], { FLANNELD_PUBLIC_IP: '' }).text('public-ip'), undefined);
  t.ok(read([], all).isGiven('public-ip'));
  t.equal(read([], { SELVAGE_COUNT: '3' }).text('count'), '3');
  t.equal(
    read([], { FLANNELD_COUNT: '3' }).text('count'),
    '1',
    "only flanneld's own flags have such a variable",
  );
  t.equal(read([], { FLANNELD_LOG_BACKTRACE_AT: 'x:1' }).text('log_backtrace_at'), 'x:1');
  t.equal(read([], { SELVAGE_VERSION: 'true' }).isOn('version'), false);
  t.end();
});

t.test('a switch in the environment is on or off; anything else is an error that names the variable', (t) => {
  t.equal(read([], { FLANNELD_IP_MASQ: 'true' }).isOn('ip-masq'), true);
  t.equal(read([], { SELVAGE_IP_MASQ: 'false', FLANNELD_IP_MASQ: 'true' }).isOn('ip-masq'), false);
  refuses(t, [], /^FLANNELD_IP_MASQ: "maybe" is not one of/, { FLANNELD_IP_MASQ: 'maybe' });
  t.equal(read(['--ip-masq'], { FLANNELD_IP_MASQ: 'maybe' }).isOn('ip-masq'), true, 'what loses is not read');
  t.end();
});

t.test('a wrong value is told with the name that the user wrote', (t) => {
  const number = (values: CliValues): number | undefined => integerOption(values, 'count', 1, 64);
  t.equal(number(read(['--count=64'])), 64);
  for (const text of ['0', '65', '1.5', '-1', '1e1', ' 1', '0x10', '99999999999']) {
    t.throws(() => number(read([`-count=${text}`])), {
      code: 'ERR_USAGE',
      message: `--count: "${text}" is not a whole number from 1 to 64`,
    });
  }
  t.throws(() => number(read([], { SELVAGE_COUNT: 'many' })), { message: /^SELVAGE_COUNT: "many" is not/ });
  t.equal(integerOption(read([]), 'public-ip', 0, 1), undefined);
  t.equal(choiceOption(read(['--count=a']), 'count', ['a', 'b']), 'a');
  t.throws(() => choiceOption(read([], { SELVAGE_COUNT: 'c' }), 'count', ['a', 'b']), {
    code: 'ERR_USAGE',
    message: 'SELVAGE_COUNT: "c" is not one of a, b',
  });
  t.end();
});

t.test('every option has the variables that set it', (t) => {
  const names = Object.fromEntries(TABLE.map((option) => [option.name, environmentNames(option)]));
  t.strictSame(names['count'], ['SELVAGE_COUNT']);
  t.strictSame(names['ip-masq'], ['SELVAGE_IP_MASQ', 'FLANNELD_IP_MASQ']);
  t.strictSame(names['version'], []);
  t.end();
});

t.test("help stands under headings, aligned, with defaults, and flanneld's flags are marked", (t) => {
  const text = formatOptions([
    { name: 'a', heading: 'First', value: 'X', fallback: '1', help: 'some words '.repeat(20).trim() },
    { name: 'b', heading: 'Second', repeatable: true, flanneld: true, help: 'more' },
    { name: 'a-name-that-is-so-long-that-it-has-its-own-line', heading: 'Second', help: 'last' },
  ]);
  const lines = text.split('\n');
  t.equal(lines[0], 'First:');
  t.match(lines[1], /^ {2}--a X {27}some words/);
  t.match(text, /words \[1\]\n\nSecond:\n\* --b {29}more \(may be repeated\)\n/);
  t.strictSame(lines.slice(-2), [
    '  --a-name-that-is-so-long-that-it-has-its-own-line',
    `${' '.repeat(34)}last`,
  ]);
  for (const line of lines) t.ok(line.length <= HELP_COLUMNS, line);
  t.end();
});

t.test('a paragraph breaks at blanks; one with indented lines stays', (t) => {
  t.strictSame(wrap('aa bb ccc', 5), ['aa bb', 'ccc']);
  t.strictSame(wrap('aaaaaaaa b', 5), ['aaaaaaaa', 'b']);
  t.equal(reflow('aa\nbb cc\n\nx:\n  y z', 5), 'aa bb\ncc\n\nx:\n  y z');
  t.end();
});
