/** Characters of a wrong value that an error repeats; the rest says nothing more and may be a megabyte. */
export const QUOTED_CHARS = 60;

/** A wrong value as an error repeats it: one line, between double quotes, cut when it is long. */
export function quote(text: string): string {
  return JSON.stringify(text.length <= QUOTED_CHARS ? text : `${text.slice(0, QUOTED_CHARS)}...`);
}
