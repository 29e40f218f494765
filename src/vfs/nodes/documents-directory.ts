/** `signatures/`, `sbom/`, `attestations/`: the documents about an image, ready to read. */
import { documentSuffix, predicateType } from '../../image/artifact-kind.js';
import type { Image } from '../../image/image.js';
import type { RelatedDocument, RelatedKind } from '../../image/referrers.js';
import type { KeptSignature } from '../../image/signatures/signatures.js';
import { digestHex } from '../../oci/digest.js';
import type { CallOptions } from '../../store/store.js';
import { nameToText } from '../name.js';
import type { VfsNode } from '../node.js';
import { safeComponent } from '../safe-name.js';
import type { TreeContext } from '../tree-context.js';
import { BlobFile } from './blob-file.js';
import { DerivedFile, TextFile } from './bytes-file.js';
import { LazyDirectory } from './lazy-directory.js';
import { PredicateFile } from './predicate-file.js';

/** What cosign puts beside a payload, as annotations (cosign specs/SIGNATURE_SPEC.md). */
const cosignAnnotations: readonly (readonly [string, string])[] = [
  ['dev.cosignproject.cosign/signature', '.sig'],
  ['dev.sigstore.cosign/certificate', '.cert.pem'],
  ['dev.sigstore.cosign/chain', '.chain.pem'],
  ['dev.sigstore.cosign/bundle', '.bundle.json'],
];

/** Documents of one kind, named by the first digits of their digest: the same name whatever the order. */
export class DocumentsDirectory extends LazyDirectory {
  constructor(context: TreeContext, image: Image, kind: RelatedKind) {
    const load = async (options: CallOptions): Promise<ReadonlyMap<string, VfsNode>> => {
      const documents = await context.images.related.documents(image, kind, options);
      const kept = kind === 'signature' ? await context.signatures.kept(image, options) : [];
      const seen = new Map<string, number>();
      const files = documents.flatMap((document) => {
        // Signatures of one payload differ in what stands beside it.
        const hex = digestHex(document.descriptor.digest).slice(0, 12);
        const count = (seen.get(hex) ?? 0) + 1;
        seen.set(hex, count);
        return filesOf(context, document, count === 1 ? hex : `${hex}-${count}`);
      });
      return new Map([...keptFiles(context, kept), ...files]);
    };
    super(context, load, { ttlMs: context.images.tagTtlMs });
  }
}

/** What stores and lookasides keep, under the names and in the form they have in a `dir:`. */
function keptFiles(context: TreeContext, signatures: readonly KeptSignature[]): [string, VfsNode][] {
  return signatures.map(({ bytes }, at) => [
    `signature-${at + 1}`,
    new DerivedFile({
      attrTtlMs: context.images.tagTtlMs,
      mtimeNs: () => context.mountTimeNs,
      render: async () => bytes,
    }),
  ]);
}

function filesOf(context: TreeContext, document: RelatedDocument, stem: string): [string, VfsNode][] {
  const { artifact, descriptor } = document;
  context.seen.add(artifact.source(descriptor));
  const beside = cosignAnnotations.flatMap(([key, suffix]): [string, VfsNode][] => {
    const value = descriptor.annotations?.[key];
    if (value === undefined || value === '') return [];
    const text = new TextFile(`${value.trimEnd()}\n`, context.lifetimes.immutableMs, context.mountTimeNs);
    return [[`${stem}${suffix}`, text]];
  });
  const source = artifact.source(descriptor);
  const predicate = predicateType(descriptor);
  if (
    document.kind === 'sbom' &&
    predicate !== undefined &&
    documentSuffix(descriptor.mediaType) === '.intoto.json'
  ) {
    const suffix = /cyclonedx/.test(predicate) ? '.cdx.json' : '.spdx.json';
    return [[`${stem}${suffix}`, new PredicateFile(context, source)]];
  }
  const name = nameToText(safeComponent(`${stem}${documentSuffix(descriptor.mediaType)}`));
  return [[name, new BlobFile(context, source, { mtimeNs: context.mountTimeNs })], ...beside];
}
