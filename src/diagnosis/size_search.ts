/** What became of one size. */
export type SizeOutcome =
  | { readonly passes: true }
  /** @property hintBytes the size that would pass, as somebody on the way said; null when nobody did */
  | { readonly passes: false; readonly hintBytes: number | null };

/** Sizes that are tried at once: each round costs the wait for those that are lost. */
const SIZES = 8;

/**
 * The largest size that passes: `most` is tried first, then what the way says of itself, then the space between by rounds of
 * eight sizes at once.
 *
 * @param passing a size known to pass
 * @param most 0 and up; not tried when it is no larger than `passing`
 */
export async function largestOf(
  passing: number,
  most: number,
  attempt: (size: number) => Promise<SizeOutcome>,
): Promise<number> {
  let [least, failing] = [passing, most + 1];
  let sizes = most > passing ? [most] : [];
  while (sizes.length > 0) {
    const outcomes = await Promise.all(sizes.map(attempt));
    const tried = sizes;
    let hint: number | null = null;
    outcomes.forEach((outcome, i) => {
      const size = tried[i]!;
      if (outcome.passes) least = Math.max(least, size);
      else {
        failing = Math.min(failing, size);
        hint = outcome.hintBytes ?? hint;
      }
    });
    // A hint is tried together with the next size, which must fail: so one that is right ends the search.
    sizes = hint === null ? between(least, failing) : hinted(hint, least, failing);
  }
  return least;
}

function hinted(hint: number, least: number, failing: number): number[] {
  if (hint < least || hint >= failing) return between(least, failing);
  return [hint, hint + 1].filter((size) => size > least && size < failing);
}

/** Evenly spaced between a size that passes and one that does not; none when these are neighbours. */
function between(least: number, failing: number): number[] {
  const step = (failing - least) / (SIZES + 1);
  const sizes = Array.from({ length: SIZES }, (_, i) => Math.round(least + step * (i + 1)));
  return [...new Set(sizes)].filter((size) => size > least && size < failing);
}
