import t, { type Test } from 'tap';

import { readOptions } from '../../src/cli/option_table.js';
import { RUN_OPTIONS } from '../../src/cli/run_options.js';
import { parseSegmentsFile, SegmentsFileError, type SegmentSettings } from '../../src/cli/segments_file.js';

function parse(value: unknown, args: readonly string[] = []): SegmentSettings[] {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return parseSegmentsFile(text, readOptions(RUN_OPTIONS, args, {}), 'segments.json');
}

function problemsOf(value: unknown, args: readonly string[] = []): readonly string[] {
  try {
    parse(value, args);
  } catch (error) {
    if (error instanceof SegmentsFileError) return error.problems;
    throw error;
  }
  return [];
}

function refuses(t: Test, value: unknown, problems: readonly (string | RegExp)[], args: string[] = []): void {
  const found = problemsOf(value, args);
  t.equal(found.length, problems.length, found.join('\n'));
  problems.forEach((problem, at) => t.match(found[at], problem));
}

t.test('names after the segment keep apart what neither it nor the command line sets', (t) => {
  const [blue, green] = parse({
    segments: [
      { name: 'blue', 'etcd-prefix': '/blue/network' },
      { name: 'green', 'etcd-prefix': '/green/network', tun: 'g%d', 'subnet-file': '/run/g.env' },
    ],
  });
  t.match(blue, {
    name: 'blue',
    settings: {
      source: { kind: 'etcd', prefix: '/blue/network' },
      forwarder: { tunName: 'flannel-blue' },
      subnetFile: '/run/flannel/blue.env',
    },
  });
  t.match(green?.settings, { forwarder: { tunName: 'g%d' }, subnetFile: '/run/g.env' });
  t.end();
});

t.test('the command line has the defaults of all, and a segment wins', (t) => {
  const [blue, green] = parse(
    {
      segments: [
        { name: 'blue', lanes: 2, 'ip-masq': true },
        { name: 'green', iface: ['eth1', 'eth2'], 'ip-masq': false },
      ],
    },
    ['--lanes', '4', '--iface', 'eth0', '--ip-masq', '--etcd-endpoints', 'http://192.0.2.10:2379'],
  );
  t.match(blue?.settings, { forwarder: { lanes: 2 }, underlay: { iface: ['eth0'] }, ipMasq: true });
  t.match(green?.settings, { forwarder: { lanes: 4 }, underlay: { iface: ['eth1', 'eth2'] }, ipMasq: false });
  t.match(green?.settings.source, { endpoints: ['http://192.0.2.10:2379'] });
  t.end();
});

t.test("a segment's own source stands in place of the command line's", (t) => {
  const etcd = ['--etcd-endpoints', 'http://192.0.2.10:2379', '--etcd-prefix', '/x'];
  const [file] = parse({ segments: [{ name: 'file', routes: '/etc/routes.json' }] }, etcd);
  t.strictSame(file?.settings.source, { kind: 'file', path: '/etc/routes.json' });
  t.equal(file?.settings.subnetFile, undefined, 'and no subnet file is written that nobody asked for');
  const [blue] = parse({ segments: [{ name: 'blue', 'etcd-prefix': '/blue' }] }, [
    '--routes',
    '/etc/routes.json',
  ]);
  t.match(blue?.settings, { source: { kind: 'etcd', prefix: '/blue' }, subnetFile: '/run/flannel/blue.env' });
  t.end();
});

t.test('every problem is told at once, with a name that is near', (t) => {
  refuses(
    t,
    {
      segments: [
        { name: 'blue', 'etcd-prefx': '/blue', lanes: '2', 'ip-masq': 'yes' },
        { name: 'a b', zzz: 1 },
        { 'log-level': 'debug', tun: '' },
        7,
        { name: 'green', port: 'many' },
        { name: 'much-too-long-for-a-device' },
      ],
      version: 1,
    },
    [
      /^unknown key "version"; known keys are segments$/,
      'segments[0]: unknown key "etcd-prefx"; did you mean "etcd-prefix"?',
      'segments[0].ip-masq: the string "yes" is not true or false',
      /^segments\[1\]\.name: "a b" is not a segment name/,
      /^segments\[1\]: unknown key "zzz"; known keys are name, routes, etcd-endpoints/,
      /^segments\[2\]\.name is missing: expected a name like "blue"$/,
      /^segments\[2\]: "log-level" is about the whole process: say --log-level on the command line$/,
      /^segments\[2\]\.tun: the string "" is not a text or number: NAME$/,
      /^segments\[3\]: 7 is not an object/,
      /^segments\[4\]\.port: "many" is not a whole number from 1 to 65535$/,
      /^segments\[5\]: "flannel-much-too-long-for-a-device" would be too long for a device: give "tun"/,
    ],
  );
  t.end();
});

t.test('what is not a list of segments is refused', (t) => {
  refuses(t, '{"segments": [}', [/^not valid JSON at line 1, column 15: "\}" where a value is expected$/]);
  refuses(t, [], [/^an empty array is not an object like/]);
  refuses(t, {}, [/^segments is missing: expected an array of at least one segment$/]);
  refuses(t, { segments: [] }, [/^segments: an empty array is not an array of at least one segment$/]);
  refuses(t, { segments: [{ name: 'blue', iface: [] }] }, [
    /^segments\[0\]\.iface: an empty array is not a text/,
  ]);
  t.end();
});

t.test('the message names the file, and how many problems it leaves out', (t) => {
  const segments = Array.from({ length: 25 }, () => 0);
  t.throws(() => parse({ segments }), {
    code: 'ERR_SEGMENTS_FILE',
    message: /^segments\.json: segments\[0\]: 0 is .*; and 5 more problems$/,
  });
  t.end();
});
