/** The images that the file-system suite expects in a repository. */
import { buildArtifact, buildIndex, sampleImage } from '../support/image-builder.js';

export async function treeImages() {
  const single = await sampleImage({ payloadBytes: 300_000 });
  const otherPlatform = await sampleImage({
    seed: 2,
    payloadBytes: 1000,
    platform: { os: 'linux', architecture: 'arm64', variant: 'v8' },
  });
  const multi = await buildIndex([single, otherPlatform], {
    attestation: (image) => ({
      _type: 'https://in-toto.io/Statement/v0.1',
      predicateType: 'https://spdx.dev/Document',
      subject: [{ digest: { sha256: image.descriptor.digest.slice(7) } }],
      predicate: { spdxVersion: 'SPDX-2.3' },
    }),
  });
  const artifact = buildArtifact({
    artifactType: 'application/vnd.test',
    files: [
      { title: 'readme.md', content: 'read me' },
      { title: 'docs/a.txt', content: 'deep' },
    ],
  });
  return { single, multi, otherPlatform, artifact };
}
