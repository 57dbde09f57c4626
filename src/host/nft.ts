import { messageOf } from '../errors.js';
import type { FirewallTable, NftObject } from './firewall_rules.js';
import { runCommand } from './run_command.js';

/** A chain as `nft -j list chains` tells it; the last four only for base chains. */
export interface NftChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly type?: string;
  readonly hook?: string;
  readonly prio?: number;
  readonly policy?: string;
}

/**
 * Carries out commands in one transaction: all or none.
 *
 * @returns what they list, without the version record
 * @throws SelvageError ERR_COMMAND_MISSING or ERR_COMMAND_FAILED
 */
export async function nft(commands: readonly NftObject[]): Promise<NftObject[]> {
  // As JSON and not in nft's own words, which have no way to write every name that a device may have.
  const input = JSON.stringify({ nftables: commands });
  const output = await runCommand('nft', ['-j', input], { title: 'nft', debianPackage: 'nftables' });
  if (output.trim() === '') return [];
  const { nftables } = JSON.parse(output) as { nftables: NftObject[] };
  return nftables.filter((entry) => !('metainfo' in entry));
}

/** What a table holds, with nothing in it that changes while its rules stay; undefined when there is no such table. */
export async function describeTable(table: FirewallTable): Promise<string | undefined> {
  try {
    const listed = await nft([{ list: { table } }]);
    return JSON.stringify(listed, (key, value: unknown) => (key === 'handle' ? undefined : value));
  } catch (error) {
    if (/No such file or directory/.test(messageOf(error))) return undefined;
    throw error;
  }
}

/** The tables of all families. */
export async function listTables(): Promise<{ family: string; name: string }[]> {
  const listed = await nft([{ list: { tables: null } }]);
  return listed.flatMap(({ table }) =>
    table === undefined ? [] : [table as { family: string; name: string }],
  );
}

/** The chains of all tables, also those that iptables-nft made. */
export async function listChains(): Promise<NftChain[]> {
  const listed = await nft([{ list: { chains: null } }]);
  return listed.flatMap(({ chain }) => (chain === undefined ? [] : [chain as NftChain]));
}

/** The expressions of each rule of a chain, without counters. */
export async function listRules({ family, table, name }: NftChain): Promise<NftObject[][]> {
  const listed = await nft([{ list: { chain: { family, table, name } } }]);
  return listed.flatMap(({ rule }) => {
    const expressions = (rule as { expr?: NftObject[] } | undefined)?.expr;
    return expressions === undefined ? [] : [expressions.filter((each) => !('counter' in each))];
  });
}
