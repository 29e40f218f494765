/**
 * The index pass with Node's own streams: for systems without the addon. Node does not say where deflate blocks end,
 * so there is one place to start, the beginning; what was decoded should be kept.
 */
import { createHash, type Hash } from 'node:crypto';
import { write as writeCallback } from 'node:fs';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';
import { isImgfsError, toImgfsError } from '../../errors/imgfs-error.js';
import { createDigester, digestHex, type DigestAlgorithm, type Digester } from '../../oci/digest.js';
import { encodeSpan, type StartKind } from '../index/span-table.js';
import type { IndexerStep, LayerFormat } from '../native/layer-addon.js';
import { freshStream, type DecodingStream } from '../read/decoding-stream.js';
import { encodeEntry } from '../tar/entry-record.js';
import { TarReader } from '../tar/tar-reader.js';
import type { LayerIndexer } from './layer-indexer.js';

const write = promisify(writeCallback);

/** Bytes taken in one step: hashing and inflating 64 KiB hold up nothing. */
const inputBytes = 64 * 1024;

interface OpenSpan {
  readonly in: number;
  readonly out: number;
  readonly kind: StartKind;
  readonly hash: Hash;
  crc: number;
}

export class NodeIndexer implements LayerIndexer {
  private readonly format: LayerFormat;
  private readonly spanBytes: number;
  private readonly digester: Digester;
  private readonly stream: DecodingStream | undefined;
  private readonly tar: TarReader;
  private entries: Uint8Array[] = [];
  private spans: Uint8Array[] = [];
  private inTotal = 0;
  private outTotal = 0;
  private open: OpenSpan;
  private fd = -1;
  private decodedLost = false;

  /** @throws ImgfsError `unsupported`. */
  constructor(format: LayerFormat, algorithm: DigestAlgorithm, spanBytes: number) {
    this.format = format;
    this.spanBytes = spanBytes;
    this.digester = createDigester(algorithm);
    this.stream = format === 'plain' ? undefined : freshStream(format);
    this.tar = new TarReader((entry) => this.entries.push(encodeEntry(entry)));
    this.open = this.newSpan('fresh');
  }

  keepDecoded(fd: number): void {
    this.fd = fd;
  }

  save(): undefined {
    return undefined;
  }

  async step(input: Uint8Array, finish: boolean): Promise<IndexerStep> {
    // A plain archive is cut exactly where spans end.
    const room = this.format === 'plain' ? this.open.out + this.spanBytes - this.outTotal : inputBytes;
    const taken = input.subarray(0, Math.min(inputBytes, room));
    const isLast = finish && taken.length === input.length;
    let error = '';
    let errorIsTar = false;
    try {
      await this.take(taken, isLast);
    } catch (thrown) {
      error = toImgfsError(thrown).message.replace(/^read tar: | \(at byte \d+\)$/g, '');
      errorIsTar = isImgfsError(thrown);
    }
    const digest = isLast && error === '' ? digestHex(this.digester.digest()) : '';
    const errorOffset = errorIsTar ? this.tar.offset : this.inTotal;
    const { inTotal, outTotal, decodedLost } = this;
    const entries = Buffer.concat(this.entries.splice(0));
    const spans = Buffer.concat(this.spans.splice(0));
    const windows = new Uint8Array(0);
    return { consumed: taken.length, inTotal, outTotal, entries, spans, windows, digest, error, errorOffset, errorIsTar, decodedLost }; // prettier-ignore
  }

  private async take(input: Uint8Array, isLast: boolean): Promise<void> {
    this.digester.update(input);
    this.open.hash.update(input);
    this.inTotal += input.length;
    if (this.stream === undefined) await this.deliver(input);
    else {
      await this.stream.feed(input);
      for (const part of this.stream.take()) await this.deliver(part);
    }
    if (this.outTotal - this.open.out >= this.spanBytes) this.closeSpan();
    if (!isLast) return;
    if (this.stream !== undefined) {
      await this.stream.finish();
      for (const part of this.stream.take()) await this.deliver(part);
    }
    this.tar.end();
    if (this.outTotal > this.open.out || this.open.kind === 'fresh') this.closeSpan();
  }

  private async deliver(bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0) return;
    this.open.crc = crc32(bytes, this.open.crc);
    if (this.fd >= 0) await this.keep(bytes);
    this.outTotal += bytes.length;
    this.tar.feed(bytes);
  }

  private async keep(bytes: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < bytes.length;) {
        at += (await write(this.fd, bytes, at, bytes.length - at, this.outTotal + at)).bytesWritten;
      }
    } catch {
      this.decodedLost = true;
      this.fd = -1;
    }
  }

  private newSpan(kind: StartKind): OpenSpan {
    return { in: this.inTotal, out: this.outTotal, kind, hash: createHash('sha256'), crc: 0 };
  }

  private closeSpan(): void {
    const { open } = this;
    this.spans.push(
      encodeSpan({
        in: open.in,
        inEnd: this.inTotal,
        out: open.out,
        outEnd: this.outTotal,
        kind: open.kind,
        bits: 0,
        crc: open.crc,
        sha256: open.hash.digest(),
        windowLength: 0,
        windowStored: 0,
      }),
    );
    this.open = this.newSpan(this.format === 'plain' ? 'fresh' : 'inside');
  }
}
