/** Counters by name, with groups of them: `{ framesSent: 1, drops: { noRoute: 1 } }`. */
export interface Counters {
  readonly [name: string]: number | Counters;
}

/** What counters rose by, flat, without those that did not: `{ framesSent: 1, 'drops.noRoute': 1 }`. */
export function differences(before: object, after: object, prefix = ''): Record<string, number> {
  const changed: Record<string, number> = {};
  for (const [name, now] of Object.entries(after as Counters)) {
    const was = (before as Counters)[name];
    if (typeof now === 'number' && typeof was === 'number') {
      if (now !== was) changed[prefix + name] = now - was;
    } else if (typeof now === 'object' && typeof was === 'object') {
      Object.assign(changed, differences(was, now, `${prefix}${name}.`));
    }
  }
  return changed;
}
