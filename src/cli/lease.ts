import {
  type LeaseRecord,
  type LeaseStore,
  listLeases,
  MOST_TIMED_LEASES,
  openEtcdStore,
  releaseLease,
  reserveLease,
  showLease,
} from '../index.js';
import { type Command, ENVIRONMENT_HELP, HELP_OPTION, JSON_OPTION, out } from './command.js';
import { ETCD_OPTIONS, etcdSettings } from './etcd_options.js';
import { ExitCode } from './exit_code.js';
import {
  leaseJson,
  leaseTable,
  releaseJson,
  releaseText,
  reservationJson,
  reservationText,
} from './lease_text.js';
import type { CliOption, CliValues } from './option_table.js';

const PUBLIC_IP_OPTION: CliOption = {
  name: 'public-ip',
  heading: 'Options',
  value: 'ADDRESS',
  commandLineOnly: true,
  help: 'for the host with this public IP [the host that has the subnet]',
};
const TTL_OPTION: CliOption = {
  name: 'ttl',
  heading: 'Options',
  commandLineOnly: true,
  help: `ask for the time left also of more than ${MOST_TIMED_LEASES} leases`,
};
const FORCE_OPTION: CliOption = {
  name: 'force',
  heading: 'Options',
  commandLineOnly: true,
  help: 'remove the entry at once, reserved or not',
};

/** `selvage lease ...`: for operators, straight to etcd; no daemon needs to run. */
export const LEASE_COMMANDS: readonly Command[] = [
  {
    words: 'lease list',
    takes: [],
    summary: "list the network's leases",
    about: `Lists all leases, those of flanneld's hosts included, and entries that are malformed.

Examples:
  selvage lease list --etcd-endpoints http://192.0.2.10:2379
  selvage lease list --json | jq '.[] | select(.reserved)'

${ENVIRONMENT_HELP}`,
    options: [TTL_OPTION, JSON_OPTION, HELP_OPTION, ...ETCD_OPTIONS],
    run: (values) => withStore(values, (store, signal) => list(store, values, signal)),
  },
  {
    words: 'lease show',
    takes: ['SUBNET|PUBLIC-IP'],
    summary: 'show the lease of a subnet or host',
    about: `Shows the lease with this subnet or key, or the leases of the host with this public IP.

Examples:
  selvage lease show 10.1.2.0/24
  selvage lease show 192.0.2.1 --json

${ENVIRONMENT_HELP}`,
    options: [JSON_OPTION, HELP_OPTION, ...ETCD_OPTIONS],
    run: (values) =>
      withStore(values, async (store, signal) =>
        print(await showLease(store, values.positionals[0]!, signal), values.isOn('json')),
      ),
  },
  {
    words: 'lease reserve',
    takes: ['SUBNET'],
    summary: 'keep a subnet for one host, without a time limit',
    about: `Takes the time limit off the lease of a host, so that the subnet stays its own however long it is off. A free subnet is
reserved for the host with --public-ip, which gets it when it takes a lease next; in a network with IPv6 give
both: 10.1.2.0/24,fd00:1:2::/64. Only selvage keeps reservations: flanneld gives its own a time limit when it starts.

Examples:
  selvage lease reserve 10.1.2.0/24
  selvage lease reserve 10.1.7.0/24 --public-ip 192.0.2.7

${ENVIRONMENT_HELP}`,
    options: [PUBLIC_IP_OPTION, JSON_OPTION, HELP_OPTION, ...ETCD_OPTIONS],
    run: (values) => withStore(values, (store, signal) => reserve(store, values, signal)),
  },
  {
    words: 'lease release',
    takes: ['SUBNET'],
    summary: 'end a reservation, or remove a lease',
    about: `Makes a reservation an ordinary lease of 24 hours: its host renews it, or it ends. With --force the entry is removed
at once, whatever it is: a host that is alive takes the same subnet again or another one, and flanneld ends.
SUBNET may be the key of an entry, malformed ones included.

Examples:
  selvage lease release 10.1.2.0/24
  selvage lease release 10.1.2.0/24 --force

${ENVIRONMENT_HELP}`,
    options: [FORCE_OPTION, JSON_OPTION, HELP_OPTION, ...ETCD_OPTIONS],
    run: (values) => withStore(values, (store, signal) => release(store, values, signal)),
  },
];

/** Opens the store for one command. Each request has a deadline of its own, so the signal never aborts. */
async function withStore(
  values: CliValues,
  use: (store: LeaseStore, signal: AbortSignal) => Promise<number>,
): Promise<number> {
  const store = await openEtcdStore(etcdSettings(values));
  try {
    for (const warning of store.warnings) process.stderr.write(`selvage: ${warning}\n`);
    return await use(store, new AbortController().signal);
  } finally {
    await store.close();
  }
}

async function list(store: LeaseStore, values: CliValues, signal: AbortSignal): Promise<number> {
  const records = await listLeases(store, { times: values.isOn('ttl') || 'auto' }, signal);
  if (records.length === 0) {
    // A wrong prefix looks just like this.
    process.stderr.write(`${store.name} has no lease below ${values.text('etcd-prefix')}\n`);
  }
  return print(records, values.isOn('json'));
}

function print(records: readonly LeaseRecord[], json: boolean): number {
  out(json ? `${JSON.stringify(records.map(leaseJson), null, 2)}\n` : leaseTable(records));
  return ExitCode.ok;
}

async function reserve(store: LeaseStore, values: CliValues, signal: AbortSignal): Promise<number> {
  const publicIp = values.text('public-ip');
  const reservation = await reserveLease(
    store,
    { subnet: values.positionals[0]!, ...(publicIp === undefined ? {} : { publicIp }) },
    signal,
  );
  out(
    values.isOn('json')
      ? `${JSON.stringify(reservationJson(reservation), null, 2)}\n`
      : reservationText(reservation),
  );
  return ExitCode.ok;
}

async function release(store: LeaseStore, values: CliValues, signal: AbortSignal): Promise<number> {
  const released = await releaseLease(
    store,
    { subnet: values.positionals[0]!, force: values.isOn('force') },
    signal,
  );
  out(values.isOn('json') ? `${JSON.stringify(releaseJson(released), null, 2)}\n` : releaseText(released));
  return ExitCode.ok;
}
