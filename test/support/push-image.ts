/** Puts a built image into any registry with the plainest requests there are: a client that is not ours. */
import { request } from 'undici';
import { manifestKind } from '../../src/oci/media-type.js';
import type { BuiltBlob, BuiltImage } from './image-builder.js';

async function expectStatus(
  url: string,
  options: Parameters<typeof request>[1] & object,
  expected: number,
): Promise<string | undefined> {
  const answer = await request(url, options);
  const text = await answer.body.text();
  if (answer.statusCode !== expected) {
    throw new Error(`${options.method ?? 'GET'} ${url}: ${answer.statusCode} ${text}`);
  }
  return [answer.headers['location']].flat()[0];
}

async function pushBlob(base: string, { bytes, descriptor }: BuiltBlob): Promise<void> {
  const started = await expectStatus(`${base}/blobs/uploads/`, { method: 'POST' }, 202);
  const location = new URL(started ?? '', base);
  location.searchParams.set('digest', descriptor.digest);
  const headers = { 'content-type': 'application/octet-stream', 'content-length': String(bytes.length) };
  await expectStatus(location.href, { method: 'PUT', headers, body: Buffer.from(bytes) }, 201);
}

/** Blobs, children, then the manifest by tag or by digest. No authentication. */
export async function pushImage(
  registryUrl: string,
  repository: string,
  image: BuiltImage,
  tag?: string,
): Promise<void> {
  const base = `${registryUrl}/v2/${repository}`;
  for (const blob of image.blobs) await pushBlob(base, blob);
  for (const { bytes, descriptor } of image.manifests) {
    if (manifestKind(descriptor.mediaType) === undefined) throw new Error(descriptor.mediaType);
    const last = descriptor.digest === image.descriptor.digest;
    const reference = last && tag !== undefined ? tag : descriptor.digest;
    const headers = { 'content-type': descriptor.mediaType };
    const url = `${base}/manifests/${reference}`;
    await expectStatus(url, { method: 'PUT', headers, body: Buffer.from(bytes) }, 201);
  }
}
