/**
 * A registry in the test's own process: faithful to the distribution-spec, and able to break every rule of it.
 *
 *     const registry = await startFaultRegistry({ auth: { kind: 'bearer', users: { me: 'pw' } } });
 *     registry.addImage('group/app', await buildImage(…), 'v1');
 *     registry.fault({ match: { path: /\/blobs\//, nth: 2 }, fault: { kind: 'cut', at: 100 } });
 *     … registry.requests …
 *     await registry.close();
 */
import type { ServerResponse } from 'node:http';
import { digestOf, type Digest } from '../../../src/oci/digest.js';
import type { Descriptor } from '../../../src/oci/descriptor.js';
import { mediaTypes } from '../../../src/oci/media-type.js';
import type { BuiltImage } from '../image-builder.js';
import { testCertificates, type ServerTls } from './certificates.js';
import {
  bytesContent,
  createContent,
  ensureRepository,
  type BlobContent,
  type RegistryContent,
} from './content.js';
import { createContext, type RegistryContext } from './context.js';
import { deliver } from './deliver.js';
import { distort } from './distort.js';
import { replacesAnswer, type ScriptedFault } from './fault.js';
import { createFaultPlan, type FaultPlan } from './fault-plan.js';
import type { FaultRegistryOptions } from './options.js';
import type { RegistryRequest, RequestRecord, ServerRole } from './request.js';
import { answer } from './router.js';
import type { SeededFaults } from './seeded.js';
import { startRoleServer, type RoleServer } from './server.js';
import type { UploadSession } from './uploads.js';

export interface RequestFilter {
  readonly role?: ServerRole;
  readonly method?: string;
  readonly path?: string | RegExp;
}

export interface FaultRegistry {
  /** `127.0.0.1:port`, as in an image reference. */
  readonly host: string;
  /** `http://127.0.0.1:port`, or https. */
  readonly url: string;
  readonly storageUrl: string;
  /** Origin of the token endpoint (`/token`). */
  readonly tokenUrl: string;
  /** Plain http server that belongs to somebody else: credentials seen here are a leak. */
  readonly strangerUrl: string;
  /** The CA to trust, PEM; undefined without TLS. */
  readonly ca: string | undefined;
  /** Every request to any of the servers, in order of arrival. */
  readonly requests: readonly RequestRecord[];
  readonly content: RegistryContent;
  readonly uploads: ReadonlyMap<string, UploadSession>;
  requestsTo(filter: RequestFilter): RequestRecord[];
  /** Bytes of body sent so far, over all requests that match. */
  bytesSent(filter?: RequestFilter): number;
  /** Forget the requests seen so far. */
  forgetRequests(): void;
  fault(fault: ScriptedFault): void;
  seedFaults(faults: SeededFaults | undefined): void;
  clearFaults(): void;
  putBlob(repository: string, bytes: Uint8Array, mediaType?: string): Descriptor;
  /** A blob of any size: its digest is taken as given. */
  putContent(repository: string, digest: Digest, content: BlobContent): void;
  /** Unchecked: hostile manifests are put with this. */
  putManifest(repository: string, bytes: Uint8Array, mediaType: string, tags?: readonly string[]): Descriptor;
  tag(repository: string, tag: string, digest: Digest): void;
  /** All blobs and manifests of a built image, and its tag. */
  addImage(repository: string, image: BuiltImage, tag?: string): Descriptor;
  /** Every token and refresh token given out so far: secrets, as far as anybody else is concerned. */
  issuedTokens(): string[];
  /** Let time pass for tokens and signed URLs. */
  advanceClock(ms: number): void;
  /** Outage: connections are refused and dropped until `resume`. */
  suspend(): Promise<void>;
  resume(): Promise<void>;
  close(): Promise<void>;
}

function passes(record: RequestRecord, filter: RequestFilter): boolean {
  if (filter.role !== undefined && filter.role !== record.role) return false;
  if (filter.method !== undefined && filter.method !== record.method) return false;
  if (filter.path === undefined) return true;
  return typeof filter.path === 'string' ? filter.path === record.path : filter.path.test(record.path);
}

async function serve(
  context: RegistryContext,
  plan: FaultPlan,
  request: RegistryRequest,
  response: ServerResponse,
): Promise<void> {
  const fault = plan.faultFor(request);
  if (fault === undefined) {
    await deliver(response, request, { reply: await answer(context, request) });
    return;
  }
  request.fault = fault.kind;
  const honest = replacesAnswer(fault) ? undefined : await answer(context, request);
  await deliver(response, request, distort(fault, request, honest));
}

async function serverTls(options: FaultRegistryOptions): Promise<ServerTls | undefined> {
  if (options.tls === undefined || options.tls === false) return undefined;
  const certificates = await testCertificates();
  const pair = certificates[options.certificate ?? 'good'];
  if (options.tls !== 'mutual') return pair;
  return { ...pair, ca: certificates.ca, requestCert: true, rejectUnauthorized: true };
}

/** Start it on free loopback ports. Close it when done. */
export async function startFaultRegistry(options: FaultRegistryOptions = {}): Promise<FaultRegistry> {
  const content = createContent();
  let skewMs = 0;
  const context: RegistryContext = {
    ...createContext(options, content),
    now: () => Date.now() + skewMs,
  };
  const plan = createFaultPlan();
  const records: RequestRecord[] = [];
  const tls = await serverTls(options);
  const startedAt = Date.now();
  const start = (role: ServerRole, port?: number): Promise<RoleServer> =>
    startRoleServer({
      role,
      tls: role === 'stranger' ? undefined : tls,
      records,
      startedAt,
      answer: (request, response) => serve(context, plan, request, response),
      ...(port === undefined ? {} : { port }),
    });
  const [main, storage, token, stranger] = await Promise.all([
    start('registry', options.port),
    start('storage'),
    start('token'),
    start('stranger'),
  ]);
  const separate = options.auth?.kind === 'bearer' && options.auth.tokenServer === 'separate';
  context.origins = {
    registry: main.origin,
    storage: storage.origin,
    token: separate ? token.origin : main.origin,
  };
  const seed = (faults: SeededFaults | undefined): void =>
    plan.seed(faults === undefined ? undefined : { strangerUrl: stranger.origin, ...faults });
  seed(options.faults);
  const servers = [main, storage, token, stranger];
  const all = async (act: (server: RoleServer) => Promise<void>): Promise<void> => {
    await Promise.all(servers.map(act));
  };
  const putBlob: FaultRegistry['putBlob'] = (repository, bytes, mediaType = mediaTypes.octetStream) => {
    const digest = digestOf(bytes);
    content.blobs.set(digest, bytesContent(bytes));
    ensureRepository(content, repository).blobs.add(digest);
    return { mediaType, digest, size: bytes.length };
  };
  const putManifest: FaultRegistry['putManifest'] = (name, bytes, mediaType, tags = []) => {
    const digest = digestOf(bytes);
    const repository = ensureRepository(content, name);
    repository.manifests.set(digest, { bytes, mediaType });
    for (const tag of tags) repository.tags.set(tag, digest);
    return { mediaType, digest, size: bytes.length };
  };
  return {
    host: `127.0.0.1:${main.port}`,
    url: main.origin,
    storageUrl: storage.origin,
    tokenUrl: context.origins.token,
    strangerUrl: stranger.origin,
    ca: tls === undefined ? undefined : (await testCertificates()).ca,
    requests: records,
    content,
    uploads: context.uploads,
    requestsTo: (filter) => records.filter((record) => passes(record, filter)),
    bytesSent: (filter = {}) =>
      records.filter((record) => passes(record, filter)).reduce((sum, record) => sum + record.bytesSent, 0),
    forgetRequests: () => void records.splice(0),
    fault: (fault) => plan.add(fault),
    seedFaults: seed,
    clearFaults: () => plan.clear(),
    putBlob,
    putContent: (repository, digest, blob) => {
      content.blobs.set(digest, blob);
      ensureRepository(content, repository).blobs.add(digest);
    },
    putManifest,
    tag: (repository, tag, digest) => void ensureRepository(content, repository).tags.set(tag, digest),
    addImage: (repository, image, tag) => {
      for (const { bytes, descriptor } of image.blobs) {
        content.blobs.set(descriptor.digest, bytesContent(bytes));
        ensureRepository(content, repository).blobs.add(descriptor.digest);
      }
      for (const {
        bytes,
        descriptor: { digest, mediaType },
      } of image.manifests) {
        ensureRepository(content, repository).manifests.set(digest, { bytes, mediaType });
      }
      if (tag !== undefined) ensureRepository(content, repository).tags.set(tag, image.descriptor.digest);
      return image.descriptor;
    },
    issuedTokens: () => [...context.tokens.keys(), ...context.refreshTokens.keys()],
    advanceClock: (ms) => {
      skewMs += ms;
    },
    suspend: () => all((server) => server.suspend()),
    resume: () => all((server) => server.resume()),
    close: () => all((server) => server.close()),
  };
}
