import { checkEtcdOptions, type EtcdStoreOptions } from './etcd_options.js';
import type { EtcdStore } from './etcd_store.js';

/**
 * Connects to etcd. Loads the gRPC client first, which a program without etcd need not carry (20 MB).
 *
 * @returns the store when its options are right; no server need be there yet
 * @throws SelvageError (as rejection) ERR_OPTION
 */
export async function openEtcdStore(options: EtcdStoreOptions): Promise<EtcdStore> {
  const checked = checkEtcdOptions(options);
  const { EtcdStore } = await import('./etcd_store.js');
  return new EtcdStore(checked);
}
