/** What is written down about an upload, so that it goes on after the process that began it has died. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { isDigest, type Digest } from '../../oci/digest.js';
import { isTag } from '../../oci/reference.js';

/**
 * `open`: content is still being written. `committing`: it is whole and on its way. `failed`: it is whole, and the
 * store did not take it. `committed`: the store has confirmed the digest.
 */
export type UploadPhase = 'open' | 'committing' | 'failed' | 'committed';

const phases: ReadonlySet<string> = new Set<UploadPhase>(['open', 'committing', 'failed', 'committed']);

/** What a kept manifest is to be called. */
export interface ManifestAddress {
  readonly document: 'manifest.json' | 'index.json';
  /** One of the two, or neither: then it is put under its own digest. */
  readonly tag?: string;
  readonly digest?: Digest;
  /** Path of its directory in the store. */
  readonly path: string;
}

export interface SpoolState {
  /** Names the upload and its folder in the spool. */
  readonly id: string;
  readonly storeId: string;
  readonly repository: string;
  /** What the user called it. */
  readonly name: string;
  /** The content must be this. */
  readonly expected?: Digest;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly phase: UploadPhase;
  /** From the store: how to go on with its session. */
  readonly resumeToken?: string;
  /** What the content turned out to be. */
  readonly digest?: Digest;
  /** Why the store did not take it, as text. */
  readonly error?: string;
  /** The content is an archive of images, one of which becomes this tag. */
  readonly archive?: { readonly tag: string };
  /** Content arrives in parts and is whole when its digest is told. */
  readonly session?: true;
  /** The content is a manifest that waits for what it names; otherwise it is a blob. */
  readonly manifest?: ManifestAddress;
}

const version = 1;

/** Ids become folder names. */
export const uploadIdPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/u;

export function formatSpoolState(state: SpoolState): string {
  return `${JSON.stringify({ version, ...state })}\n`;
}

/** @throws ImgfsError `invalid-content` for what this version did not write. */
export function parseSpoolState(text: string, id: string): SpoolState {
  const refuse = (why: string): never => {
    throw new ImgfsError('invalid-content', `read upload ${id}: ${why}`, {
      hint: 'remove its folder from the spool if you do not need it',
    });
  };
  let parsed: Partial<Record<keyof SpoolState | 'version', unknown>> | null;
  try {
    parsed = JSON.parse(text) as typeof parsed;
  } catch {
    return refuse('its state is not JSON');
  }
  if (typeof parsed !== 'object' || parsed === null || parsed.version !== version)
    return refuse('its state is of another version');
  const { storeId, repository, name, expected, startedAt, phase, resumeToken, digest, error } = parsed;
  const manifest = parsed.manifest === undefined ? undefined : parseAddress(parsed.manifest);
  if (parsed.manifest !== undefined && manifest === undefined) return refuse('its state is damaged');
  if (parsed.id !== id || typeof storeId !== 'string' || typeof repository !== 'string')
    return refuse('its state is damaged');
  if (typeof name !== 'string' || typeof startedAt !== 'number' || !phases.has(String(phase)))
    return refuse('its state is damaged');
  const archive = parsed.archive === undefined ? undefined : archiveTag(parsed.archive);
  if (parsed.archive !== undefined && archive === undefined) return refuse('its state is damaged');
  return {
    id,
    storeId,
    repository,
    name,
    startedAt,
    phase: phase as UploadPhase,
    ...(isDigest(expected) ? { expected } : {}),
    ...(isDigest(digest) ? { digest } : {}),
    ...(typeof resumeToken === 'string' ? { resumeToken } : {}),
    ...(typeof error === 'string' ? { error } : {}),
    ...(parsed.session === true ? { session: true as const } : {}),
    ...(manifest === undefined ? {} : { manifest }),
    ...(archive === undefined ? {} : { archive: { tag: archive } }),
  };
}

function archiveTag(value: unknown): string | undefined {
  const tag = (value as { readonly tag?: unknown } | null)?.tag;
  return typeof tag === 'string' && isTag(tag) ? tag : undefined;
}

function parseAddress(value: unknown): ManifestAddress | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { document, tag, digest, path } = value as Partial<Record<keyof ManifestAddress, unknown>>;
  if ((document !== 'manifest.json' && document !== 'index.json') || typeof path !== 'string')
    return undefined;
  if (tag !== undefined && !(typeof tag === 'string' && isTag(tag))) return undefined;
  if (digest !== undefined && !isDigest(digest)) return undefined;
  return {
    document,
    path,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}
