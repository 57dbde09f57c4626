import { type CliOption, type CliValues, usageError } from './option_table.js';

const HEADING = 'Network and leases';

/** How to reach the leases: the same for the daemon and for `selvage lease`, and flanneld's by name and default. */
export const ETCD_OPTIONS: readonly CliOption[] = [
  {
    name: 'etcd-endpoints',
    value: 'URL,...',
    fallback: 'http://127.0.0.1:4001,http://127.0.0.1:2379',
    help: 'etcd servers, http or https; any one of them is enough',
  },
  {
    name: 'etcd-prefix',
    value: 'PATH',
    fallback: '/coreos.com/network',
    help: 'keys of the network: PATH/config, PATH/subnets/...',
  },
  { name: 'etcd-cafile', value: 'FILE', help: 'certificate authority of the servers [those of the system]' },
  { name: 'etcd-certfile', value: 'FILE', help: 'client certificate; with --etcd-keyfile' },
  { name: 'etcd-keyfile', value: 'FILE', help: 'key of the client certificate' },
  { name: 'etcd-username', value: 'NAME', help: 'etcd user; with --etcd-password' },
  {
    name: 'etcd-password',
    value: 'PASSWORD',
    secret: true as const,
    help: 'password of the etcd user; "ps" shows command lines, so better in the environment',
  },
].map((option) => ({ ...option, heading: HEADING, flanneld: true }));

/** Where the leases are, as the user said it. The password must not be logged. */
export interface EtcdSettings {
  /** At least one. */
  readonly endpoints: readonly string[];
  readonly prefix: string;
  readonly caFile?: string;
  /** Both or neither. */
  readonly certFile?: string;
  readonly keyFile?: string;
  /** Both or neither. */
  readonly username?: string;
  readonly password?: string;
}

/** @throws SelvageError ERR_USAGE for no endpoint, or half of a pair */
export function etcdSettings(values: CliValues): EtcdSettings {
  const endpoints = values
    .text('etcd-endpoints')!
    .split(',')
    .map((endpoint) => endpoint.trim())
    .filter((endpoint) => endpoint !== '');
  if (endpoints.length === 0) throw usageError(`${values.label('etcd-endpoints')} names no endpoint`);
  requireBoth(values, 'etcd-certfile', 'etcd-keyfile');
  requireBoth(values, 'etcd-username', 'etcd-password');
  return {
    endpoints,
    prefix: values.text('etcd-prefix')!,
    ...given(values, 'etcd-cafile', 'caFile'),
    ...given(values, 'etcd-certfile', 'certFile'),
    ...given(values, 'etcd-keyfile', 'keyFile'),
    ...given(values, 'etcd-username', 'username'),
    ...given(values, 'etcd-password', 'password'),
  };
}

function requireBoth(values: CliValues, one: string, other: string): void {
  if (values.isGiven(one) === values.isGiven(other)) return;
  const [there, missing] = values.isGiven(one) ? [one, other] : [other, one];
  throw usageError(`${values.label(there)} is of no use without --${missing}`);
}

/** `{ key: text }` of an option that was given, else nothing. */
function given<K extends string>(values: CliValues, name: string, key: K): Partial<Record<K, string>> {
  const text = values.isGiven(name) ? values.text(name) : undefined;
  return text === undefined ? {} : ({ [key]: text } as Record<K, string>);
}
