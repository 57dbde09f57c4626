import type { Structure } from 'buffer-layout';

/**
 * Bytes from the start of a wire format to one of its fields, read once when a header file loads.
 *
 * @throws Error for a field the layout does not have: the layout and the offsets of one file have parted
 */
export function fieldOffset<T>(layout: Structure<T>, field: keyof T & string): number {
  const offset = layout.offsetOf(field);
  if (offset === undefined) throw new Error(`wire layout has no field ${field}`);
  return offset;
}
