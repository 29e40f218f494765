/** Image configs (image-spec config.md; Docker image spec v1.2): what an image is made of and how it wants to run. */
import { isDigest, type Digest } from './digest.js';
import {
  asObject,
  field,
  optionalArray,
  optionalBoolean,
  optionalObject,
  optionalString,
  optionalStringMap,
  optionalStrings,
  refuseField,
  type JsonObject,
} from './json-fields.js';
import { parseUntrustedJson } from './json.js';
import { parsePlatformObject, type Platform } from './platform.js';

/** How a container of the image runs. Lists are empty where the config has none. */
export interface RunConfig {
  readonly user?: string;
  readonly workingDir?: string;
  readonly env: readonly string[];
  readonly entrypoint?: readonly string[];
  readonly cmd?: readonly string[];
  readonly shell?: readonly string[];
  readonly stopSignal?: string;
  /** `80/tcp`. */
  readonly exposedPorts: readonly string[];
  /** Paths. */
  readonly volumes: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

/** One step of how an image was made (image-spec config.md, `history`). */
export interface HistoryEntry {
  /** RFC 3339, as written. */
  readonly created?: string;
  readonly createdBy?: string;
  readonly author?: string;
  readonly comment?: string;
  /** True for a step that made no layer. */
  readonly emptyLayer: boolean;
}

/** What an image config says (image-spec config.md). */
export interface ImageConfig {
  /** RFC 3339, as written. */
  readonly created?: string;
  readonly author?: string;
  readonly dockerVersion?: string;
  /** Undefined when the config names neither system nor architecture: configs of artifacts. */
  readonly platform?: Platform;
  readonly config: RunConfig;
  /** Digests of the layers uncompressed, in the order of the manifest's layers. */
  readonly diffIds: readonly Digest[];
  readonly history: readonly HistoryEntry[];
}

/** The same bound as for manifests: containers/image reads no larger config either. */
export const maxConfigBytes = 4 * 1024 * 1024;

/**
 * Parse an image config.
 * @throws ImgfsError `too-large`, `invalid-content`.
 */
export function parseImageConfig(bytes: Uint8Array): ImageConfig {
  const where = 'image config';
  const document = asObject(parseUntrustedJson(bytes, { what: where, maxBytes: maxConfigBytes }), where);
  const rootfs = optionalObject(document, 'rootfs', where) ?? {};
  const history = optionalArray(document, 'history', where) ?? [];
  const named = optionalString(document, 'os', where) || optionalString(document, 'architecture', where);
  return {
    ...strings(document, where, { created: 'created', author: 'author', dockerVersion: 'docker_version' }),
    ...(named ? { platform: parsePlatformObject(document, where) } : {}),
    config: parseRunConfig(optionalObject(document, 'config', where) ?? {}, `${where}.config`),
    diffIds: diffIdsOf(rootfs, where),
    history: history.map((entry, index) => parseHistory(entry, `${where}.history[${index}]`)),
  };
}

/**
 * The digests of the layers uncompressed, and nothing else of a config.
 * @throws ImgfsError `too-large`, `invalid-content`.
 */
export function parseDiffIds(bytes: Uint8Array): readonly Digest[] {
  const where = 'image config';
  const document = asObject(parseUntrustedJson(bytes, { what: where, maxBytes: maxConfigBytes }), where);
  return diffIdsOf(optionalObject(document, 'rootfs', where) ?? {}, where);
}

function diffIdsOf(rootfs: JsonObject, where: string): readonly Digest[] {
  return (optionalArray(rootfs, 'diff_ids', `${where}.rootfs`) ?? []).map((value, index) =>
    isDigest(value) ? value : refuseField(`${where}.rootfs.diff_ids[${index}]`, 'not a digest'),
  );
}

function parseRunConfig(object: JsonObject, where: string): RunConfig {
  return {
    ...strings(object, where, { user: 'User', workingDir: 'WorkingDir', stopSignal: 'StopSignal' }),
    ...commandLines(object, where, { entrypoint: 'Entrypoint', cmd: 'Cmd', shell: 'Shell' }),
    env: optionalStrings(object, 'Env', where) ?? [],
    exposedPorts: Object.keys(optionalObject(object, 'ExposedPorts', where) ?? {}),
    volumes: Object.keys(optionalObject(object, 'Volumes', where) ?? {}),
    labels: optionalStringMap(object, 'Labels', where) ?? {},
  };
}

function parseHistory(value: unknown, where: string): HistoryEntry {
  const object = asObject(value, where);
  return {
    ...strings(object, where, {
      created: 'created',
      createdBy: 'created_by',
      author: 'author',
      comment: 'comment',
    }),
    emptyLayer: optionalBoolean(object, 'empty_layer', where) ?? false,
  };
}

/** Optional strings under other names; absent and empty ones are left out. */
function strings<Name extends string>(
  object: JsonObject,
  where: string,
  keys: Readonly<Record<Name, string>>,
): { readonly [name in Name]?: string } {
  const found = Object.entries<string>(keys).flatMap(([name, key]) => {
    const value = optionalString(object, key, where);
    return value === undefined || value === '' ? [] : [[name, value] as const];
  });
  return Object.fromEntries(found) as { readonly [name in Name]?: string };
}

/** Docker once wrote a command line as one string; it means a list of one. */
function commandLines<Name extends string>(
  object: JsonObject,
  where: string,
  keys: Readonly<Record<Name, string>>,
): { readonly [name in Name]?: readonly string[] } {
  const found = Object.entries<string>(keys).flatMap(([name, key]) => {
    const value = field(object, key);
    const words = typeof value === 'string' ? [value] : optionalStrings(object, key, where);
    return words === undefined ? [] : [[name, words] as const];
  });
  return Object.fromEntries(found) as { readonly [name in Name]?: readonly string[] };
}
