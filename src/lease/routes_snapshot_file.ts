import { z } from 'zod';

import { writeFileAtomically } from '../atomic_file.js';
import { messageOf, SelvageError } from '../errors.js';
import { familyOf, type IpFamily } from '../ip_address.js';
import { contains, parsePrefix } from '../prefix.js';
import type { HeldConfig } from './acquire_lease.js';
import { readTextFile } from './file/file_reader.js';
import { isUnicastAddress } from './host_address.js';
import type { Lease } from './lease.js';
import { parseLeaseKey } from './lease_key.js';
import { type NetworkConfig, parseNetworkConfig } from './network/network_config.js';
import type { Peer } from './route_source.js';

/** Our own lease as an earlier run last saw it. */
export interface SavedLease {
  readonly lease: Lease;
  /** Both as in the store's entry: they tell whether the key that is there now is still the same lease. */
  readonly createdAt: bigint;
  readonly grant: string;
  /** Undefined for a reservation. */
  readonly expiresAt: Date | undefined;
}

/** What a run leaves for the next. */
export interface SavedRoutes {
  readonly savedAt: Date;
  readonly held: HeldConfig;
  /** Family of the peers' addresses. */
  readonly underlay: IpFamily;
  readonly own: SavedLease;
  readonly peers: readonly Peer[];
}

export interface RoutesSnapshotFileOptions {
  readonly path: string;
  /** Names the network: a file of another one is not used. */
  readonly networkKey: string;
  /** What to write when the time for it comes; undefined to leave the file as it is. */
  readonly collect: () => SavedRoutes | undefined;
  /** The file cannot be written. Must not throw. */
  readonly onWarning: (reason: string) => void;
}

/** Of what is written. Version 1 knew no IPv6 underlay; a file of it is read as one of an IPv4 underlay. */
const VERSION = 2;
/** As for a routes file: 65,536 peers take about 4 MiB. */
const MAX_BYTES = 64 * 1024 * 1024;
/** Changes of so long a time make one write. */
const DEBOUNCE_MILLIS = 1_000;
/** Only this daemon needs it. */
const MODE = 0o600;

const fileSchema = z.object({
  version: z.literal([1, VERSION]),
  networkKey: z.string(),
  savedAt: z.iso.datetime(),
  config: z.string(),
  underlay: z.literal([4, 6]).default(4),
  own: z.object({
    key: z.string(),
    createdAt: z.string().regex(/^[0-9]{1,19}$/),
    grant: z.string(),
    publicIp: z.string().exactOptional(),
    publicIpv6: z.string().exactOptional(),
    expiresAt: z.iso.datetime().nullable(),
  }),
  peers: z.array(z.object({ subnet: z.string(), publicIp: z.string() })),
});

/**
 * The routes on disk, so that a daemon that starts again can forward before the store answers.
 *
 * Written as a whole ({@link writeFileAtomically}), within a second of a change and at close.
 */
export class RoutesSnapshotFile {
  readonly #options: RoutesSnapshotFileOptions;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: RoutesSnapshotFileOptions) {
    this.#options = options;
  }

  /**
   * @returns what an earlier run left; undefined when there is nothing
   * @throws SelvageError ERR_SNAPSHOT_FILE when the file is broken, unreadable, or of another network
   */
  async read(): Promise<SavedRoutes | undefined> {
    const { path, networkKey } = this.#options;
    try {
      const { text } = await readTextFile(path, MAX_BYTES, 'ERR_SNAPSHOT_FILE');
      return parseSnapshot(text, networkKey);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw new SelvageError('ERR_SNAPSHOT_FILE', `${path} is not used: ${firstLine(error)}`, {
        cause: error,
      });
    }
  }

  /** Something changed: it will be written within a second, unless the file was closed. */
  noteChange(): void {
    if (this.#timer !== undefined || this.#closed) return;
    this.#timer = setTimeout(() => this.#write(), DEBOUNCE_MILLIS).unref();
  }

  /** Writes what has not been written. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer !== undefined) this.#write();
    await this.#writing;
  }

  #write(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const saved = this.#options.collect();
    if (saved === undefined) return;
    const { path, networkKey, onWarning } = this.#options;
    const text = formatSnapshot(saved, networkKey);
    // One after the other: two writers of one temporary file would mix.
    this.#writing = this.#writing
      .then(() => writeFileAtomically(path, text, MODE))
      .catch((error: unknown) => onWarning(`cannot save the routes for the next start: ${messageOf(error)}`));
  }
}

function formatSnapshot({ savedAt, held, underlay, own, peers }: SavedRoutes, networkKey: string): string {
  const { publicIp, publicIpv6 } = own.lease.value;
  return JSON.stringify({
    version: VERSION,
    networkKey,
    savedAt: savedAt.toISOString(),
    config: held.text,
    underlay,
    own: {
      key: own.lease.key,
      createdAt: String(own.createdAt),
      grant: own.grant,
      ...(publicIp === undefined ? {} : { publicIp }),
      ...(publicIpv6 === undefined ? {} : { publicIpv6 }),
      expiresAt: own.expiresAt?.toISOString() ?? null,
    },
    peers: [...peers],
  } satisfies z.input<typeof fileSchema>);
}

/** @throws Error saying what is wrong */
function parseSnapshot(text: string, networkKey: string): SavedRoutes {
  const file = fileSchema.parse(JSON.parse(text));
  if (file.networkKey !== networkKey) {
    throw new Error(`it belongs to ${JSON.stringify(file.networkKey)}, not to ${JSON.stringify(networkKey)}`);
  }
  const held = { config: parseNetworkConfig(file.config), text: file.config };
  const { key, createdAt, grant, expiresAt, ...addresses } = file.own;
  const subnets = parseLeaseKey(key);
  if (subnets === undefined) throw new Error(`own.key ${JSON.stringify(key)} names no subnet`);
  const own = [subnets.ipv4, subnets.ipv6].filter((subnet) => subnet !== undefined);
  if (!own.every((subnet) => liesIn(held.config, subnet)))
    throw new Error('own.key lies outside the network');
  const seen = new Set(own);
  for (const { subnet, publicIp } of file.peers) {
    if (!liesIn(held.config, subnet)) throw new Error(`peer ${subnet} lies outside the network`);
    if (!isUnicastAddress(publicIp)) throw new Error(`peer ${subnet} has no host's address`);
    if (familyOf(publicIp) !== file.underlay)
      throw new Error(`peer ${subnet} has an address of another family than the underlay`);
    if (seen.has(subnet)) throw new Error(`peer ${subnet} is there twice`);
    seen.add(subnet);
  }
  return {
    savedAt: new Date(file.savedAt),
    held,
    underlay: file.underlay,
    own: {
      lease: { subnets, key, reserved: expiresAt === null, value: { ...addresses, backendType: '' } },
      createdAt: BigInt(createdAt),
      grant,
      expiresAt: expiresAt === null ? undefined : new Date(expiresAt),
    },
    peers: file.peers,
  };
}

/** @throws SelvageError ERR_PREFIX_INVALID */
function liesIn({ ipv4, ipv6 }: NetworkConfig, subnet: string): boolean {
  const prefix = parsePrefix(subnet);
  return [ipv4, ipv6].some((family) => family !== undefined && contains(family.network, prefix));
}

function firstLine(error: unknown): string {
  if (!(error instanceof z.ZodError)) return messageOf(error);
  const issue = error.issues[0]!;
  return `${issue.path.join('.')}: ${issue.message}`;
}
