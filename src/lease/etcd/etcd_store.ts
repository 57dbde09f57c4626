import { SelvageError } from '../../errors.js';
import type { LeaseStore } from '../lease_store.js';
import type { EtcdStoreOptions } from './etcd_options.js';

/** Placeholder: dropped at the merge. */
export function openEtcdStore(
  options: EtcdStoreOptions,
): Promise<LeaseStore & { readonly warnings: readonly string[] }> {
  return Promise.reject(
    new SelvageError('ERR_STORE_UNAVAILABLE', `no store for ${options.endpoints.join(',')}`),
  );
}
