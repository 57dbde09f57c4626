/** Placeholder: dropped at the merge. */
export function showRoutes(
  options: { socket?: string; json: boolean },
  out: (text: string) => void,
): Promise<number> {
  out(JSON.stringify(options));
  return Promise.resolve(0);
}
