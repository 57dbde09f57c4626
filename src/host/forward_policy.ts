import { isDeepStrictEqual } from 'node:util';

import { acceptRules, type FirewallTable, isIpv6 } from './firewall_rules.js';
import { listChains, listRules, type NftChain } from './nft.js';

/**
 * Finds chains of others that drop what our forward chain accepts. Every base chain on a hook has its say in nftables: an
 * accept ends its own chain only, and one drop anywhere is final. Docker sets such a policy on iptables' FORWARD.
 *
 * Chains of iptables-legacy are not seen: nftables does not know them.
 *
 * @returns for each chain and network a message with the commands that help
 */
export async function forwardDrops(networks: readonly string[], own: FirewallTable): Promise<string[]> {
  const messages: string[] = [];
  for (const chain of await listChains()) {
    if (chain.hook !== 'forward' || chain.policy !== 'drop' || chain.table === own.name) continue;
    const concerned = networks.filter((network) => familiesOf(network).includes(chain.family));
    const rules = concerned.length === 0 ? [] : await listRules(chain);
    for (const network of concerned) {
      const accepted = acceptRules(network).every((wanted) =>
        rules.some((rule) => isDeepStrictEqual(rule, wanted)),
      );
      if (!accepted) messages.push(messageFor(chain, network));
    }
  }
  return messages;
}

function familiesOf(network: string): string[] {
  return ['inet', isIpv6(network) ? 'ip6' : 'ip'];
}

function messageFor(chain: NftChain, network: string): string {
  const { family, table, name } = chain;
  const byIptables = table === 'filter' && name === 'FORWARD' && family !== 'inet';
  const where = byIptables ? `iptables' FORWARD (${family})` : `the chain ${family} ${table} ${name}`;
  const remedy = byIptables ? iptablesRemedy(network) : nftRemedy(chain, network);
  return `${where} has the policy drop, which no rule of ours can overrule: if frames of ${network} are lost, ${remedy}`;
}

function iptablesRemedy(network: string): string {
  const command = isIpv6(network) ? 'ip6tables' : 'iptables';
  return `${command} -I FORWARD -s ${network} -j ACCEPT; ${command} -I FORWARD -d ${network} -j ACCEPT`;
}

function nftRemedy({ family, table, name }: NftChain, network: string): string {
  const insert = `nft insert rule ${family} ${table} ${name} ${isIpv6(network) ? 'ip6' : 'ip'}`;
  return `${insert} saddr ${network} accept; ${insert} daddr ${network} accept`;
}
