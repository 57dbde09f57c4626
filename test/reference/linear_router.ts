/**
 * The router to compare with: keeps prefixes as texts of bits, looks at every one, keeps the longest that matches. Of one
 * family. Shares no code with src/routing.
 */
export class LinearRouter {
  readonly #addressBits: 32 | 128;
  readonly #routes: { readonly bits: string; readonly nextHopId: number }[] = [];

  constructor(addressBits: 32 | 128) {
    this.#addressBits = addressBits;
  }

  /** @param address first address, unsigned; of equal prefixes the last added wins */
  add(address: number | bigint, length: number, nextHopId: number): void {
    this.#routes.push({ bits: this.#bitsOf(address).slice(0, length), nextHopId });
  }

  /** @returns next-hop id, or -1 when no prefix matches */
  lookup(address: number | bigint): number {
    const bits = this.#bitsOf(address);
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

  #bitsOf(address: number | bigint): string {
    return address.toString(2).padStart(this.#addressBits, '0');
  }
}
