import { formatIpv4, type Ipv4Prefix, parseIpv4 } from './ipv4_prefix.js';
import { formatIpv6, type Ipv6Prefix, parseIpv6 } from './ipv6_prefix.js';

/** Which Internet protocol an address is of. */
export type IpFamily = 4 | 6;

/** int32 words of an address, as columns, endpoints and the control blocks hold it. */
export const ADDRESS_WORDS = 4;

/**
 * An address as the data path compares it: four int32 words in network order of significance.
 *
 * IPv4 has its address in word 0 and zeros behind it. So the words alone do not tell the family; whoever keeps them knows it.
 */
export interface IpAddress {
  readonly family: IpFamily;
  /** {@link ADDRESS_WORDS} of them, each an int32. */
  readonly words: Int32Array;
}

/** The family that a text could be of: a colon makes it IPv6. It need not be an address. */
export function familyOf(text: string): IpFamily {
  return text.includes(':') ? 6 : 4;
}

/**
 * Reads an address of either family.
 *
 * @throws SelvageError ERR_ADDRESS_INVALID naming what is wrong
 */
export function parseAddress(text: string): IpAddress {
  const words = new Int32Array(ADDRESS_WORDS);
  if (familyOf(text) === 4) {
    words[0] = parseIpv4(text);
    return { family: 4, words };
  }
  putIpv6Words(words, 0, parseIpv6(text));
  return { family: 6, words };
}

/** The canonical text of the address whose words begin at `at`. */
export function formatAddress(family: IpFamily, words: Int32Array, at = 0): string {
  if (family === 4) return formatIpv4(words[at]!);
  let address = 0n;
  for (let word = 0; word < ADDRESS_WORDS; word++) {
    address = (address << 32n) | BigInt.asUintN(32, BigInt(words[at + word]!));
  }
  return formatIpv6(address);
}

/** Writes an IPv6 address, 0..2^128-1, as {@link ADDRESS_WORDS} words. */
export function putIpv6Words(words: Int32Array, at: number, address: bigint): void {
  for (let word = 0; word < ADDRESS_WORDS; word++) {
    words[at + word] = Number(BigInt.asIntN(32, address >> BigInt(32 * (ADDRESS_WORDS - 1 - word))));
  }
}

/** The first address of a prefix. */
export function firstAddressOf({ family, address }: Ipv4Prefix | Ipv6Prefix): IpAddress {
  const words = new Int32Array(ADDRESS_WORDS);
  if (typeof address === 'number') words[0] = address;
  else putIpv6Words(words, 0, address);
  return { family, words };
}
