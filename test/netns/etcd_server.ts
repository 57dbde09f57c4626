import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { Certificates, KeyPair } from './certificates.js';
import { Child, tail, type ChildOptions, type CommandResult } from './child.js';
import { freePorts } from './free_port.js';
import type { Namespace } from './namespace.js';
import { registerOpen, unregisterOpen, type Closable } from './open_labs.js';
import { ensurePackages } from './packages.js';
import { until } from './until.js';

export interface EtcdServerOptions {
  /** Where it runs; this process's own namespace without it. */
  readonly host?: Namespace;
  /** Where clients reach it: an address of the host; 127.0.0.1 without it. */
  readonly address?: string;
  /** For clients; a free one without it, or 2379 in a namespace. */
  readonly port?: number;
  /** TLS for clients with this server certificate; `clientAuth` asks clients for one of the same authority. */
  readonly tls?: { readonly certificates: Certificates; readonly clientAuth?: boolean };
  /** Addresses of all members of its cluster, this one's among them: each has a namespace of its own. Alone without it. */
  readonly members?: readonly string[];
  /** More flags, e.g. `--auth-token-ttl=1`. */
  readonly flags?: readonly string[];
}

/** A key as etcdctl shows it. */
export interface EtcdKey {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  /** Lease in hexadecimal, as etcdctl writes it; '' for none. */
  readonly lease: string;
}

interface RangeAnswer {
  readonly header: { readonly revision: number };
  readonly kvs?: readonly {
    readonly key: string;
    readonly value?: string;
    readonly create_revision: number;
    readonly mod_revision: number;
  }[];
}

const LOOPBACK = '127.0.0.1';
/** The client port of etcd, for a namespace where nobody else has it. */
const CLIENT_PORT = 2379;
/** And the one that members of a cluster reach each other at. */
const PEER_PORT = 2380;
/** Elections and leases in tenths of the usual times: the shortest lease is then 1 s. */
const FAST = ['--heartbeat-interval=20', '--election-timeout=200', '--unsafe-no-fsync'];
/** Operations of one transaction: enough for {@link EtcdServer.putAll}. */
const MAX_OPERATIONS = 1_000;
/** Another process may have taken a free port before etcd did. */
const STARTS = 3;

let serversMade = 0;

/**
 * A real etcd-server with data of its own, and etcdctl to look at it and change it, so that tests do not rest on our client.
 * It ends, and its data goes, with {@link close}, with the lab that it runs in, and with this process.
 */
export class EtcdServer implements Closable {
  readonly port: number;
  /** User and password for {@link etcdctl} once there is authentication, as `root:secret`. */
  user = '';
  readonly #options: EtcdServerOptions;
  readonly #peerPort: number;
  readonly #directory: string;
  #child: Child | undefined;

  private constructor(options: EtcdServerOptions, port: number, peerPort: number) {
    this.#options = options;
    this.port = port;
    this.#peerPort = peerPort;
    this.#directory = mkdtempSync(join(tmpdir(), `selvage-${process.pid}-${++serversMade}-etcd-`));
    mkdirSync(this.#data, { mode: 0o700 });
  }

  /** Starts a server with empty data and waits until it serves. */
  static async start(options: EtcdServerOptions = {}): Promise<EtcdServer> {
    ensurePackages(['etcd-server', 'etcd-client']);
    for (let start = 1; ; start++) {
      const [free = 0, peerPort = 0] = await freePorts(2);
      const port = options.port ?? (options.host === undefined ? free : CLIENT_PORT);
      const server = new EtcdServer(options, port, peerPort);
      registerOpen(server);
      try {
        await server.restart();
        return server;
      } catch (error) {
        await server.close();
        if (start === STARTS || !String(error).includes('address already in use')) throw error;
      }
    }
  }

  /** E.g. `http://127.0.0.1:2379`. */
  get endpoint(): string {
    const scheme = this.#options.tls === undefined ? 'http' : 'https';
    const address = this.#options.address ?? LOOPBACK;
    return `${scheme}://${address.includes(':') ? `[${address}]` : address}:${this.port}`;
  }

  get running(): boolean {
    return this.#child?.running ?? false;
  }

  /** Starts it on the data that it has, after {@link stop} or {@link kill}, and waits until it serves. */
  async restart(): Promise<void> {
    await this.stop();
    const child = this.#spawn('etcd', this.#flags());
    this.#child = child;
    await until(`etcd to serve at ${this.endpoint}`, async () => {
      if (!child.running) throw new Error(`${child.title}: ended\n${tail(child.stderr)}`);
      return (await this.etcdctl(['endpoint', 'health'], { mayFail: true })).code === 0;
    });
  }

  /** Ends it as an operator does. */
  async stop(): Promise<void> {
    this.resume();
    await this.#child?.terminate(10);
  }

  /** Ends it without warning. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#child?.exited;
  }

  /** Stops it in its tracks: the kernel goes on accepting connections, and nobody answers. */
  pause(): void {
    this.#child?.kill('SIGSTOP');
  }

  resume(): void {
    this.#child?.kill('SIGCONT');
  }

  async put(key: string, value: string, lease = ''): Promise<void> {
    await this.etcdctl(['put', ...(lease === '' ? [] : [`--lease=${lease}`]), '--', key, value]);
  }

  /** Many keys, without white space and quotes; values may be any text on one line. */
  async putAll(entries: readonly (readonly [key: string, value: string])[]): Promise<void> {
    for (let at = 0; at < entries.length; at += MAX_OPERATIONS) {
      const puts = entries
        .slice(at, at + MAX_OPERATIONS)
        .map(([key, value]) => `put ${key} ${JSON.stringify(value)}`);
      await this.etcdctl(['txn'], { input: `\n${puts.join('\n')}\n\n\n` });
    }
  }

  async get(key: string): Promise<EtcdKey | undefined> {
    return (await this.list(key)).find((each) => each.key === key);
  }

  /** Keys that begin with `prefix`. */
  async list(prefix: string): Promise<EtcdKey[]> {
    const { stdout } = await this.etcdctl(['get', '--prefix', '--write-out=json', '--', prefix]);
    // etcd 3.4 writes 64-bit lease ids as numbers, which JSON.parse rounds.
    const leases = [...stdout.matchAll(/"create_revision":\d+[^}]*/g)].map(
      ([fields]) => /"lease":(-?\d+)/.exec(fields)?.[1] ?? '0',
    );
    const { kvs = [] } = JSON.parse(stdout) as RangeAnswer;
    return kvs.map((kv, i) => ({
      key: fromBase64(kv.key),
      value: fromBase64(kv.value ?? ''),
      createRevision: kv.create_revision,
      modRevision: kv.mod_revision,
      lease: leases[i] === '0' ? '' : BigInt(leases[i] ?? 0).toString(16),
    }));
  }

  async del(key: string): Promise<void> {
    await this.etcdctl(['del', '--', key]);
  }

  async revision(): Promise<number> {
    const { stdout } = await this.etcdctl(['get', '--write-out=json', 'none']);
    return (JSON.parse(stdout) as RangeAnswer).header.revision;
  }

  async compact(revision: number): Promise<void> {
    await this.etcdctl(['compact', String(revision)]);
  }

  /** @returns the new lease in hexadecimal */
  async grant(seconds: number): Promise<string> {
    const { stdout } = await this.etcdctl(['lease', 'grant', String(seconds)]);
    return /lease ([0-9a-f]+) granted/.exec(stdout)?.[1] ?? '';
  }

  /** All leases, in hexadecimal. */
  async leases(): Promise<string[]> {
    const { stdout } = await this.etcdctl(['lease', 'list']);
    return stdout.split('\n').filter((line) => /^[0-9a-f]+$/.test(line));
  }

  async revoke(lease: string): Promise<void> {
    await this.etcdctl(['lease', 'revoke', lease]);
  }

  /** Turns authentication on; from now on {@link etcdctl} is root. */
  async enableAuth(rootPassword = 'root-secret'): Promise<void> {
    await this.etcdctl(['user', 'add', `root:${rootPassword}`]);
    await this.etcdctl(['user', 'grant-role', 'root', 'root']);
    await this.etcdctl(['auth', 'enable']);
    this.user = `root:${rootPassword}`;
  }

  /** A user with one permission of its own. */
  async addUser(
    name: string,
    password: string,
    prefix: string,
    permission: 'read' | 'readwrite' = 'readwrite',
  ): Promise<void> {
    await this.etcdctl(['user', 'add', `${name}:${password}`]);
    await this.etcdctl(['role', 'add', name]);
    await this.etcdctl(['role', 'grant-permission', name, permission, '--prefix', prefix]);
    await this.etcdctl(['user', 'grant-role', name, name]);
  }

  /** @throws Error with the end of its output when it fails, unless it may */
  async etcdctl(
    args: readonly string[],
    { input, mayFail = false }: { readonly input?: string; readonly mayFail?: boolean } = {},
  ): Promise<CommandResult> {
    const { tls } = this.#options;
    const flags = [`--endpoints=${this.endpoint}`];
    if (this.user !== '') flags.push(`--user=${this.user}`);
    if (tls !== undefined)
      flags.push(
        `--cacert=${tls.certificates.ca.cert}`,
        ...pairFlags(tls.certificates.client, '--cert', '--key'),
      );
    const options = { env: { ETCDCTL_API: '3' }, ...(input === undefined ? {} : { input }) };
    const child = this.#spawn('etcdctl', [...flags, ...args], options);
    const result = await child.result(20);
    if (result.code === 0 || mayFail) return result;
    throw new Error(`${child.title}: exit code ${result.code}\n${tail(result.stderr || result.stdout)}`);
  }

  async close(): Promise<void> {
    this.resume();
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
    unregisterOpen(this);
  }

  closeNow(): void {
    this.#child?.killNow();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  get #data(): string {
    return join(this.#directory, 'data');
  }

  #flags(): string[] {
    const { tls, flags = [] } = this.#options;
    const list = [
      `--data-dir=${this.#data}`,
      `--listen-client-urls=${this.endpoint}`,
      `--advertise-client-urls=${this.endpoint}`,
      ...this.#peerFlags(),
      `--max-txn-ops=${MAX_OPERATIONS}`,
      ...FAST,
      ...flags,
    ];
    if (tls === undefined) return list;
    list.push(...pairFlags(tls.certificates.server, '--cert-file', '--key-file'));
    if (tls.clientAuth === true)
      list.push('--client-cert-auth', `--trusted-ca-file=${tls.certificates.ca.cert}`);
    return list;
  }

  #peerFlags(): string[] {
    const { members, address = LOOPBACK } = this.#options;
    const [own, port] = members === undefined ? [LOOPBACK, this.#peerPort] : [address, PEER_PORT];
    const urlOf = (member: string): string => `http://${member}:${port}`;
    const peers = (members ?? [own]).map((member) => `${member}=${urlOf(member)}`);
    return [
      `--name=${own}`,
      `--listen-peer-urls=${urlOf(own)}`,
      `--initial-advertise-peer-urls=${urlOf(own)}`,
      `--initial-cluster=${peers.join(',')}`,
    ];
  }

  #spawn(command: string, args: readonly string[], options: ChildOptions = {}): Child {
    const { host } = this.#options;
    return host === undefined ? new Child([command, ...args], options) : host.spawn(command, args, options);
  }
}

function pairFlags({ cert, key }: KeyPair, certFlag: string, keyFlag: string): string[] {
  return [`${certFlag}=${cert}`, `${keyFlag}=${key}`];
}

function fromBase64(text: string): string {
  return Buffer.from(text, 'base64').toString();
}
