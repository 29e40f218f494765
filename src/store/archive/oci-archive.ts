/** OCI layouts in a tar file: `oci-archive:path`. Members may come in any order. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { digestAlgorithm, digestHex, type Digest } from '../../oci/digest.js';
import { checkLayoutVersionText } from '../layout/layout-marker.js';
import { maxIndexBytes, parseLayoutIndex } from '../layout/layout-index.js';
import type { ArchiveBlob, ArchiveContents, ScannedArchive } from './archive-contents.js';
import { readMember } from './archive-contents.js';

/** The file oci-layout has 30 bytes. */
const maxMarkerBytes = 64 * 1024;

/** The blob `blobs/<algorithm>/<hex>` of an archive. */
export function layoutBlob({ members }: ScannedArchive, digest: Digest): ArchiveBlob | undefined {
  return members.find(`blobs/${digestAlgorithm(digest)}/${digestHex(digest)}`);
}

/** @throws ImgfsError `invalid-content` when it is no image layout, `unsupported` for an unknown version. */
export async function loadOciArchive(archive: ScannedArchive): Promise<ArchiveContents> {
  const { file, members } = archive;
  const marker = members.find('oci-layout');
  const index = members.find('index.json');
  if (marker === undefined || index === undefined) {
    const isDocker = members.find('manifest.json') !== undefined;
    throw new ImgfsError(
      'invalid-content',
      `open oci-archive ${file.path}: it has no ${marker === undefined ? 'oci-layout' : 'index.json'}`,
      {
        path: file.path,
        hint: isDocker
          ? 'it looks like docker save: use docker-archive: instead of oci-archive:'
          : 'it is no archive of an image layout: check with tar -tf',
      },
    );
  }
  checkLayoutVersionText(await readMember(archive, marker, maxMarkerBytes), file.path);
  const bytes = await readMember(archive, index, maxIndexBytes);
  const images = await parseLayoutIndex(bytes, file.path);
  return { images, index: bytes, blob: (digest) => layoutBlob(archive, digest) };
}
