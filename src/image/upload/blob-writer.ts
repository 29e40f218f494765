/**
 * One blob on its way into a repository: spooled, hashed and sent while it arrives, committed when it is whole.
 *
 * Nothing is sent before it is worth it: a blob that fits into one chunk goes up in one request on commit, after the
 * store was asked whether it has it, and a blob whose digest is known beforehand is not sent where it is already.
 */
import { ifMissing } from '../../errors/if-missing.js';
import { ImgfsError, describeError, toImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { digestAlgorithm, type Digest } from '../../oci/digest.js';
import { mediaTypes } from '../../oci/media-type.js';
import { createLogger } from '../../observe/log.js';
import { isBlobStatter, type CallOptions } from '../../store/store.js';
import type { PushStore } from '../push-store.js';
import { Sender } from './sender.js';
import type { OwnedUpload } from './spool.js';
import type { SpoolState, UploadPhase } from './spool-state.js';

const log = createLogger('upload');

/** Sent on arrival from this size: two chunks of the registry client, so that a config or a script is one request. */
const earlyBytes = 16 * 1024 * 1024;

/** While it arrives, this much at least is sent at once. */
const earlyPieceBytes = 8 * 1024 * 1024;

/** The state is written down at most this often while bytes are sent: an fsync each, against chunks of 8 MiB. */
const saveEveryMs = 500;

export interface BlobWriterDeps {
  readonly store: PushStore;
  /** Repositories of the same store in which the digest was seen: it may be mounted from there. */
  readonly seenIn: (digest: Digest) => readonly string[];
}

/** How a blob came to be where it is. */
export type CommitKind = 'sent' | 'present' | 'mounted';

export interface Committed {
  readonly descriptor: Descriptor;
  readonly kind: CommitKind;
}

export class BlobWriter {
  readonly #upload: OwnedUpload;
  readonly #deps: BlobWriterDeps;
  readonly #sender: Sender;
  readonly #stop = new AbortController();
  /** Who has it open: it is not let go of behind their backs. */
  holders = 0;
  #committed: Committed | undefined;
  #committing: Promise<Committed> | undefined;
  /** Changes since the last commit, or never committed. */
  #dirty = true;
  #isChanging = false;
  #pumping: Promise<void> | undefined;
  /** Sending on arrival failed, or is of no use: the rest is sent on commit. */
  #pumpOff: boolean;
  #savedAt = 0;
  #gone = false;
  #failure: ImgfsError | undefined;

  constructor(upload: OwnedUpload, deps: BlobWriterDeps) {
    this.#upload = upload;
    this.#deps = deps;
    const { expected, repository, resumeToken } = upload.state;
    // With a digest in the name the store is asked first: it may have it.
    this.#pumpOff = expected !== undefined;
    this.#sender = new Sender({
      store: deps.store,
      repository,
      file: upload.file,
      algorithm: expected === undefined ? 'sha256' : digestAlgorithm(expected),
      ...(resumeToken === undefined ? {} : { resumeToken }),
      onProgress: (token) => this.#noteToken(token),
    });
  }

  get state(): SpoolState {
    return this.#upload.state;
  }

  get size(): number {
    return this.#upload.file.size;
  }

  /** Bytes that the store has confirmed. */
  get sentBytes(): number {
    return this.#committed === undefined ? this.#sender.confirmed : this.size;
  }

  get sessionId(): string | undefined {
    return this.#sender.sessionId;
  }

  /** What the content was at the last commit; undefined after a change. */
  get committed(): Committed | undefined {
    return this.#dirty ? undefined : this.#committed;
  }

  /** Let go of: the spool has nothing of it any more, or another process may have it. */
  get isClosed(): boolean {
    return this.#gone;
  }

  get failure(): ImgfsError | undefined {
    return this.#failure;
  }

  /** Changed since somebody last had it committed: only who changes it knows when it is whole again. */
  get isChanging(): boolean {
    return this.#isChanging;
  }

  /** Take all of `data` at `position`. @throws ImgfsError `cache-full`. */
  async write(data: Uint8Array, position: number): Promise<void> {
    this.#checkAlive();
    await this.#change(position);
    await this.#upload.file.write(data, position);
    this.#pump();
  }

  async truncate(size: number): Promise<void> {
    this.#checkAlive();
    if (size === this.size) return;
    await this.#change(Math.min(size, this.size));
    await this.#upload.file.truncate(size);
  }

  /** Open the store's session now, so that it has an id. @throws what the store throws. */
  async begin(options: CallOptions): Promise<void> {
    await this.#sender.begin(options);
    await this.#upload.save(this.state);
  }

  /** Everything written so far outlives a power cut when this resolves. */
  async sync(): Promise<void> {
    await this.#upload.file.sync();
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    return this.#upload.file.read(buffer, position);
  }

  /** Name it anew before it is committed. @throws ImgfsError `digest-mismatch` when its content is something else. */
  async rename(name: string, expected: Digest | undefined): Promise<void> {
    this.#checkAlive();
    const { expected: _before, ...rest } = this.state;
    const done = this.committed?.descriptor.digest;
    if (expected !== undefined && done !== undefined && done !== expected) throw mismatch(done, expected);
    await this.#upload.save({ ...rest, name, ...(expected === undefined ? {} : { expected }) });
  }

  /**
   * Bring the content into the store. Resolves when the store has confirmed the digest. Who gives up waiting leaves
   * the work going on.
   * @throws ImgfsError `digest-mismatch` when it is not what its name says; what the store throws in the end.
   */
  commit(): Promise<Committed> {
    this.#checkAlive();
    this.#isChanging = false;
    if (!this.#dirty && this.#committed !== undefined) return Promise.resolve(this.#committed);
    this.#committing ??= this.#commit().finally(() => {
      this.#committing = undefined;
    });
    return this.#committing;
  }

  /** Take the content over from another repository of the store, without moving a byte; false if it would not. */
  async mountFrom(from: string, descriptor: Descriptor, options: CallOptions): Promise<boolean> {
    const { expected, repository } = this.state;
    if (expected !== undefined && expected !== descriptor.digest) throw mismatch(descriptor.digest, expected);
    const { store } = this.#deps;
    if (!(await store.mountBlob(repository, from, descriptor.digest, options))) return false;
    this.#committed = { descriptor: await this.#stat(descriptor.digest, options), kind: 'mounted' };
    this.#dirty = false;
    return true;
  }

  /** Give up: the session and the spool are removed. */
  async cancel(): Promise<void> {
    this.#gone = true;
    this.#stop.abort(new ImgfsError('interrupted', 'the upload is cancelled'));
    await this.#pumping;
    await this.#committing?.catch(() => undefined);
    await this.#sender.drop({ signal: AbortSignal.timeout(10_000) });
    await this.#upload.remove();
  }

  /** Let go of it: committed content needs no spool any more, anything else stays for later. */
  async close(): Promise<void> {
    if (this.#gone) return;
    await this.#committing?.catch(() => undefined);
    await this.leave();
  }

  /** As `close`, without waiting for a commit under way: it is broken off, and whoever has the spool next goes on. */
  async leave(): Promise<void> {
    if (this.#gone) return;
    this.#gone = true;
    this.#stop.abort(new ImgfsError('interrupted', 'the upload is closed'));
    await this.#pumping;
    await this.#committing?.catch(() => undefined);
    if (this.#committed !== undefined && !this.#dirty) {
      await this.#upload.remove();
      return;
    }
    await this.#save('open').catch(() => undefined);
    await this.#upload.file.sync().catch(() => undefined);
    await this.#upload.release();
  }

  #checkAlive(): void {
    if (this.#gone) throw new ImgfsError('bad-handle', `upload ${this.state.name}: it was cancelled`);
  }

  /** Content from `position` on is about to change. */
  async #change(position: number): Promise<void> {
    this.#isChanging = true;
    await this.#committing?.catch(() => undefined);
    this.#dirty = true;
    this.#committed = undefined;
    this.#failure = undefined;
    if (position >= this.#sender.given) return;
    this.#pumpOff = true;
    await this.#pumping;
    await this.#sender.drop({ signal: this.#stop.signal });
  }

  /** Send in the background what arrived in order. */
  #pump(): void {
    const { file } = this.#upload;
    if (this.#pumpOff || this.#pumping !== undefined || file.front < earlyBytes) return;
    if (file.front - this.#sender.given < earlyPieceBytes) return;
    this.#pumping = this.#sender
      .send(file.front, { signal: this.#stop.signal })
      .catch((error: unknown) => {
        // The commit tries again, and tells.
        this.#pumpOff = true;
        log.info('sending on arrival stops', { name: this.state.name, error: String(error) });
      })
      .then(() => {
        this.#pumping = undefined;
        this.#pump();
      });
  }

  async #commit(): Promise<Committed> {
    const options: CallOptions = { signal: this.#stop.signal };
    try {
      while (this.#pumping !== undefined) await this.#pumping;
      const committed = await this.#bring(options);
      this.#dirty = false;
      this.#committed = committed;
      this.#failure = undefined;
      // Losing this line costs a question at the next start.
      await this.#save('committed', { digest: committed.descriptor.digest }).catch(() => undefined);
      return committed;
    } catch (error) {
      if (!this.#gone) await this.#fail(toImgfsError(error, 'commit upload'));
      throw error;
    }
  }

  async #fail(failure: ImgfsError): Promise<void> {
    this.#failure = failure;
    // What could not be sent must outlive a power cut.
    await this.#upload.file.sync().catch(() => undefined);
    await this.#save('failed', { error: describeError(failure) }).catch(() => undefined);
  }

  async #bring(options: CallOptions): Promise<Committed> {
    const { file, state } = this.#upload;
    const { expected, repository } = state;
    const size = file.size;
    const digest = await file.digest(
      expected === undefined ? 'sha256' : digestAlgorithm(expected),
      options.signal,
    );
    if (expected !== undefined && digest !== expected) {
      await this.#sender.drop(options);
      throw mismatch(digest, expected);
    }
    await this.#save('committing', { digest });
    const present = await this.#present(digest, options);
    if (present !== undefined) {
      await this.#sender.drop(options);
      return { descriptor: present, kind: 'present' };
    }
    if (this.#sender.given === 0 && (await this.#mounted(digest, options)))
      return { descriptor: await this.#stat(digest, options), kind: 'mounted' };
    await this.#sender.finish(digest, size, options);
    const stored = await this.#stat(digest, options);
    if (stored.size === size) return { descriptor: stored, kind: 'sent' };
    throw new ImgfsError(
      'integrity',
      `upload to ${repository}: ${digest} has ${stored.size} bytes there, not ${size}`,
      {
        digest,
        hint: 'the registry or a proxy before it changed the blob',
      },
    );
  }

  async #present(digest: Digest, options: CallOptions): Promise<Descriptor | undefined> {
    const { store } = this.#deps;
    if (!isBlobStatter(store)) return undefined;
    return ifMissing(store.statBlob(this.state.repository, digest, options), undefined);
  }

  async #mounted(digest: Digest, options: CallOptions): Promise<boolean> {
    const { store, seenIn } = this.#deps;
    const { repository } = this.state;
    for (const from of seenIn(digest).slice(0, 2)) {
      if (
        from !== repository &&
        (await store.mountBlob(repository, from, digest, options).catch(() => false))
      )
        return true;
    }
    return false;
  }

  /** What the store says of a blob that it has just been given. */
  async #stat(digest: Digest, options: CallOptions): Promise<Descriptor> {
    const { store } = this.#deps;
    if (!isBlobStatter(store)) return { mediaType: mediaTypes.octetStream, digest, size: this.size };
    return store.statBlob(this.state.repository, digest, options);
  }

  #noteToken(resumeToken: string | undefined): void {
    const { resumeToken: _before, ...rest } = this.state;
    this.#upload.state = { ...rest, ...(resumeToken === undefined ? {} : { resumeToken }) };
    if (Date.now() - this.#savedAt < saveEveryMs || this.#gone) return;
    this.#savedAt = Date.now();
    this.#upload.save(this.state).catch(() => undefined);
  }

  #save(phase: UploadPhase, more: Partial<SpoolState> = {}): Promise<void> {
    const { error: _error, ...rest } = this.state;
    const keepFailed = phase === 'open' && this.state.phase !== 'committed' ? this.state : undefined;
    return this.#upload.save(keepFailed ?? { ...rest, phase, ...more });
  }
}

function mismatch(digest: Digest, expected: Digest): ImgfsError {
  return new ImgfsError('digest-mismatch', `the content is ${digest}, its name says ${expected}`, {
    digest: expected,
    hint: 'write the content that the name says, or choose a name that is no digest',
  });
}
