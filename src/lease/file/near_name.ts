/** Mistakes a name may have and still be recognised. */
const MOST_EDITS = 2;
/** Longer names are not compared: the cost is the product of both lengths. */
const LONGEST_NAME = 64;

/**
 * The known name that a mistyped one most likely means: equal but for case, `_` and `-`, or at most two
 * mistakes away: a letter too many, too few, wrong, or swapped with the next.
 *
 * @returns undefined when none is near
 */
export function nearName(name: string, known: readonly string[]): string | undefined {
  if (name.length > LONGEST_NAME) return undefined;
  let best: string | undefined;
  let fewest = MOST_EDITS + 1;
  for (const candidate of known) {
    const edits = editDistance(plain(name), plain(candidate));
    if (edits < fewest && edits < candidate.length / 2) {
      fewest = edits;
      best = candidate;
    }
  }
  return best;
}

function plain(name: string): string {
  return name.toLowerCase().replace(/[-_\s]/g, '');
}

/** Optimal string alignment distance: Levenshtein's with swaps of neighbours (Damerau 1964), three rows at a time. */
function editDistance(a: string, b: string): number {
  let older: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitute = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let edits = Math.min(substitute, row[j]! + 1, next[j - 1]! + 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) edits = Math.min(edits, older[j - 2]! + 1);
      next.push(edits);
    }
    older = row;
    row = next;
  }
  return row[b.length]!;
}
