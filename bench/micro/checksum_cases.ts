import { native } from '../../src/native.js';
import { referenceChecksum } from '../../test/reference/checksum.js';
import { type MicroCase, prepared } from './micro_case.js';

/** An IPv4 header; the inner segment of a 1500-byte underlay; the largest frame. */
const SIZES = [20, 1432, 65_535];
/** Bytes that one run adds up, so that short sums are many. */
const RUN_BYTES = 65_536;

/** The Internet checksum: native, and the plain one in TypeScript that tests compare it with. */
export const checksumCases: readonly MicroCase[] = [
  ...SIZES.map((bytes) =>
    checksumCase(`checksum: native (${native.checksumKernel})`, bytes, (data, length) =>
      native.checksum(data, 0, length),
    ),
  ),
  checksumCase('checksum: plain TypeScript', 1432, (data, length) =>
    referenceChecksum(data.subarray(0, length)),
  ),
];

function checksumCase(
  name: string,
  bytes: number,
  sum: (data: Uint8Array, length: number) => number,
): MicroCase {
  const unitsPerRun = Math.max(1, Math.floor(RUN_BYTES / bytes));
  return {
    name: `${name}, ${bytes.toLocaleString('en')} bytes`,
    unit: 'checksum',
    unitsPerRun,
    bytesPerUnit: bytes,
    prepare: () => {
      const data = Uint8Array.from({ length: bytes }, (_, i) => i * 7);
      return prepared(() => {
        let total = 0;
        for (let i = 0; i < unitsPerRun; i++) {
          data[0] = i; // or the sum could be taken once
          total = (total + sum(data, bytes)) | 0;
        }
        return total;
      });
    },
  };
}
