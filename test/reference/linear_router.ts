/**
 * The router to compare with: keeps prefixes as texts of bits, looks at every one, keeps the longest that matches. Shares no
 * code with src/routing.
 */
export class LinearRouter {
  readonly #routes: { readonly bits: string; readonly nextHopId: number }[] = [];

  /** @param address first address as 0..2^32-1; of equal prefixes the last added wins */
  add(address: number, length: number, nextHopId: number): void {
    this.#routes.push({ bits: bitsOf(address).slice(0, length), nextHopId });
  }

  /** @returns next-hop id, or -1 when no prefix matches */
  lookup(address: number): number {
    const bits = bitsOf(address);
    let longest = -1;
    let nextHopId = -1;
    for (const route of this.#routes) {
      if (route.bits.length >= longest && bits.startsWith(route.bits)) {
        longest = route.bits.length;
        nextHopId = route.nextHopId;
      }
    }
    return nextHopId;
  }
}

function bitsOf(address: number): string {
  return address.toString(2).padStart(32, '0');
}
