/** Platforms as an image index names them (image-spec image-index.md, "platform"), spelled as containerd spells them. */
import { ImgfsError } from '../errors/imgfs-error.js';
import { optionalString, optionalStrings, refuseField, type JsonObject } from './json-fields.js';

/** System and processor an image is for (image-spec image-index.md, `platform`). */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly osVersion?: string;
  readonly osFeatures?: readonly string[];
}

const component = /^[A-Za-z0-9_.-]{1,64}$/;
const knownSystems =
  /^(aix|android|darwin|dragonfly|freebsd|illumos|ios|js|linux|netbsd|openbsd|plan9|solaris|wasip1|windows|zos)$/;
const knownArchitectures =
  /^(386|amd64|arm|arm64|loong64|mips|mips64|mips64le|mipsle|ppc64|ppc64le|riscv64|s390x|sparc64|wasm)$/;

/**
 * One spelling for each platform, containerd's: `x86_64` is amd64, `aarch64` is arm64 whose default variant v8 is not
 * written, `armhf` is arm/v7, `armel` arm/v6, `i386` is 386, `macos` is darwin; lower case.
 */
export function normalizePlatform(platform: Platform): Platform {
  const os = platform.os.toLowerCase();
  const { architecture, variant } = normalizeArchitecture(
    platform.architecture.toLowerCase(),
    (platform.variant ?? '').toLowerCase(),
  );
  return {
    os: os === 'macos' ? 'darwin' : os,
    architecture,
    ...(variant === '' ? {} : { variant }),
    ...(platform.osVersion === undefined ? {} : { osVersion: platform.osVersion }),
    ...(platform.osFeatures === undefined ? {} : { osFeatures: platform.osFeatures }),
  };
}

function normalizeArchitecture(
  architecture: string,
  variant: string,
): { architecture: string; variant: string } {
  switch (architecture) {
    case 'i386':
      return { architecture: '386', variant: '' };
    case 'x86_64':
    case 'x86-64':
    case 'amd64':
      return { architecture: 'amd64', variant: variant === 'v1' ? '' : variant };
    case 'aarch64':
    case 'arm64':
      return { architecture: 'arm64', variant: normalizeArm64Variant(variant) };
    case 'armhf':
      return { architecture: 'arm', variant: 'v7' };
    case 'armel':
      return { architecture: 'arm', variant: 'v6' };
    case 'arm':
      if (variant === '') return { architecture, variant: 'v7' };
      return { architecture, variant: /^[5-8]$/.test(variant) ? `v${variant}` : variant };
    default:
      return { architecture, variant };
  }
}

function normalizeArm64Variant(variant: string): string {
  if (variant === '8' || variant === 'v8' || variant === 'v8.0') return '';
  if (variant === '9' || variant === '9.0' || variant === 'v9.0') return 'v9';
  return variant;
}

function refuse(text: string, why: string): never {
  throw new ImgfsError('invalid', `not a platform: ${JSON.stringify(text.slice(0, 200))}: ${why}`, {
    hint: 'platforms look like linux/amd64, linux/arm/v7 or windows(10.0.17763)/amd64',
  });
}

/**
 * Parse `os[([version][+feature…])]/architecture[/variant]`, or one of the two words alone: then the other is this
 * machine's. The result is normalised. Features are percent-encoded where they have strange characters.
 * @throws ImgfsError `invalid`.
 */
export function parsePlatform(text: string): Platform {
  const [head = '', architecture, variant, ...more] = text.split('/');
  const match =
    /^([A-Za-z0-9_-]{1,64})(?:\(([A-Za-z0-9_.-]{0,64})((?:\+[A-Za-z0-9_.%-]{1,64}){0,16})\))?$/.exec(head);
  if (match === null || more.length > 0) refuse(text, 'expected os[(version)]/architecture[/variant]');
  const [, os = '', osVersion, encoded = ''] = match;
  if ([architecture, variant].some((part) => part !== undefined && !component.test(part))) {
    refuse(text, 'a part is empty or has strange characters');
  }
  const osFeatures = decodeFeatures(text, encoded);
  const version = {
    ...(osVersion === undefined || osVersion === '' ? {} : { osVersion }),
    ...(osFeatures.length === 0 ? {} : { osFeatures }),
  };
  if (architecture === undefined) return { ...parseOneWord(text, os), ...version };
  return normalizePlatform({ os, architecture, ...(variant === undefined ? {} : { variant }), ...version });
}

/** `+a+b` as a sorted list. */
function decodeFeatures(text: string, encoded: string): readonly string[] {
  try {
    return [...new Set(encoded.split('+').filter(Boolean).map(decodeURIComponent))].sort();
  } catch {
    return refuse(text, 'a feature is not percent-encoded well');
  }
}

function parseOneWord(text: string, word: string): Platform {
  const host = hostPlatform();
  const asSystem = normalizePlatform({ ...host, os: word });
  if (knownSystems.test(asSystem.os)) return asSystem;
  const asArchitecture = normalizePlatform({ os: host.os, architecture: word });
  return knownArchitectures.test(asArchitecture.architecture)
    ? asArchitecture
    : refuse(text, 'neither a known operating system nor a known architecture');
}

/** `linux/arm/v7`, `windows(10.0.17763.1+win32k)/amd64`: what `parsePlatform` reads. */
export function formatPlatform(platform: Platform): string {
  const features = (platform.osFeatures ?? []).map((feature) => `+${encodeFeature(feature)}`).join('');
  const details = `${platform.osVersion ?? ''}${features}`;
  const variant = platform.variant === undefined ? '' : `/${platform.variant}`;
  return `${platform.os}${details === '' ? '' : `(${details})`}/${platform.architecture}${variant}`;
}

/** Percent-encoding of everything but letters, digits, `_`, `.` and `-`. */
function encodeFeature(feature: string): string {
  return encodeURIComponent(feature.replaceAll(/\p{Surrogate}/gu, '\ufffd')).replaceAll(
    /[!'()*~]/g,
    (char) => `%${(char.codePointAt(0) ?? 0).toString(16).toUpperCase()}`,
  );
}

/** `linux-arm-v7`: the name of the platform's directory, spelled as the index spells it. */
export function platformDirectoryName(platform: Platform): string {
  return [platform.os, platform.architecture, platform.variant].filter(Boolean).join('-');
}

/** Directory names for the children of one index, made different by os.version, then by a number. */
export function platformDirectoryNames(platforms: readonly Platform[]): readonly string[] {
  const plain = platforms.map(platformDirectoryName);
  const taken = new Set<string>();
  return platforms.map((platform, index) => {
    const name = plain[index] ?? '';
    const shared = plain.indexOf(name) !== plain.lastIndexOf(name);
    const base = shared && platform.osVersion !== undefined ? `${name}-${platform.osVersion}` : name;
    let unique = base;
    for (let number = 2; taken.has(unique); number += 1) unique = `${base}-${number}`;
    taken.add(unique);
    return unique;
  });
}

const hostArchitectures: Readonly<Record<string, string>> = {
  x64: 'amd64',
  ia32: '386',
  ppc64: 'ppc64le',
  mipsel: 'mipsle',
};

/**
 * The platform whose images this machine runs: always linux, as in Docker, because on other systems containers run in
 * a Linux machine. On 32-bit ARM the variant is the one Node was built for.
 */
export function hostPlatform(): Platform {
  const { arm_version: built } = process.config.variables as { arm_version?: string | number };
  return normalizePlatform({
    os: 'linux',
    architecture: hostArchitectures[process.arch] ?? process.arch,
    ...(process.arch === 'arm' && built !== undefined ? { variant: `v${built}` } : {}),
  });
}

/** The `platform` of a descriptor. Words that cannot be part of a file name are refused; a missing one is `unknown`. */
export function parsePlatformObject(object: JsonObject, where: string): Platform {
  const word = (key: string): string | undefined => {
    const value = optionalString(object, key, where);
    if (value === undefined || value === '') return undefined;
    return component.test(value) ? value : refuseField(`${where}.${key}`, 'not a platform name');
  };
  const variant = word('variant');
  const osVersion = word('os.version');
  const osFeatures = optionalStrings(object, 'os.features', where);
  return {
    os: word('os') ?? 'unknown',
    architecture: word('architecture') ?? 'unknown',
    ...(variant === undefined ? {} : { variant }),
    ...(osVersion === undefined ? {} : { osVersion }),
    ...(osFeatures === undefined || osFeatures.length === 0 ? {} : { osFeatures }),
  };
}
