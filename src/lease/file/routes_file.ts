import { z } from 'zod';

import { messageOf, SelvageError } from '../../errors.js';
import { familyOf, type IpFamily } from '../../ip_address.js';
import { parseIpv4Prefix } from '../../ipv4_prefix.js';
import { formatIpv6, parseIpv6, parseIpv6Prefix } from '../../ipv6_prefix.js';
import { isUnicastAddress } from '../host_address.js';
import type { Peer, RouteSnapshot } from '../route_source.js';
import { findMissing, findOtherFamily, underlayOf } from './family_rules.js';
import { findJsonFault } from './json_fault.js';
import { nearName } from './near_name.js';
import { KEYS } from './routes_file_keys.js';
import { findSubnetProblems } from './subnet_rules.js';

/** Most bytes of a routes file: 64 MiB. One with 65,536 peers has about 5 MiB. */
export const MAX_ROUTES_FILE_BYTES = 64 * 1024 * 1024;

/** Problems that the one-line message spells out; `problems` has them all. */
const PROBLEMS_IN_MESSAGE = 20;
/** Characters of a wrong value that a problem repeats. */
const QUOTED_CHARS = 60;

/** A routes file that cannot be used. */
export class RoutesFileError extends SelvageError {
  /** Every problem, one sentence each, e.g. `peers[2].port: 0 is not a UDP port from 1 to 65535`. */
  readonly problems: readonly string[];

  /** @param path named in the message when given */
  constructor(problems: readonly string[], path = '') {
    super('ERR_ROUTES_FILE', path === '' ? summary(problems) : `${path}: ${summary(problems)}`);
    this.problems = problems;
  }
}

/** A text that `check` takes without a throw. */
function textThat(check: (text: string) => void): z.ZodString {
  return z.string().superRefine((text, context) => {
    const problem = problemWith(() => check(text));
    if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
  });
}

/** A prefix of one family, in a field that has a brother for the other. */
function prefixText(family: IpFamily, key: 'network' | 'subnet'): z.ZodString {
  return textThat((text) => {
    if (text.includes('/') && familyOf(text) !== family) {
      const other = family === 4 ? 6 : 4;
      throw new Error(
        `${quote(text)} is not an IPv${family} prefix; of IPv${other} it is ${KEYS[other][key]}`,
      );
    }
    if (family === 4) parseIpv4Prefix(text);
    else parseIpv6Prefix(text);
  });
}

const publicIpText = textThat((text) => {
  if (isUnicastAddress(text)) return;
  const example = familyOf(text) === 4 ? '192.168.100.2' : '2001:db8::2';
  throw new Error(`"${text}" is not the address of one host, such as ${example}`);
});

const peerSchema = z.strictObject({
  subnet: prefixText(4, 'subnet').exactOptional(),
  ipv6Subnet: prefixText(6, 'subnet').exactOptional(),
  publicIp: publicIpText,
  port: z.int().min(1).max(65_535).exactOptional(),
});

/** What is optional is looked after by {@link findMissing}. */
const fileSchema = z.strictObject({
  network: prefixText(4, 'network').exactOptional(),
  subnet: prefixText(4, 'subnet').exactOptional(),
  ipv6Network: prefixText(6, 'network').exactOptional(),
  ipv6Subnet: prefixText(6, 'subnet').exactOptional(),
  peers: z.array(peerSchema),
});

const FILE_KEYS = Object.keys(fileSchema.shape);
const PEER_KEYS = Object.keys(peerSchema.shape);

/** What a field must be, by its name; the name of an array element is that of the array, with `[]`. */
const EXPECTED: Readonly<Record<string, string>> = {
  '': 'an object like {"network": "10.1.0.0/16", "subnet": "10.1.1.0/24", "peers": []}',
  network: KEYS[4].networkLike,
  subnet: KEYS[4].subnetLike,
  ipv6Network: KEYS[6].networkLike,
  ipv6Subnet: KEYS[6].subnetLike,
  peers: 'an array of peers',
  'peers[]': 'an object like {"subnet": "10.1.2.0/24", "publicIp": "192.168.100.2"}',
  publicIp: 'an address like 192.168.100.2 or 2001:db8::2',
  port: 'a UDP port from 1 to 65535',
};

/**
 * Reads the text of a routes file: `network` and `subnet`, `ipv6Network` and `ipv6Subnet`, or all four; each peer with a
 * `subnet`, an `ipv6Subnet` or both, of which each makes a peer of the snapshot. The peers' public IPs are of one family,
 * the underlay's.
 *
 * @param underlay what the user asked for
 * @throws RoutesFileError (code ERR_ROUTES_FILE) with every problem found; for text that is not JSON, the first fault with
 *   its line and column
 */
export function parseRoutesFile(text: string, underlay: IpFamily | 'auto' = 'auto'): RouteSnapshot {
  const value = parseJson(text);
  const parsed = fileSchema.safeParse(value);
  const ofFields = parsed.success ? [] : parsed.error.issues.flatMap((issue) => problemsOf(issue, value));
  // A set, because one value can break several rules of its field (-0.5 as a port) and is described once.
  const problems = [
    ...new Set([
      ...ofFields,
      ...findMissing(value),
      ...findSubnetProblems(value, 4),
      ...findSubnetProblems(value, 6),
      ...findOtherFamily(value, underlay),
    ]),
  ];
  if (!parsed.success || problems.length > 0) throw new RoutesFileError(problems);
  const { peers, ...host } = parsed.data;
  return { ...host, underlay: underlayOf(value, underlay), peers: peers.flatMap(peersOfHost) };
}

type FilePeer = z.output<typeof peerSchema>;

function peersOfHost({ subnet, ipv6Subnet, publicIp, ...rest }: FilePeer): Peer[] {
  const address = familyOf(publicIp) === 4 ? publicIp : formatIpv6(parseIpv6(publicIp));
  return [subnet, ipv6Subnet].flatMap((prefix) =>
    prefix === undefined ? [] : [{ subnet: prefix, publicIp: address, ...rest }],
  );
}

function parseJson(text: string): unknown {
  const json = text.startsWith('\ufeff') ? text.slice(1) : text; // RFC 8259 section 8.1 lets a parser ignore the mark
  try {
    return JSON.parse(json);
  } catch (error) {
    const fault = findJsonFault(json);
    if (fault === undefined) throw new RoutesFileError([`not valid JSON: ${messageOf(error)}`]);
    const { line, column, reason } = fault;
    throw new RoutesFileError([`not valid JSON at line ${line}, column ${column}: ${reason}`]);
  }
}

/** One zod issue in the file's own words; an issue about unknown keys names each of them. */
function problemsOf(issue: z.core.$ZodIssue, root: unknown): string[] {
  const path = pathText(issue.path);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => unknownKey(key, path, issue.path.length === 0 ? FILE_KEYS : PEER_KEYS));
  }
  const where = path === '' ? '' : `${path}: `;
  if (issue.code === 'custom') return [`${where}${issue.message}`];
  const value = valueAt(root, issue.path);
  const expected = EXPECTED[expectedKey(issue.path)] ?? issue.message;
  if (value === undefined) return [`${path} is missing: expected ${expected}`];
  return [`${where}${describe(value)} is not ${expected}`];
}

function unknownKey(key: string, path: string, known: readonly string[]): string {
  const near = nearName(key, known);
  const hint = near === undefined ? `known keys are ${known.join(', ')}` : `did you mean "${near}"?`;
  return `${path === '' ? '' : `${path}: `}unknown key ${quote(key)}; ${hint}`;
}

/** `['peers', 2, 'subnet']` as `peers[2].subnet`. */
function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    return text === '' ? String(step) : `${text}.${String(step)}`;
  }, '');
}

function expectedKey(path: readonly PropertyKey[]): string {
  const last = path.at(-1);
  if (last === undefined) return '';
  return typeof last === 'number' ? `${String(path.at(-2))}[]` : String(last);
}

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((value, step) => (value as Record<PropertyKey, unknown>)[step], root);
}

function describe(value: unknown): string {
  if (typeof value === 'string') return `the string ${quote(value)}`;
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  return String(value);
}

function quote(text: string): string {
  return JSON.stringify(text.length <= QUOTED_CHARS ? text : `${text.slice(0, QUOTED_CHARS)}...`);
}

function problemWith(check: () => void): string | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

function summary(problems: readonly string[]): string {
  const shown = problems.slice(0, PROBLEMS_IN_MESSAGE).join('; ');
  const more = problems.length - PROBLEMS_IN_MESSAGE;
  return more > 0 ? `${shown}; and ${more} more problems` : shown;
}
