import { SelvageError } from '../../errors.js';
import type { LeaseStore } from '../lease_store.js';

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

/** Placeholder: dropped at the merge. */
export function openEtcdStore(
  options: EtcdStoreOptions,
): Promise<LeaseStore & { readonly warnings: readonly string[] }> {
  return Promise.reject(
    new SelvageError('ERR_STORE_UNAVAILABLE', `no store for ${options.endpoints.join(',')}`),
  );
}
