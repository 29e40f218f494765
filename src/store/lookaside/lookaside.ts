/**
 * Signatures beside a registry (containers/image docs/signature-protocols.md): `<base>/<repository>@<alg>=<hex>/
 * signature-<n>`, counted from 1 until one is missing. `http(s)://` is read, `file://` is read and written.
 */
import { mkdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Dispatcher } from 'undici';
import { ImgfsError, isImgfsError, redactUrl, toImgfsError } from '../../errors/imgfs-error.js';
import { digestAlgorithm, digestHex, type Digest } from '../../oci/digest.js';
import { fileError, fsErrorCode } from '../file-error.js';
import { Agent } from '../registry/http/dispatchers.js';
import { exchange } from '../registry/http/exchange.js';
import { discardBody, readBody } from '../registry/http/read-body.js';
import type { CallOptions } from '../store.js';
import { replaceFile } from '../write-file.js';
import { maxSignatureBytes, maxSignatures } from './limits.js';

/** To the headers of an answer, and from there to its end. */
const requestTimeoutMs = 20_000;

/** For all such places: one address has few signatures, and several images often have the same address. */
let webAgent: Dispatcher | undefined;

/** Address of one signature. */
function address(base: string, repository: string, digest: Digest, number: number): URL {
  const root = base.endsWith('/') ? base : `${base}/`;
  const folder = `${repository}@${digestAlgorithm(digest)}=${digestHex(digest)}`;
  let url: URL;
  try {
    url = new URL(`${folder}/signature-${number}`, root);
  } catch {
    throw new ImgfsError('config', `signatures of ${repository}: ${JSON.stringify(base)} is not an address`, {
      hint: 'lookaside: takes file:///path or https://host/path',
    });
  }
  if (['http:', 'https:', 'file:'].includes(url.protocol)) return url;
  throw new ImgfsError('config', `signatures of ${repository}: ${url.protocol} is not supported`, {
    hint: 'lookaside: takes file:///path or https://host/path',
  });
}

/**
 * Every signature of a manifest, in order. `repository` is the name without its registry.
 * @throws ImgfsError `unavailable` when the place cannot be asked: that is not "no signatures".
 */
export async function readLookaside(
  base: string,
  repository: string,
  digest: Digest,
  options: CallOptions = {},
): Promise<readonly Uint8Array[]> {
  const found: Uint8Array[] = [];
  for (let number = 1; number <= maxSignatures; number += 1) {
    const url = address(base, repository, digest, number);
    const bytes = url.protocol === 'file:' ? await fromFile(url) : await fromWeb(url, options);
    if (bytes === undefined) break;
    found.push(bytes);
  }
  return found;
}

/**
 * Add a signature behind those that are there; resolves to its path.
 * @throws ImgfsError `unsupported` for places that are not files.
 */
export async function writeLookaside(
  base: string,
  repository: string,
  digest: Digest,
  signature: Uint8Array,
): Promise<string> {
  for (let number = 1; number <= maxSignatures; number += 1) {
    const url = address(base, repository, digest, number);
    if (url.protocol !== 'file:')
      throw new ImgfsError('unsupported', `put signature: ${redactUrl(url)} cannot be written`, {
        hint: 'configure lookaside-staging: file:///path, and publish the files from there',
      });
    const path = fileURLToPath(url);
    const known = await fromFile(url);
    if (known !== undefined && Buffer.compare(known, signature) === 0) return path;
    if (known !== undefined) continue;
    await mkdir(dirname(path), { recursive: true });
    await replaceFile(path, signature);
    return path;
  }
  throw new ImgfsError('too-large', `put signature: ${digest} has ${maxSignatures} signatures already`, {
    digest,
  });
}

async function fromFile(url: URL): Promise<Uint8Array | undefined> {
  const path = join(fileURLToPath(url));
  try {
    const { size } = await stat(path);
    if (size > maxSignatureBytes) throw tooLarge(path);
    return await readFile(path);
  } catch (error) {
    if (fsErrorCode(error) === 'ENOENT') return undefined;
    throw fileError(error, 'read signature', path);
  }
}

async function fromWeb(url: URL, { signal }: CallOptions): Promise<Uint8Array | undefined> {
  try {
    const answer = await exchange((webAgent ??= new Agent({ connect: { timeout: requestTimeoutMs } })), {
      method: 'GET',
      url,
      headers: {},
      context: { operation: 'read signature' },
      timeoutMs: requestTimeoutMs,
      // `readBody` has a deadline for the whole of it.
      stall: { windowMs: requestTimeoutMs, minBytesPerSecond: 0 },
      ...(signal === undefined ? {} : { signal }),
    });
    if (answer.status === 200)
      return await readBody(answer.body, maxSignatureBytes, requestTimeoutMs, answer.context);
    await discardBody(answer.body);
    if (answer.status === 404) return undefined;
    throw new ImgfsError(
      'unavailable',
      `read signature: ${url.host} answers ${answer.status}`,
      answer.context,
    );
  } catch (error) {
    if (isImgfsError(error) && ['too-large', 'interrupted', 'unavailable'].includes(error.code)) throw error;
    // Whatever went wrong: whether there is a signature is not known.
    throw new ImgfsError('unavailable', `read signature: ${toImgfsError(error).message}`, {
      request: `GET ${redactUrl(url)}`,
      host: url.host,
      cause: error,
      hint: 'check the lookaside entry in registries.d',
    });
  }
}

function tooLarge(what: string): ImgfsError {
  return new ImgfsError('too-large', `read signature ${what}: more than ${maxSignatureBytes} bytes`);
}
