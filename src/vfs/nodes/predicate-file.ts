/** The predicate of an in-toto statement as a file: an SBOM that tools can read, out of BuildKit's attestation. */
import type { BlobSource } from '../../content/content.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { findJsonMember } from '../../image/json-member.js';
import { SingleFlight } from '../../image/single-flight.js';
import type { ByteRange, CallOptions } from '../../store/store.js';
import type { FileNode, MaybePromise, NodeStat, NodeXattrs, OpenFile } from '../node.js';
import type { TreeContext } from '../tree-context.js';
import { fileStat } from './answers.js';
import { descriptorXattrs } from './blob-file.js';
import { openBytes } from './bytes-file.js';

/** SBOMs of images of 10,000 packages are some 30 MB; each open file holds its document. */
const maxStatementBytes = 64 * 1024 * 1024;

export class PredicateFile implements FileNode {
  readonly type = 'file';
  readonly identity: string;
  readonly attrTtlMs: number;
  readonly #context: TreeContext;
  readonly #source: BlobSource;
  readonly #flight = new SingleFlight<ByteRange>();
  #range: ByteRange | undefined;

  constructor(context: TreeContext, source: BlobSource) {
    this.#context = context;
    this.#source = source;
    this.identity = `predicate ${source.descriptor.digest}`;
    this.attrTtlMs = context.lifetimes.immutableMs;
  }

  get statIsDear(): boolean {
    return this.#range === undefined;
  }

  /** Reads the statement the first time: its length does not tell the predicate's. */
  stat(options: CallOptions): MaybePromise<NodeStat> {
    const show = ({ start, end }: ByteRange): NodeStat => fileStat(end - start, this.#context.mountTimeNs);
    return this.#range === undefined ? this.#locate(options).then(show) : show(this.#range);
  }

  xattrs(): NodeXattrs {
    return new Map(descriptorXattrs(this.#source.descriptor));
  }

  async open(options: CallOptions): Promise<OpenFile> {
    const { start, end } = await this.#locate(options);
    return openBytes((await this.#statement(options)).subarray(start, end), { directIo: false });
  }

  async #locate(options: CallOptions): Promise<ByteRange> {
    this.#range ??= await this.#flight.run('', options.signal, async (signal) => {
      const range = await findJsonMember(await this.#statement({ signal }), 'predicate', { signal });
      if (range !== undefined) return range;
      throw new ImgfsError(
        'invalid-content',
        'read the predicate of an attestation: it has none, or several',
        {
          digest: this.#source.descriptor.digest,
          hint: 'the statement itself is in attestations/',
        },
      );
    });
    return this.#range;
  }

  #statement(options: CallOptions): Promise<Uint8Array> {
    return this.#context.content.readAll(this.#source, { ...options, maxBytes: maxStatementBytes });
  }
}
