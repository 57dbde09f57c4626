/** Placeholder: dropped at the merge. */
export function removeFirewall(tunName: string): Promise<boolean> {
  return Promise.resolve(tunName === '');
}

/** Placeholder: dropped at the merge. */
export function listFirewalls(): Promise<string[]> {
  return Promise.resolve([]);
}
