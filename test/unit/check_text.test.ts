import t from 'tap';

import {
  CHECK_COMMAND,
  checkExitCode,
  type CheckedNetwork,
  checkQuestion,
  relevantTo,
} from '../../src/cli/check.js';
import { checkText } from '../../src/cli/check_text.js';
import { readOptions } from '../../src/cli/option_table.js';
import type { NetworkFacts, Target } from '../../src/diagnosis/facts.js';
import { findingsOf, verdictOf } from '../../src/diagnosis/findings.js';
import { networkFacts, peerFacts, silentPeer } from './check_fixture.js';

function checked(changes: Partial<NetworkFacts> = {}, segment?: string): CheckedNetwork {
  const facts = networkFacts(changes);
  const findings = findingsOf(facts);
  const { probing, status, ...rest } = facts;
  return {
    socketPath: '/run/selvage/flannel0.sock',
    segment,
    report: {
      verdict: verdictOf(findings, probing),
      findings,
      facts: rest,
      device: 'flannel0',
      networkName: status.networkName,
    },
  };
}

t.test('what was found is told by subject, with remedies, and counted at the end', (t) => {
  t.equal(
    checkText([checked({ peers: [silentPeer({ listener: { kind: 'refused' } })] })]),
    `flannel0 (/coreos.com/network, /run/selvage/flannel0.sock)
daemon
  ok       process 4711 runs, is ok and ready; flannel0, MTU 1472
  ok       the lease of 10.1.2.0/24 is good for 23 h, confirmed 60 min ago
  ok       etcd http://192.0.2.9:2379 is connected; in step 60 min ago, last event at revision 9007199254740993
  warning  1 lease is not routed to
           -> selvage lease list, and the daemon's log, tell which and why
peer 192.0.2.2:8285
  ok       the way to 10.1.10.0/24
  ok       192.0.2.2 on the underlay: answered after 0.25 ms; packets of 1500 bytes pass, all that this interface takes
  FAULT    nobody listens at UDP port 8285 of 192.0.2.2
           -> does the daemon run there, with the port of the network config (Backend.Port)?
  FAULT    its device, 10.1.10.0, through the overlay: no answer
           -> start the daemon on that host

2 faults, 1 warning
`,
  );
  t.end();
});

t.test('of many peers those that are well have one line each', (t) => {
  const peers = Array.from({ length: 9 }, (_, i) =>
    i === 4 ? silentPeer({ address: `192.0.2.${i + 2}` }) : peerFacts({ address: `192.0.2.${i + 2}` }),
  );
  const text = checkText([checked({ peers })]);
  t.equal(text.match(/^peer .*: ok$/gm)?.length, 8);
  t.match(text, /^peer 192\.0\.2\.6:8285\n.*\n.*\n {2}FAULT/m);
  t.end();
});

t.test('what others said cannot move the cursor', (t) => {
  t.notMatch(checkText([checked({ segmentFailure: 'a\x1b[2Jb' })]), /\x1b/); // eslint-disable-line no-control-regex
  t.end();
});

t.test('the exit code: a fault before what could not be looked at, before all well', (t) => {
  const none = { available: false, why: 'EPERM', remedy: 'be root' } as const;
  const well = checked();
  const blind = checked({ probing: new Map([[4, none]]) });
  const bad = checked({ peers: [silentPeer()] });
  t.equal(checkExitCode([well], false), 0);
  t.equal(checkExitCode([well], true), 3);
  t.equal(checkExitCode([well, blind], false), 3);
  t.equal(checkExitCode([blind, bad], true), 1);
  t.equal(checkExitCode([], true), 3);
  t.match(checkText([blind]), /not everything could be looked at\n$/);
  t.end();
});

t.test('an address that one network knows is no fault of the others', (t) => {
  const about = (target: Target, segment: string) => checked({ target, peers: [] }, segment);
  const address = '10.1.77.5';
  const stranger = about({ kind: 'unknown', address }, 'blue');
  const knower = about({ kind: 'noRoute', address }, 'green');
  t.strictSame(relevantTo([stranger, knower]), [knower]);
  t.strictSame(relevantTo([stranger]), [stranger]);
  t.match(checkText([knower]), /^flannel0 \(.*, segment green, /);
  t.end();
});

t.test('options: defaults, bounds, and an address that is none', (t) => {
  const question = (...args: string[]) => checkQuestion(readOptions(CHECK_COMMAND.options, args, {}));
  t.match(question(), { address: undefined, timeoutMillis: 1000, mostPeers: 64, json: false });
  t.match(question('2001:db8::2', '--timeout', '3', '--peers', '9', '--json'), {
    address: '2001:db8::2',
    timeoutMillis: 3000,
    mostPeers: 9,
    json: true,
  });
  for (const args of [
    ['--timeout', '0'],
    ['--timeout', '61'],
    ['--peers', '0'],
    ['--peers', 'all'],
    ['pod1'],
  ]) {
    t.throws(() => question(...args), { code: 'ERR_USAGE' }, args.join(' '));
  }
  t.end();
});
