/** An image whose one layer is as large as wanted, pushed without holding it in memory. */
import { Readable } from 'node:stream';
import { Agent, request, type Dispatcher } from 'undici';
import type { Descriptor } from '../../src/oci/descriptor.js';
import { digestOf } from '../../src/oci/digest.js';
import { mediaTypes } from '../../src/oci/media-type.js';
import { descriptorJson } from '../support/image-builder.js';
import { digestOfContent, patternedContent } from '../support/patterned-blob.js';

const stepBytes = 2 ** 20;

async function* pieces(content: ReturnType<typeof patternedContent>): AsyncIterable<Uint8Array> {
  for (let at = 0; at < content.size; at += stepBytes)
    yield content.slice(at, Math.min(at + stepBytes, content.size));
}

async function pushBlob(
  base: string,
  descriptor: Descriptor,
  body: Readable | Buffer,
  dispatcher: Dispatcher,
): Promise<void> {
  const started = await request(`${base}/blobs/uploads/`, { method: 'POST', dispatcher });
  await started.body.dump();
  const location = new URL([started.headers['location']].flat()[0] ?? '', base);
  location.searchParams.set('digest', descriptor.digest);
  const headers = { 'content-type': 'application/octet-stream', 'content-length': String(descriptor.size) };
  const { statusCode, body: answer } = await request(location, {
    method: 'PUT',
    headers,
    body,
    dispatcher,
  });
  await answer.dump();
  if (statusCode !== 201) throw new Error(`push blob: ${statusCode}`);
}

/** Push `repository:v1`; resolves to its layer. The layer is called a plain tar, and is not one. `ca`: PEM, for https. */
export async function pushLargeImage(
  registryUrl: string,
  repository: string,
  sizeBytes: number,
  ca?: string,
): Promise<Descriptor> {
  const dispatcher = new Agent(ca === undefined ? {} : { connect: { ca } });
  const base = `${registryUrl}/v2/${repository}`;
  const content = patternedContent(sizeBytes);
  const layer = { mediaType: mediaTypes.ociLayer, digest: digestOfContent(content), size: sizeBytes };
  const configBytes = Buffer.from(
    JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      rootfs: { type: 'layers', diff_ids: [layer.digest] },
    }),
  );
  const config = { mediaType: mediaTypes.ociConfig, digest: digestOf(configBytes), size: configBytes.length };
  await pushBlob(base, layer, Readable.from(pieces(content)), dispatcher);
  await pushBlob(base, config, configBytes, dispatcher);
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: descriptorJson(config),
    layers: [descriptorJson(layer)],
  };
  const headers = { 'content-type': mediaTypes.ociManifest };
  const { statusCode, body } = await request(`${base}/manifests/v1`, {
    method: 'PUT',
    headers,
    body: JSON.stringify(manifest),
    dispatcher,
  });
  await body.dump();
  await dispatcher.close();
  if (statusCode !== 201) throw new Error(`push manifest: ${statusCode}`);
  return layer;
}
