/** Choosing one child of an index. */
import { ImgfsError } from '../errors/imgfs-error.js';
import type { Descriptor } from './descriptor.js';
import type { ImageIndex } from './manifest.js';
import { rankPlatform } from './match-platform.js';
import { manifestKind } from './media-type.js';
import { formatPlatform, type Platform } from './platform.js';
import { compareWindowsVersions } from './windows-version.js';

/** True for what BuildKit puts beside images: attestations, with the platform unknown/unknown. */
export function isAttestationManifest(descriptor: Descriptor): boolean {
  const { platform, annotations } = descriptor;
  return (
    (platform?.os === 'unknown' && platform.architecture === 'unknown') ||
    annotations?.['vnd.docker.reference.type'] === 'attestation-manifest'
  );
}

/**
 * The child that fits `wanted` best. Children without a platform come last, as in containerd; attestations and what
 * is no manifest never. Among equals the one with more os.features wins, then the newest Windows where a version of it
 * is wanted, then the first.
 * @throws ImgfsError `not-found`, listing the platforms there are.
 */
export function selectManifest(index: ImageIndex, wanted: Platform): Descriptor {
  const candidates = index.manifests.filter(
    (child) =>
      ['image', 'index'].includes(manifestKind(child.mediaType) ?? '') && !isAttestationManifest(child),
  );
  const best = candidates.reduce<Choice | undefined>((chosen, child) => {
    const choice = rate(child, wanted);
    return choice !== undefined && (chosen === undefined || isBetter(choice, chosen)) ? choice : chosen;
  }, undefined);
  if (best !== undefined) return best.child;
  const offered = candidates.flatMap(({ platform }) =>
    platform === undefined ? [] : formatPlatform(platform),
  );
  throw new ImgfsError('not-found', `select ${formatPlatform(wanted)}: the index has no image for it`, {
    hint:
      offered.length === 0
        ? 'the index is empty'
        : `choose --platform from: ${offered.slice(0, 20).join(', ')}`,
  });
}

interface Choice {
  readonly child: Descriptor;
  readonly rank: number;
  readonly features: number;
  /** os.version, where it decides: '' otherwise. */
  readonly version: string;
}

function rate(child: Descriptor, wanted: Platform): Choice | undefined {
  const { platform } = child;
  if (platform === undefined) return { child, rank: Number.MAX_SAFE_INTEGER, features: 0, version: '' };
  const rank = rankPlatform(wanted, platform);
  if (rank < 0) return undefined;
  const versioned = wanted.os === 'windows' && wanted.osVersion !== undefined;
  const version = versioned ? (platform.osVersion ?? '') : '';
  return { child, rank, features: platform.osFeatures?.length ?? 0, version };
}

function isBetter(left: Choice, right: Choice): boolean {
  if (left.rank !== right.rank) return left.rank < right.rank;
  if (left.features !== right.features) return left.features > right.features;
  return compareWindowsVersions(left.version, right.version) > 0;
}
