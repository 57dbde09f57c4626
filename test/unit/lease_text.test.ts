import t from 'tap';

import { leaseJson, leaseTable, releaseText, reservationText } from '../../src/cli/lease_text.js';
import type { Lease, LeaseRecord } from '../../src/index.js';

function lease(subnet: string, publicIp: string, more: Partial<Lease> = {}): Lease {
  const key = `subnets/${subnet.replace('/', '-')}`;
  return { key, subnets: { ipv4: subnet }, value: { publicIp, backendType: '' }, reserved: false, ...more };
}

function record(of: Lease, remainingSeconds: number | undefined): LeaseRecord {
  return { key: of.key, lease: of, problem: undefined, remainingSeconds };
}

const MALFORMED: LeaseRecord = {
  key: 'subnets/\u001b[2J',
  lease: undefined,
  problem: 'the value is "\u0007"',
  remainingSeconds: undefined,
};

t.test('the table has a line for each lease, aligned, and malformed entries below it', (t) => {
  const vxlan = { publicIp: '192.0.2.3', backendType: 'vxlan\u001b[31m' };
  const text = leaseTable([
    record(lease('10.1.2.0/24', '192.0.2.1'), 23 * 3600 + 59),
    record(lease('10.1.30.0/24', '192.0.2.20', { reserved: true }), Infinity),
    record(lease('10.1.4.0/24', '192.0.2.3', { value: vxlan }), undefined),
    record(lease('10.1.5.0/24', '192.0.2.4', { subnets: { ipv4: '10.1.5.0/24', ipv6: 'fd00::/64' } }), 30),
    MALFORMED,
  ]);
  const lines = text.split('\n');
  t.match(lines[0], /^SUBNET +PUBLIC IP +BACKEND +TIME LEFT$/);
  t.match(lines[1], /^10\.1\.2\.0\/24 +192\.0\.2\.1 +udp +23 h/);
  t.match(lines[2], /^10\.1\.30\.0\/24 +192\.0\.2\.20 +udp +reserved$/);
  t.match(lines[3], / +vxlan\\u\{1b\}\[31m +\?$/);
  t.match(lines[4], /^10\.1\.5\.0\/24 fd00::\/64 +192\.0\.2\.4 +udp +30 s$/);
  const column = lines[0]!.indexOf('PUBLIC IP');
  for (const line of lines.slice(1, 5)) t.equal(line.indexOf('192.0.2.'), column, line);
  t.match(text, /\n\nmalformed.*--force.*:\n {2}subnets\/\\u\{1b\}\[2J: the value is "\\u\{7\}"\n$/);
  t.equal(leaseTable([]), 'there are no leases\n');
  t.end();
});

t.test('what a store holds cannot steer a terminal', (t) => {
  const odd = lease('10.1.2.0/24', '192.0.2.1', {
    value: { publicIp: '192.0.2.1', backendType: '\u009b2J' },
  });
  // eslint-disable-next-line no-control-regex
  t.notMatch(leaseTable([record(odd, 1), MALFORMED]), /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
  t.end();
});

t.test('JSON has the same fields for every entry, and no Infinity', (t) => {
  const rows = [
    record(lease('10.1.2.0/24', '192.0.2.1', { reserved: true }), Infinity),
    record(lease('10.1.3.0/24', '192.0.2.2'), 7),
    MALFORMED,
  ].map(leaseJson);
  t.match(rows[0], { reserved: true, remainingSeconds: null, problem: null, ipv6Subnet: null });
  t.match(rows[1], { subnet: '10.1.3.0/24', publicIp: '192.0.2.2', backendType: '', remainingSeconds: 7 });
  t.match(rows[2], { key: MALFORMED.key, subnet: null, reserved: false, problem: MALFORMED.problem });
  for (const row of rows) t.strictSame(Object.keys(row), Object.keys(rows[0]!));
  t.end();
});

t.test('a change tells what happened and what follows', (t) => {
  const mine = lease('10.1.2.0/24', '192.0.2.1');
  const other = lease('10.1.3.0/24', '192.0.2.1');
  t.match(reservationText({ how: 'already', lease: mine, others: [] }), /nothing was changed\n$/);
  t.match(reservationText({ how: 'kept', lease: mine, others: [] }), /no time limit any more\n$/);
  t.match(
    reservationText({ how: 'created', lease: mine, others: [other] }),
    /takes a lease next\n192\.0\.2\.1 also has subnets\/10\.1\.3\.0-24, until/,
  );
  t.match(
    releaseText({ how: 'timed', key: mine.key, lease: mine }),
    /24 hours unless 192\.0\.2\.1 renews it\n$/,
  );
  t.match(
    releaseText({ how: 'removed', key: mine.key, lease: mine }),
    /was removed; 192\.0\.2\.1, if it is alive,/,
  );
  t.equal(releaseText({ how: 'removed', key: 'subnets/x', lease: undefined }), 'subnets/x was removed\n');
  t.end();
});
