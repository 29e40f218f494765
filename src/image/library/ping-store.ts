/** Whether a store is there. */
import { isPinger, isRepositoryLister, type CallOptions, type ImageStore } from '../../store/store.js';

/** @throws ImgfsError `unauthorized`, `denied`, `unavailable`, and what a local store says of its files. */
export async function pingStore(store: ImageStore, options: CallOptions = {}): Promise<void> {
  if (isPinger(store)) return store.ping(options);
  if (!isRepositoryLister(store)) return;
  // A local store was checked when it was opened: its first name shows that it is still there.
  for await (const _ of store.repositories(options)) return;
}
