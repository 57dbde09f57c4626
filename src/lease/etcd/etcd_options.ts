/** Placeholder: dropped at the merge. */
export interface EtcdStoreOptions {
  readonly endpoints: readonly string[];
  readonly prefix?: string;
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  readonly username?: string;
  readonly password?: string;
}
