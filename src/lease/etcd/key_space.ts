import type { StoreEntry } from '../store/lease_store.js';
import type { KeyValue } from './gen/kv_pb.js';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
/** A range of one byte 0 from the key on means "all keys behind" (etcd api, RangeRequest.range_end). */
const TO_THE_END = new Uint8Array(1);

/** A range of keys as etcd wants it: from `key` to before `rangeEnd`. */
export interface KeyRange {
  readonly key: Uint8Array<ArrayBuffer>;
  readonly rangeEnd: Uint8Array<ArrayBuffer>;
}

/**
 * Translates between the store's keys, which are paths below a prefix, and etcd's, which are bytes.
 */
export class KeySpace {
  readonly #base: string;
  readonly #baseBytes: number;

  /** @param base what every key begins with, e.g. `/coreos.com/network/` */
  constructor(base: string) {
    this.#base = base;
    this.#baseBytes = encoder.encode(base).length;
  }

  encode(key: string): Uint8Array<ArrayBuffer> {
    return encoder.encode(this.#base + key);
  }

  /** All keys that begin with `prefix`. */
  range(prefix: string): KeyRange {
    const key = this.encode(prefix);
    return key.length === 0 ? { key: TO_THE_END, rangeEnd: TO_THE_END } : { key, rangeEnd: successor(key) };
  }

  /** @param bytes of a key inside a range of this space */
  decode(bytes: Uint8Array): string {
    return decoder.decode(bytes.subarray(this.#baseBytes));
  }

  /** Whether `bytes` is what {@link encode} gives for `key`. */
  isEqual(bytes: Uint8Array, key: string): boolean {
    return Buffer.compare(bytes, this.encode(key)) === 0;
  }

  entryOf(kv: KeyValue): StoreEntry {
    return {
      key: this.decode(kv.key),
      value: decoder.decode(kv.value),
      createdAt: kv.createRevision,
      revision: kv.modRevision,
      grant: grantText(kv.lease),
    };
  }
}

/** Text of a lease id, in hexadecimal as etcdctl writes it; '' for none. */
export function grantText(leaseId: bigint): string {
  return leaseId === 0n ? '' : BigInt.asUintN(64, leaseId).toString(16);
}

/** The inverse of {@link grantText}. */
export function leaseIdOf(grant: string): bigint {
  return grant === '' ? 0n : BigInt.asIntN(64, BigInt(`0x${grant}`));
}

/** The first key behind all that begin with `key`: its last byte plus one. UTF-8 has no byte 255. */
function successor(key: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const end = key.slice();
  end[end.length - 1]!++;
  return end;
}
