import type { Lease, LeaseRecord, Release, Reservation } from '../index.js';
import { formatSpan } from './figures.js';
import { textTable } from './text_table.js';

/** One lease as `--json` prints it; the names are stable. */
export interface LeaseJson {
  readonly key: string;
  readonly subnet: string | null;
  readonly ipv6Subnet: string | null;
  readonly publicIp: string | null;
  readonly publicIpv6: string | null;
  /** '' is flanneld's udp backend, which names none. */
  readonly backendType: string | null;
  readonly reserved: boolean;
  /** Null for a reservation, and when it was not asked. */
  readonly remainingSeconds: number | null;
  /** Why the entry is no lease; null when it is one. */
  readonly problem: string | null;
}

export function leaseJson({ key, lease, problem, remainingSeconds }: LeaseRecord): LeaseJson {
  return {
    key,
    subnet: lease?.subnets.ipv4 ?? null,
    ipv6Subnet: lease?.subnets.ipv6 ?? null,
    publicIp: lease?.value.publicIp ?? null,
    publicIpv6: lease?.value.publicIpv6 ?? null,
    backendType: lease?.value.backendType ?? null,
    reserved: lease?.reserved ?? false,
    // JSON has no Infinity.
    remainingSeconds: Number.isFinite(remainingSeconds) ? remainingSeconds! : null,
    problem: problem ?? null,
  };
}

/** What `lease reserve --json` prints. */
export function reservationJson({ how, lease, others }: Reservation): object {
  return { how, ...leaseJson(recordOf(lease)), others: others.map((other) => leaseJson(recordOf(other))) };
}

/** What `lease release --json` prints: the entry as it was. */
export function releaseJson({ how, key, lease }: Release): object {
  return { how, ...leaseJson({ key, lease, problem: undefined, remainingSeconds: undefined }) };
}

function recordOf(lease: Lease): LeaseRecord {
  return { key: lease.key, lease, problem: undefined, remainingSeconds: undefined };
}

/** A table for people: one line for each lease, malformed entries below it. */
export function leaseTable(records: readonly LeaseRecord[]): string {
  const rows = records.flatMap((record) =>
    record.lease === undefined ? [] : [leaseRow(record, record.lease)],
  );
  const problems = records.filter(({ lease }) => lease === undefined);
  const table =
    rows.length === 0 ? 'there are no leases\n' : `${textTable([HEAD, ...rows], HEAD.length).join('\n')}\n`;
  if (problems.length === 0) return table;
  const lines = problems.map(({ key, problem }) => `  ${printable(key)}: ${printable(problem ?? '')}\n`);
  return `${table}\nmalformed, and not routed to ('selvage lease release KEY --force' removes one):\n${lines.join('')}`;
}

const HEAD = ['SUBNET', 'PUBLIC IP', 'BACKEND', 'TIME LEFT'];

function leaseRow({ remainingSeconds }: LeaseRecord, lease: Lease): string[] {
  return [
    subnetsOf(lease),
    hostOf(lease),
    printable(lease.value.backendType || 'udp'),
    lease.reserved ? 'reserved' : remainingSeconds === undefined ? '?' : formatSpan(remainingSeconds),
  ];
}

function subnetsOf({ subnets: { ipv4, ipv6 } }: Lease): string {
  return [ipv4, ipv6].filter((subnet) => subnet !== undefined).join(' ');
}

function hostOf({ value: { publicIp, publicIpv6 } }: Lease): string {
  return [publicIp, publicIpv6].filter((address) => address !== undefined).join(' ');
}

/** A key or value may hold anything: escape sequences must not reach the terminal. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, (char) => `\\u{${char.codePointAt(0)!.toString(16)}}`);
}

/** What `lease reserve` did, and what follows. */
export function reservationText({ how, lease, others }: Reservation): string {
  const [subnets, host] = [subnetsOf(lease), hostOf(lease)];
  const did = {
    already: `${subnets} is reserved for ${host} already; nothing was changed`,
    kept: `${subnets} is reserved for ${host}: its lease has no time limit any more`,
    created: `${subnets} is reserved for ${host}, which gets it when it takes a lease next`,
  }[how];
  const had = others.map(({ key }) => key).join(', ');
  const follows =
    others.length === 0 ? '' : `${host} also has ${had}, until it starts again and that lease ends\n`;
  return `${did}\n${follows}`;
}

/** What `lease release` did, and what follows. */
export function releaseText({ how, key, lease }: Release): string {
  const host = lease && hostOf(lease);
  if (how === 'timed') {
    return `${key} is no reservation any more: it ends in 24 hours unless ${host} renews it\n`;
  }
  if (lease === undefined) return `${printable(key)} was removed\n`;
  return `${key} was removed; ${host}, if it is alive, takes the same subnet again or another one (flanneld ends)\n`;
}
