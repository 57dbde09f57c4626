import { readFileSync } from 'node:fs';
import { constants } from 'node:os';

import t from 'tap';

import { DROP_REASONS, DropReason, dropReasonName, dropReasonOfErrno } from '../../src/encap/drop_reason.js';
import { NO_ROUTE } from '../../src/routing/route_table.js';

t.test('the list holds every reason once, in order of its number from 1', (t) => {
  t.same(
    DROP_REASONS.map(({ code }) => code),
    DROP_REASONS.map((_, i) => i + 1),
  );
  t.same(Object.fromEntries(DROP_REASONS.map(({ name, code }) => [name, code])), DropReason);
  for (const { name, directions } of DROP_REASONS) t.ok(directions.length > 0, `${name} has a direction`);
  t.end();
});

t.test('a failed lookup is the fate of a frame without a route', (t) => {
  t.equal(NO_ROUTE, -DropReason.noRoute);
  t.end();
});

t.test('the doc comment of each number is the sentence of the list', (t) => {
  const source = readFileSync(new URL('../../../src/encap/drop_reason.ts', import.meta.url), 'utf8');
  const documented = new Map<string, string>();
  for (const [, sentence, name] of source.matchAll(/\/\*\* (.*) \*\/\n {2}(\w+): \d+,/g)) {
    documented.set(name!, sentence!);
  }
  t.same(documented, new Map(DROP_REASONS.map(({ name, sentence }) => [name, sentence])));
  t.end();
});

t.test('a number has a name, and an unknown one says so', (t) => {
  t.equal(dropReasonName(DropReason.tooBig), 'tooBig');
  t.equal(dropReasonName(0), 'reason 0');
  t.equal(dropReasonName(99), 'reason 99');
  t.end();
});

t.test('an errno of a send has a reason', (t) => {
  const { errno } = constants;
  const rows: readonly [number, number][] = [
    [errno.EAGAIN, DropReason.sendBufferFull],
    [errno.ENOBUFS, DropReason.sendBufferFull],
    [errno.ENOMEM, DropReason.sendBufferFull],
    [errno.ENETUNREACH, DropReason.underlayUnreachable],
    [errno.EHOSTUNREACH, DropReason.underlayUnreachable],
    [errno.ENETDOWN, DropReason.underlayUnreachable],
    [errno.EPERM, DropReason.sendRefused],
    [errno.EACCES, DropReason.sendRefused],
    [errno.EMSGSIZE, DropReason.underlayTooBig],
    [errno.EIO, DropReason.sendFailed],
    [0, DropReason.sendFailed],
  ];
  for (const [number, reason] of rows) {
    t.equal(dropReasonOfErrno(number), reason, `errno ${number} is ${dropReasonName(reason)}`);
  }
  t.end();
});
