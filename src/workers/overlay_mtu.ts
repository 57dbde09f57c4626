import { IPV6_MIN_MTU_BYTES } from '../encap/ipv6_header.js';
import { messageOf, SelvageError } from '../errors.js';
import { setTunMtu } from '../host/tun_interface.js';
import { findUnderlay } from '../host/underlay.js';
import { type CheckedOptions, leastMtuBytes, MAX_MTU_BYTES } from './forwarder_options.js';
import { UnderlayMtu } from './underlay_mtu.js';

/** What {@link OverlayMtu.follow} tells. */
export interface OverlayMtuListener {
  /** Lanes are to go by it from now on; the device follows. */
  onLanes(mtuBytes: number): void;
  /** All follow it. */
  onChange(mtuBytes: number, underlayMtuBytes: number): void;
  onWarning(message: string): void;
}

/** The largest inner packet: fixed, or what the underlay interface leaves of its MTU. Main thread. */
export class OverlayMtu {
  readonly #options: CheckedOptions;
  /** Undefined for an MTU that is fixed. */
  readonly #interface: string | undefined;
  #bytes: number;
  #underlay: UnderlayMtu | undefined;

  private constructor(options: CheckedOptions, bytes: number, interfaceName: string | undefined) {
    this.#options = options;
    this.#bytes = bytes;
    this.#interface = interfaceName;
  }

  /** @throws SelvageError ERR_OPTION when the interface leaves too little, ERR_UNDERLAY_NOT_FOUND, ERR_COMMAND_* */
  static async find(options: CheckedOptions): Promise<OverlayMtu> {
    const { address, mtuBytes: fixed } = options;
    if (fixed !== undefined) return new OverlayMtu(options, fixed, undefined);
    const underlay = await findUnderlay({ iface: [address] });
    const bytes = overlayBytes(options, underlay.mtuBytes);
    if (bytes !== undefined) return new OverlayMtu(options, bytes, underlay.interface);
    const why = tooNarrow(options, underlay.interface, underlay.mtuBytes);
    throw new SelvageError('ERR_OPTION', `mtuBytes: ${why}`);
  }

  /** As it is now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Keeps device and lanes in step with the interface, unless the MTU is fixed. Pairs with {@link close}. */
  follow(tunName: string, listener: OverlayMtuListener): void {
    if (this.#interface === undefined) return;
    this.#underlay = new UnderlayMtu(this.#interface, (bytes) => this.#adopt(tunName, bytes, listener));
  }

  /** When it resolves, no change is under way. */
  async close(): Promise<void> {
    await this.#underlay?.close();
  }

  async #adopt(tunName: string, underlayBytes: number, listener: OverlayMtuListener): Promise<void> {
    const bytes = overlayBytes(this.#options, underlayBytes);
    if (bytes === undefined) {
      listener.onWarning(
        `${tooNarrow(this.#options, this.#interface!, underlayBytes)}; it stays ${this.#bytes}`,
      );
      return;
    }
    if (bytes === this.#bytes) return;
    // The lanes first: what the kernel has sent us already is judged by the new MTU as well.
    this.#bytes = bytes;
    listener.onLanes(bytes);
    try {
      await setTunMtu(tunName, bytes);
    } catch (error) {
      listener.onWarning(`the MTU of ${tunName} could not be set to ${bytes}: ${messageOf(error)}`);
    }
    listener.onChange(bytes, underlayBytes);
  }
}

/** @returns undefined where too little is left */
function overlayBytes({ overheadBytes, ipv6 }: CheckedOptions, underlayBytes: number): number | undefined {
  const bytes = Math.min(underlayBytes - overheadBytes, MAX_MTU_BYTES);
  return bytes >= leastMtuBytes(ipv6 !== undefined) ? bytes : undefined;
}

function tooNarrow({ ipv6 }: CheckedOptions, interfaceName: string, underlayBytes: number): string {
  const least = leastMtuBytes(ipv6 !== undefined);
  const why = least === IPV6_MIN_MTU_BYTES ? ', which IPv6 needs' : '';
  return `the MTU of ${interfaceName}, ${underlayBytes}, leaves less than ${least}${why}: raise it`;
}
