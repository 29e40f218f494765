/** Cross-repository mount (distribution-spec end-11): a blob taken over without moving a byte. */
import { isImgfsError, toImgfsError } from '../../../errors/imgfs-error.js';
import type { Digest } from '../../../oci/digest.js';
import type { CallOptions } from '../../store.js';
import type { RegistryClient, Reply } from '../client.js';
import { discardBody } from '../http/read-body.js';
import { claimedDigest } from '../manifests.js';
import { uploadLocation } from './location.js';

/** Refusals that mean no more than "not this way". */
const declined = new Set([
  'not-found',
  'denied',
  'unauthorized',
  'unsupported',
  'protocol',
  'invalid',
  'digest-mismatch',
  'name-invalid',
]);

/**
 * True when the blob is there now. False when the registry would not: it opened an upload instead (which is cancelled)
 * or refused; the caller sends the bytes, and hears of a missing permission then.
 */
export async function mountBlob(
  client: RegistryClient,
  repository: string,
  from: string,
  digest: Digest,
  options: CallOptions,
): Promise<boolean> {
  const [endpoint] = await client.endpoints(repository, 'push');
  if (endpoint === undefined) return false;
  const source = await client.nameAt(endpoint, from);
  const call = {
    ...options,
    operation: 'mount blob',
    method: 'POST',
    repository,
    path: `/blobs/uploads/?mount=${encodeURIComponent(digest)}&from=${encodeURIComponent(source)}`,
    capability: 'push',
    access: 'push',
    mountFrom: from,
    body: new Uint8Array(0),
    expect: [201, 202],
    context: { reference: `${client.registry}/${repository}@${digest}`, digest },
  } as const;
  let reply: Reply;
  try {
    reply = await client.sendTo(endpoint, call);
  } catch (thrown) {
    const error = toImgfsError(thrown);
    if (error.context.status !== undefined && error.context.status < 500 && declined.has(error.code))
      return false;
    throw error;
  }
  await discardBody(reply.body);
  const claimed = claimedDigest(reply);
  if (reply.status === 201) return claimed === undefined || claimed === digest;
  await cancelOpened(client, reply, options);
  return false;
}

async function cancelOpened(client: RegistryClient, opened: Reply, options: CallOptions): Promise<void> {
  try {
    const url = uploadLocation(client, opened);
    if (url === undefined) return;
    const reply = await client.sendTo(opened.endpoint, {
      ...options,
      operation: 'cancel upload',
      method: 'DELETE',
      repository: opened.endpoint.repository,
      path: '',
      url,
      capability: 'push',
      access: 'push',
      expect: [200, 202, 204, 404, 405],
      idempotent: false,
    });
    await discardBody(reply.body);
  } catch (error) {
    if (isImgfsError(error, 'interrupted')) throw error;
  }
}
