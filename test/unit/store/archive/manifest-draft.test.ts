import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isImgfsError } from '../../../../src/errors/imgfs-error.js';
import { digestOf, type Digest } from '../../../../src/oci/digest.js';
import { mediaTypes } from '../../../../src/oci/media-type.js';
import type { ArchiveBlob, ScannedArchive } from '../../../../src/store/archive/archive-contents.js';
import { ManifestDraft } from '../../../../src/store/archive/manifest-draft.js';
import { MemberTable } from '../../../../src/store/archive/member-table.js';
import type { TarMember } from '../../../../src/store/archive/scan-tar.js';

const file = {} as ScannedArchive['file'];
const names = ['a.tar', 'b.tar', 'link.tar', 'c.tar'];
const diffIds = names.map((name) => digestOf(Buffer.from(name)));
const bytes = Buffer.from('a config');
const config = { bytes, digest: digestOf(bytes), diffIds };
const image = { config: 'config.json', layers: names };

function member(name: string, at: number, linkname = '.'): TarMember {
  const type = linkname === '.' ? 'file' : 'symlink';
  return { name, type, offset: at * 1024 + 512, size: 100 + at, linkname, head: Buffer.from('12345678') };
}

// A link comes before what it leads to, a layer before the one that it lies on.
const members = [
  member('a.tar', 0),
  member('link.tar', 1, 'd.tar'),
  member('c.tar', 2),
  member('b.tar', 3),
  member('d.tar', 4),
];

interface Finished {
  readonly blobs: ReadonlyMap<Digest, ArchiveBlob>;
  readonly manifest: string;
}

async function finish(draft: ManifestDraft, table: MemberTable): Promise<Finished> {
  const blobs = new Map<Digest, ArchiveBlob>();
  const { digest, size } = await draft.finish({ file, members: table }, blobs, {});
  const made = blobs.get(digest);
  assert.ok(made !== undefined && 'bytes' in made);
  assert.equal(made.bytes.length, size);
  assert.equal(digestOf(made.bytes), digest);
  return { blobs, manifest: Buffer.from(made.bytes).toString() };
}

/** Goes on behind each member. */
function drafted(draft: ManifestDraft, found: readonly TarMember[]): MemberTable {
  const table = new MemberTable('test.tar');
  for (const each of found) {
    table.add(each);
    draft.advance(table);
  }
  return table;
}

describe('the manifest of a saved image', { timeout: 10_000 }, () => {
  it('is the same whether its layers are looked at as they come or behind the last', async () => {
    const early = new ManifestDraft(image, config);
    const found = await finish(early, drafted(early, members));
    const late = await finish(new ManifestDraft(image, config), new MemberTable('test.tar', members));
    assert.deepEqual(found, late);
    const layer = (at: number, size: number) => ({
      mediaType: mediaTypes.dockerLayer,
      size,
      digest: diffIds[at],
    });
    const expected = {
      schemaVersion: 2,
      mediaType: mediaTypes.dockerManifest,
      config: { mediaType: mediaTypes.dockerConfig, size: bytes.length, digest: config.digest },
      layers: [layer(0, 100), layer(1, 103), layer(2, 104), layer(3, 102)],
    };
    assert.equal(found.manifest, JSON.stringify(expected));
  });

  it('refuses a layer of which a second member comes when it was looked at', async () => {
    const draft = new ManifestDraft(image, config);
    const table = drafted(draft, [...members, member('a.tar', 5)]);
    await assert.rejects(finish(draft, table), (error) => {
      assert.ok(isImgfsError(error, 'invalid-content'));
      assert.match(error.message, /"a\.tar": there more than once/);
      return true;
    });
  });

  it('refuses a layer that never comes', async () => {
    const draft = new ManifestDraft(image, config);
    const table = drafted(draft, members.slice(0, 4));
    await assert.rejects(
      finish(draft, table),
      /"link\.tar": a link to "d\.tar", which is not in the archive/,
    );
  });
});
