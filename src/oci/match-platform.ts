/** Which platforms can stand for a wanted one, best first: the rules of containerd's `platforms.Only`. */
import { normalizePlatform, type Platform } from './platform.js';
import { windowsRuns } from './windows-version.js';

/** arm64 v9.x implements v8.(x+5), as far as v8 goes (containerd platforms, compare.go). */
const lastArm64Minor = { v8: 9, v9: 7 } as const;

/**
 * The place of `candidate` among what `wanted` accepts: 0 is the best, -1 is no match. amd64/v3 accepts v2, v1, then
 * 386; arm/v7 accepts v6, then v5; arm64 accepts older variants, then 32-bit arm. A wanted os.version of Windows
 * accepts what that version runs; of other systems it is a prefix of the candidate's, whole parts only. os.features of
 * the candidate must all be wanted.
 */
export function rankPlatform(wanted: Platform, candidate: Platform): number {
  const want = normalizePlatform(wanted);
  const have = normalizePlatform(candidate);
  if (want.os !== have.os || !acceptsVersion(want, have.osVersion)) return -1;
  if (!(have.osFeatures ?? []).every((feature) => featureAccepted(want, feature))) return -1;
  return acceptedArchitectures(want).indexOf(architectureKey(have));
}

/** True when `wanted` accepts `candidate`. */
export function matchesPlatform(wanted: Platform, candidate: Platform): boolean {
  return rankPlatform(wanted, candidate) >= 0;
}

function acceptsVersion({ os, osVersion: wanted }: Platform, candidate: string | undefined): boolean {
  if (wanted === undefined || candidate === undefined) return true;
  if (os === 'windows') return windowsRuns(wanted, candidate);
  return candidate === wanted || candidate.startsWith(`${wanted}.`);
}

/** containerd leaves win32k out of the comparison: every Windows base image carries it. */
function featureAccepted(wanted: Platform, feature: string): boolean {
  return (wanted.osFeatures ?? []).includes(feature) || (wanted.os === 'windows' && feature === 'win32k');
}

function architectureKey({ architecture, variant }: Platform): string {
  return variant === undefined ? architecture : `${architecture}/${variant}`;
}

/** Keys of normalised platforms, best first. */
function acceptedArchitectures(wanted: Platform): readonly string[] {
  switch (wanted.architecture) {
    case 'amd64':
      return [...amd64Keys(wanted.variant), '386'];
    case 'arm':
      return armKeys(wanted.variant ?? 'v7');
    case 'arm64':
      return arm64Keys(wanted.variant ?? 'v8');
    default:
      return [architectureKey(wanted)];
  }
}

function amd64Keys(variant: string | undefined): string[] {
  const level = /^v([2-9])$/.exec(variant ?? '')?.[1];
  if (level === undefined) return [variant === undefined ? 'amd64' : `amd64/${variant}`];
  return Array.from({ length: Number(level) }, (_, step) =>
    Number(level) - step === 1 ? 'amd64' : `amd64/v${Number(level) - step}`,
  );
}

function armKeys(variant: string): string[] {
  const version = /^v([6-8])$/.exec(variant)?.[1];
  if (version === undefined) return [`arm/${variant}`];
  return Array.from({ length: Number(version) - 4 }, (_, step) => `arm/v${Number(version) - step}`);
}

function arm64Keys(variant: string): string[] {
  const match = /^v([89])(?:\.([0-9]))?$/.exec(variant);
  const major = match?.[1];
  const minor = Number(match?.[2] ?? 0);
  if (major === undefined || minor > (major === '9' ? lastArm64Minor.v9 : lastArm64Minor.v8)) {
    return [`arm64/${variant}`];
  }
  const v8Minor = major === '8' ? minor : Math.min(minor + 5, lastArm64Minor.v8);
  return [...(major === '9' ? arm64Versions(9, minor) : []), ...arm64Versions(8, v8Minor), ...armKeys('v8')];
}

function arm64Versions(major: number, minor: number): string[] {
  const first = major === 8 ? 'arm64' : `arm64/v${major}`;
  return Array.from({ length: minor + 1 }, (_, step) =>
    step === minor ? first : `arm64/v${major}.${minor - step}`,
  );
}
