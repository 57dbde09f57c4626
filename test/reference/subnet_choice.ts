/**
 * The free subnets of a pool the slow way: every candidate against every lease, bit by bit as texts, as flannel does it. Shares
 * no code with src/lease.
 */
export function freeSubnets(
  pool: {
    readonly addressBits: number;
    readonly bits: number;
    readonly first: bigint;
    readonly last: bigint;
  },
  taken: readonly { readonly address: bigint; readonly bits: number }[],
): bigint[] {
  const free: bigint[] = [];
  for (let at = pool.first; at <= pool.last; at += 2n ** BigInt(pool.addressBits - pool.bits)) {
    const candidate = bitsOf(at, pool.addressBits, pool.bits);
    const clash = taken.some(({ address, bits }) => {
      const other = bitsOf(address, pool.addressBits, bits);
      return candidate.startsWith(other) || other.startsWith(candidate);
    });
    if (!clash) free.push(at);
  }
  return free;
}

function bitsOf(address: bigint, addressBits: number, bits: number): string {
  return address.toString(2).padStart(addressBits, '0').slice(0, bits);
}
