/** What is written down about an upload so that it goes on after a restart. */
import { ImgfsError } from '../../../errors/imgfs-error.js';
import { isDigestAlgorithm, type DigestAlgorithm } from '../../../oci/digest.js';

export interface UploadState {
  readonly registry: string;
  readonly repository: string;
  /** Newest location: docker-registry keeps the offset in it and refuses older ones. */
  readonly location: string;
  /** Bytes that the registry has confirmed. */
  readonly offset: number;
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly algorithm: DigestAlgorithm;
  /** Bytes of one PATCH by the wish of the registry. */
  readonly chunkBytes: number;
}

const version = 1;

export function formatResumeToken(state: UploadState): string {
  return JSON.stringify({ version, ...state });
}

/**
 * @throws ImgfsError `invalid` for what is no token of this registry and repository.
 */
export function parseResumeToken(token: string, registry: string, repository: string): UploadState {
  const refuse = (why: string): ImgfsError =>
    new ImgfsError('invalid', `resume upload to ${registry}/${repository}: ${why}`, {
      reference: `${registry}/${repository}`,
      hint: 'start the upload anew',
    });
  let parsed: Partial<Record<keyof UploadState | 'version', unknown>>;
  try {
    parsed = (JSON.parse(token) ?? {}) as typeof parsed;
  } catch {
    throw refuse('the resume token is unreadable');
  }
  const { location, offset, id, startedAt, algorithm, chunkBytes } = parsed;
  if (parsed.version !== version) throw refuse('the resume token is of another version');
  if (parsed.registry !== registry || parsed.repository !== repository) {
    throw refuse('the resume token belongs to another repository');
  }
  const count = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  if (typeof location !== 'string' || !URL.canParse(location) || typeof id !== 'string') {
    throw refuse('the resume token names no upload');
  }
  if (!count(offset) || !count(startedAt) || !count(chunkBytes) || chunkBytes === 0) {
    throw refuse('the resume token is damaged');
  }
  if (typeof algorithm !== 'string' || !isDigestAlgorithm(algorithm))
    throw refuse('the algorithm is unknown');
  return { registry, repository, location, offset, id, startedAt, algorithm, chunkBytes };
}
