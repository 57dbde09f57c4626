import { addressesIn, formatAddress, type SubnetPool } from './subnet_pool.js';

/** A family's part of the network config: undefined where the text has nothing. */
export interface PoolFields {
  readonly network: { readonly address: bigint; readonly bits: number } | undefined;
  readonly subnetLength: number | undefined;
  readonly subnetMin: bigint | undefined;
  readonly subnetMax: bigint | undefined;
}

/** What differs between the families (flannel 0.28 `CheckNetworkConfig`). */
interface FamilyRules {
  readonly family: 4 | 6;
  /** Begins the name of each field. */
  readonly prefix: '' | 'IPv6';
  /** The longest subnet with room for a tunnel and a bridge device on each host. */
  readonly longestSubnet: 30 | 126;
  /** What each host gets where the network is large enough. */
  readonly usualSubnet: 24 | 64;
  readonly tooSmall: string;
}

const RULES: Readonly<Record<4 | 6, FamilyRules>> = {
  4: {
    family: 4,
    prefix: '',
    longestSubnet: 30,
    usualSubnet: 24,
    tooSmall: 'network is too small. Minimum useful network prefix is /28',
  },
  6: {
    family: 6,
    prefix: 'IPv6',
    longestSubnet: 126,
    usualSubnet: 64,
    tooSmall: 'IPv6Network is too small. Minimum useful network prefix is /124',
  },
};

/** The first subnet is not used, so a network must hold four for more than two hosts: two bits. */
const FOUR_SUBNETS_BITS = 2;

/**
 * Fills in the defaults and applies the rules of flannel 0.28 (`CheckNetworkConfig`), and one that it lacks: SubnetMin must
 * not lie behind SubnetMax, or no host ever finds a subnet.
 *
 * @throws Error with flannel's text where it has one, then the values at fault
 */
export function makePool(family: 4 | 6, fields: PoolFields): SubnetPool {
  const rules = RULES[family];
  const { prefix } = rules;
  const { network } = fields;
  if (network === undefined || (network.address === 0n && network.bits === 0)) {
    throw new Error(`please define a correct ${prefix}Network parameter in the flannel config`);
  }
  const bits = subnetLength(rules, network.bits, fields.subnetLength);
  const step = addressesIn(family, bits);
  const end = network.address + addressesIn(family, network.bits);
  // flannel takes an address of all zeros for an absent one.
  const first = fields.subnetMin || network.address + step;
  const last = fields.subnetMax || end - step;
  for (const [name, address] of [
    ['SubnetMin', first],
    ['SubnetMax', last],
  ] as const) {
    checkBound(rules, name, address, network, bits);
  }
  if (first > last) {
    const [min, max] = [formatAddress(family, first), formatAddress(family, last)];
    throw new Error(`${prefix}SubnetMin ${min} is behind ${prefix}SubnetMax ${max}: swap them`);
  }
  return { family, bits, first, last };
}

/** SubnetMin and SubnetMax begin subnets of the network. */
function checkBound(
  { family, prefix }: FamilyRules,
  name: 'SubnetMin' | 'SubnetMax',
  address: bigint,
  network: { readonly address: bigint; readonly bits: number },
  bits: number,
): void {
  const shown = formatAddress(family, address);
  if (address < network.address || address >= network.address + addressesIn(family, network.bits)) {
    throw new Error(
      `${prefix}${name} is not in the range of the ${prefix}Network: ` +
        `${shown} is not in ${formatAddress(family, network.address)}/${network.bits}`,
    );
  }
  const aligned = address - (address % addressesIn(family, bits));
  if (address !== aligned) {
    throw new Error(
      `${prefix}${name} is not on a SubnetLen boundary: ${shown}; ` +
        `with ${prefix}SubnetLen ${bits} the subnet begins at ${formatAddress(family, aligned)}`,
    );
  }
}

function subnetLength(rules: FamilyRules, networkBits: number, given: number | undefined): number {
  const { family, prefix, longestSubnet, usualSubnet } = rules;
  const shortest = networkBits + FOUR_SUBNETS_BITS;
  if (given === undefined || given === 0) {
    if (shortest > longestSubnet) throw new Error(`${rules.tooSmall}: ${prefix}Network is a /${networkBits}`);
    return Math.max(usualSubnet, shortest);
  }
  if (given > longestSubnet) {
    const bound = family === 4 ? '/31' : '/127';
    throw new Error(`SubnetLen must be less than ${bound}: ${prefix}SubnetLen is ${given}`);
  }
  if (given < shortest) {
    throw new Error(
      'network must be able to accommodate at least four subnets: ' +
        `${prefix}SubnetLen is ${given}, ${prefix}Network a /${networkBits}; take ${shortest} or more`,
    );
  }
  return given;
}
