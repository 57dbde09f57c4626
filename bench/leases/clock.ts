/**
 * Milliseconds on CLOCK_MONOTONIC, which is one clock for all processes of a machine: `performance.now()` counts from the
 * start of each.
 *
 * @see clock_gettime(2)
 */
export function monotonicMillis(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
