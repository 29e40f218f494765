/** Signatures of images: found wherever tools keep them, put where they look for them, and asked by a policy. */
import type { ContentCache } from '../../content/content.js';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { digestOf, type Digest } from '../../oci/digest.js';
import { descriptorDocument } from '../../oci/manifest-json.js';
import { mediaTypes } from '../../oci/media-type.js';
import type { RegistriesD } from '../../store/lookaside/registries-d.js';
import { readLookaside, writeLookaside } from '../../store/lookaside/lookaside.js';
import { isSignatureKeeper, isSignatureTaker, type CallOptions, type ImageStore } from '../../store/store.js';
import type { Image } from '../image.js';
import { readManifest } from '../read-manifest.js';
import { parseManifest } from '../../oci/parse-manifest.js';
import { cosignTag, type RelatedFinder } from '../referrers.js';
import { pushManifest } from '../push-manifest.js';
import { assertPusher } from '../upload/uploads.js';
import { putBytes } from '../put-bytes.js';
import {
  otherFormat,
  simpleSigningType,
  signatureAnnotation,
  type ImageSignature,
} from './image-signature.js';
import { encodeSigstore, parseStoredSignature } from './stored-signature.js';
import type { Policy, PolicySubject } from './policy.js';
import { verifyByPolicy, type Verdict } from './verify-image.js';

/** Payloads and envelopes; sigstore bundles have some 10 KB. */
const maxPayloadBytes = 4 * 1024 * 1024;

/** What signatures are found and kept with. */
export interface SignaturesDeps {
  readonly content: ContentCache;
  readonly related: RelatedFinder;
  /** Where simple signing keeps signatures of a name; without it none are looked for there. */
  readonly registriesD?: RegistriesD;
}

/** A signature with the bytes it is kept as. */
export interface KeptSignature {
  readonly bytes: Uint8Array;
  readonly signature: ImageSignature;
}

/** A signature to put beside an image. */
export type NewSignature =
  | { readonly format: 'simple-signing'; readonly message: Uint8Array }
  | {
      readonly format: 'sigstore';
      readonly payload: Uint8Array;
      /** Base64. */
      readonly signature: string;
      /** Certificate, chain, bundle: under cosign's keys. */
      readonly annotations?: Readonly<Record<string, string>>;
    };

export class Signatures {
  readonly #deps: SignaturesDeps;

  constructor(deps: SignaturesDeps) {
    this.#deps = deps;
  }

  /**
   * Every signature of what a name stands for and, of an index, of the chosen image: from the store itself, the
   * lookaside, cosign's tags, referrers. None of them is verified.
   * @throws ImgfsError when a place gave no answer.
   */
  async get(image: Image, options: CallOptions = {}): Promise<readonly ImageSignature[]> {
    const kept = await this.kept(image, options);
    const found: ImageSignature[] = kept.map(({ signature }) => signature);
    for (const document of await this.#deps.related.documents(image, 'signature', options)) {
      const { artifact, descriptor, origin } = document;
      const payload = await this.#deps.content.readAll(artifact.source(descriptor), {
        ...options,
        maxBytes: maxPayloadBytes,
      });
      const { mediaType, annotations = {} } = descriptor;
      const common = { origin, mediaType, payload, annotations, artifact: artifact.descriptor.digest };
      const signature = annotations[signatureAnnotation];
      if (mediaType === simpleSigningType && signature !== undefined)
        found.push({ format: 'sigstore', signature, ...common });
      else found.push({ format: otherFormat(mediaType), ...common });
    }
    return found;
  }

  /**
   * Those that are kept apart from artifacts: by the store itself (a `dir:`, a registry with the signature extension,
   * containers-storage), else in the lookaside of the image's name, where one is configured.
   */
  async kept(image: Image, options: CallOptions = {}): Promise<readonly KeptSignature[]> {
    const found: KeptSignature[] = [];
    for (const about of await signedDigests(image, options)) {
      const { origin, list } = await this.#keptOf(image, about, options);
      for (const bytes of list) found.push({ bytes, signature: parseStoredSignature(bytes, about, origin) });
    }
    return found;
  }

  async #keptOf(image: Image, about: Digest, options: CallOptions) {
    const { store, repository } = image;
    const own = isSignatureKeeper(store) ? await store.signatures(repository, about, options) : undefined;
    if (own !== undefined) return { origin: 'store', list: own } as const;
    const place = await this.#place(image);
    const list = place === undefined ? [] : await readLookaside(place.read, repository, about, options);
    return { origin: 'lookaside', list } as const;
  }

  /**
   * Put a signature where tools look for it: into a store that keeps signatures itself; else simple signing into the
   * lookaside, cosign's under its tag beside those that are there. Resolves to where it is now.
   * @throws ImgfsError `config` without a lookaside; `unsupported` for one that cannot be written; what the store throws.
   */
  async put(image: Image, signature: NewSignature, options: CallOptions = {}): Promise<string> {
    const { store, repository, descriptor } = image;
    const isSigstore = signature.format === 'sigstore';
    // Registries keep simple signing only; cosign looks under its tag there.
    if (isSigstore && store.transport === 'docker') return putUnderCosignTag(image, signature, options);
    if (isSignatureTaker(store)) {
      const bytes = isSigstore
        ? encodeSigstore(signature.payload, signature.signature, signature.annotations)
        : signature.message;
      const put = await store.putSignature(repository, descriptor.digest, bytes, options);
      if (put !== undefined) return put;
    }
    if (isSigstore) return putUnderCosignTag(image, signature, options);
    const place = await this.#place(image);
    if (place !== undefined)
      return writeLookaside(place.write, image.repository, image.descriptor.digest, signature.message);
    throw new ImgfsError('config', `put signature: no lookaside is configured for ${image.host}`, {
      host: image.host,
      hint: 'write one into registries.d, or give --lookaside',
    });
  }

  /**
   * Ask a policy about an image; a signature over the index that it was chosen from counts too.
   * @throws ImgfsError `denied` with the reasons; `config`, `unsupported`; when a place of signatures gave no answer.
   */
  async verify(image: Image, policy: Policy, options: CallOptions = {}): Promise<Verdict> {
    const thing = {
      subject: policySubject(image),
      digests: await signedDigests(image, options),
      signatures: await this.get(image, options),
      manifest: async (digest: Digest) => manifestBytes(image, digest, options),
    };
    return verifyByPolicy(policy, thing, options);
  }

  async #place({ store, host, repository, tag }: Image) {
    if (store.transport !== 'docker') return undefined;
    const name = `${host}/${repository}`;
    return this.#deps.registriesD?.placeOf(tag === undefined ? name : `${name}:${tag}`);
  }
}

/** The chosen image first, then the index it was chosen from. */
async function signedDigests(image: Image, options: CallOptions): Promise<readonly Digest[]> {
  const top = image.descriptor.digest;
  const parent = image.parent?.descriptor.digest;
  if (!image.isIndex) return parent === undefined ? [top] : [top, parent];
  try {
    return [(await image.leaf(options)).descriptor.digest, top];
  } catch (error) {
    if (isImgfsError(error, 'not-found')) return [top];
    throw error;
  }
}

/** Exact bytes of the image's index or of the manifest that was chosen. */
async function manifestBytes(image: Image, digest: Digest, options: CallOptions): Promise<Uint8Array> {
  const candidates = [image, ...(image.parent === undefined ? [] : [image.parent])];
  const own = candidates.find(({ descriptor }) => descriptor.digest === digest);
  return (await (own ?? (await image.leaf(options))).loadTop(options)).bytes;
}

/** How a policy names an image: by its registry, or by the path of its store. */
export function policySubject({ store, host, repository, tag, descriptor }: Image): PolicySubject {
  const named = tag === undefined ? { digest: descriptor.digest } : { tag };
  if (store.transport === 'docker') return { transport: 'docker', name: `${host}/${repository}`, ...named };
  const path = store.id.slice(store.id.indexOf(':') + 1);
  return { transport: store.transport, name: path, ...named };
}

async function putUnderCosignTag(
  image: Image,
  { payload, signature, annotations }: Extract<NewSignature, { format: 'sigstore' }>,
  options: CallOptions,
): Promise<string> {
  const store = assertPusher(image.store);
  const { repository } = image;
  const tag = cosignTag(image.descriptor.digest, 'signature');
  const layer: Descriptor = {
    mediaType: simpleSigningType,
    digest: digestOf(payload),
    size: payload.length,
    annotations: { [signatureAnnotation]: signature, ...annotations },
  };
  const known = (await layersOf(store, repository, tag, options)).filter(
    (other) => other.annotations?.[signatureAnnotation] !== signature,
  );
  const layers = [...known, layer];
  // What cosign and containers/image write: a config that lists the payloads as if they were layers.
  const config = Buffer.from(
    JSON.stringify({
      architecture: '',
      os: '',
      config: {},
      rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
    }),
  );
  await putBytes(store, repository, payload, options);
  const configDigest = await putBytes(store, repository, config, options);
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: mediaTypes.ociConfig, digest: configDigest, size: config.length },
    layers: layers.map(descriptorDocument),
  };
  await pushManifest({ store, repository }, Buffer.from(JSON.stringify(manifest)), {
    ...options,
    tags: [tag],
  });
  return `${image.host}/${repository}:${tag}`;
}

async function layersOf(
  store: ImageStore,
  repository: string,
  tag: string,
  options: CallOptions,
): Promise<readonly Descriptor[]> {
  try {
    const { descriptor } = await store.resolve({ repository, tag }, options);
    const manifest = parseManifest(
      await readManifest(store, repository, descriptor, options),
      descriptor.mediaType,
    );
    return manifest.kind === 'image' ? manifest.layers : [];
  } catch (error) {
    if (isImgfsError(error, 'not-found')) return [];
    throw error;
  }
}
