/**
 * `docker-daemon:`: the images of an engine, through its socket. Names come from its lists, contents from one export
 * of each image that is read. Adding is `load` ({@link DockerDaemonStore.load}); names move and go.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { isTag } from '../../oci/reference.js';
import type { ArchiveStore } from '../archive/archive-store.js';
import type { EngineName } from '../engine-name.js';
import { imagePosition, parseTagName, type ImageName } from '../image-name.js';
import { canonicalRepository } from '../layout/image-table.js';
import type {
  BlobStatter,
  Body,
  CallOptions,
  Deleter,
  FetchOptions,
  ImageStore,
  ListOptions,
  RepositoryLister,
  Resolved,
  TagLister,
  Target,
} from '../store.js';
import type { Tagger } from '../tagger.js';
import { EngineApi, type EngineImage } from './engine-api.js';
import { EngineExports } from './exports.js';

export interface DockerDaemonOptions {
  /** Where exports are kept. */
  readonly spoolDirectory?: string;
}

/** The socket of DOCKER_HOST, else the usual one. @throws ImgfsError `unsupported` for engines behind a network. */
function socketOf({ root }: EngineName, environment: NodeJS.ProcessEnv): string {
  if (root !== undefined) return root;
  const host = environment['DOCKER_HOST'] ?? '';
  if (host === '') return '/var/run/docker.sock';
  if (host.startsWith('unix://')) return host.slice('unix://'.length);
  throw new ImgfsError(
    'unsupported',
    `open docker-daemon: DOCKER_HOST is ${JSON.stringify(host)}, not a unix socket`,
    {
      hint: 'name a socket: docker-daemon:[/run/docker.sock]name',
    },
  );
}

/**
 * Open an engine; nothing is asked for but its version.
 * @throws ImgfsError `unavailable` when there is none, `denied`, `unsupported` for one that is too old, `protocol`.
 */
export async function openDockerDaemon(
  place: EngineName = {},
  options: DockerDaemonOptions & CallOptions = {},
  environment: NodeJS.ProcessEnv = process.env,
): Promise<DockerDaemonStore> {
  const api = new EngineApi(socketOf(place, environment));
  const store = new DockerDaemonStore(api, join(options.spoolDirectory ?? tmpdir(), 'docker-daemon'));
  try {
    await store.refresh(options);
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

export class DockerDaemonStore
  implements ImageStore, RepositoryLister, TagLister, BlobStatter, Deleter, Tagger
{
  readonly transport = 'docker-daemon';
  readonly id: string;
  private readonly api: EngineApi;
  private readonly exports: EngineExports;

  /** Use {@link openDockerDaemon}. */
  constructor(api: EngineApi, directory: string) {
    this.api = api;
    this.id = `docker-daemon:${api.socket}`;
    this.exports = new EngineExports(api, directory);
  }

  /** Forget exports of images that are gone. */
  async refresh(options: CallOptions = {}): Promise<void> {
    await this.exports.collect((await this.api.images(options)).map(({ id }) => id));
  }

  async resolve(target: Target, options: CallOptions = {}): Promise<Resolved> {
    if (target.digest !== undefined)
      return (await this.archiveOf(target.digest, options)).resolve(target, options);
    const archive = await this.exports.open(await this.idOf(target, options), options);
    return archive.resolve({ repository: '', tag: '@0' }, options);
  }

  private async idOf({ repository, tag = 'latest' }: Target, options: CallOptions): Promise<string> {
    const position = imagePosition(tag);
    if (position !== undefined) {
      const image = (await this.api.images(options))[position];
      if (image !== undefined) return image.id;
    }
    const name = canonicalRepository(repository);
    if (name === undefined || name === '' || !isTag(tag)) {
      throw new ImgfsError('not-found', `resolve ${repository}:${tag}: ${this.id} has no image of that name`);
    }
    return this.api.imageId(`${name}:${tag}`, options);
  }

  async fetch(repository: string, descriptor: Descriptor, options: FetchOptions = {}): Promise<Body> {
    return (await this.archiveOf(descriptor.digest, options)).fetch(repository, descriptor, options);
  }

  async statBlob(repository: string, digest: Digest, options: CallOptions = {}): Promise<Descriptor> {
    return (await this.archiveOf(digest, options)).statBlob(repository, digest, options);
  }

  private async archiveOf(digest: Digest, options: CallOptions): Promise<ArchiveStore> {
    const ids = async (): Promise<readonly string[]> => (await this.api.images(options)).map(({ id }) => id);
    const archive = await this.exports.find(digest, ids);
    if (archive !== undefined) return archive;
    throw new ImgfsError('not-found', `${this.id} has no blob ${digest}`, {
      digest,
      hint: 'an engine knows its images by name: resolve the name first',
    });
  }

  async *repositories(options: ListOptions = {}): AsyncGenerator<string> {
    const images = await this.api.images(options);
    const names = new Set(images.flatMap((image) => namesOf(image).map(({ repository }) => repository)));
    if (names.size === 0 || images.some((image) => namesOf(image).length === 0)) names.add('');
    yield* [...names].sort().filter((name) => options.last === undefined || name > options.last);
  }

  async *tags(repository: string, options: ListOptions = {}): AsyncGenerator<string> {
    const wanted = canonicalRepository(repository);
    const names = (await this.api.images(options)).flatMap(namesOf);
    const tags = names.filter((name) => name.repository === wanted).map(({ tag }) => tag);
    if (tags.length === 0 && repository !== '') {
      throw new ImgfsError('not-found', `${this.id} has no repository ${JSON.stringify(repository)}`);
    }
    yield* [...new Set(tags)].sort().filter((tag) => options.last === undefined || tag > options.last);
  }

  /** Take in an archive as `docker load` does. @throws as {@link EngineApi.load}. */
  load(archive: AsyncIterable<Uint8Array>, options: CallOptions = {}): Promise<void> {
    return this.api.load(archive, options);
  }

  /** Give the image of a digest or name another name. @throws ImgfsError `not-found`, `name-invalid`. */
  async tag(target: Target, repository: string, tag: string, options: CallOptions = {}): Promise<void> {
    const name = canonicalRepository(repository);
    if (name === undefined || name === '' || !isTag(tag)) {
      throw new ImgfsError('name-invalid', `tag image: ${JSON.stringify(`${repository}:${tag}`)} is no name`);
    }
    const id =
      target.digest === undefined
        ? await this.idOf(target, options)
        : await this.idOfDigest(target.digest, options);
    await this.api.tag(id, name, tag, options);
  }

  private async idOfDigest(digest: Digest, options: CallOptions): Promise<string> {
    for (const { id } of await this.api.images(options)) {
      if (id === digest) return id;
      const archive = await this.exports.open(id, options);
      const { descriptor } = await archive.resolve({ repository: '', tag: '@0' }, options);
      if (descriptor.digest === digest) return id;
    }
    throw new ImgfsError('not-found', `${this.id} has no image ${digest}`, { digest });
  }

  async deleteTag(repository: string, tag: string, options: CallOptions = {}): Promise<void> {
    const name = canonicalRepository(repository);
    if (name === undefined || name === '' || !isTag(tag)) {
      throw new ImgfsError(
        'not-found',
        `delete tag: ${this.id} has no ${JSON.stringify(`${repository}:${tag}`)}`,
      );
    }
    await this.api.remove(`${name}:${tag}`, options);
  }

  async deleteManifest(_repository: string, digest: Digest, options: CallOptions = {}): Promise<void> {
    await this.api.remove(await this.idOfDigest(digest, options), options);
  }

  async deleteBlob(): Promise<void> {
    throw new ImgfsError('unsupported', `delete blob: ${this.id} removes layers with their images`);
  }

  async close(): Promise<void> {
    await this.exports.close();
    await this.api.close();
  }
}

function namesOf({ names }: EngineImage): readonly ImageName[] {
  return names.flatMap((name) => {
    try {
      return parseTagName(name) ?? [];
    } catch (error) {
      if (isImgfsError(error)) return [];
      throw error;
    }
  });
}
