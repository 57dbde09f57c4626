/** Placeholder: dropped at the merge. */
export function showStatus(
  options: { socket?: string; json: boolean },
  out: (text: string) => void,
): Promise<number> {
  out(JSON.stringify(options));
  return Promise.resolve(0);
}
