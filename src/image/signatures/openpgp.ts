/**
 * OpenPGP messages, checked by gpgv of GnuPG in a process of its own with nothing but the given keys: no keyring, no
 * agent and no trust of this machine has a say.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { CallOptions } from '../../store/store.js';

/** gpgv takes 10 ms; a machine that swaps takes longer. */
const timeoutMs = 30_000;

/** A message whose signature is good. */
export interface VerifiedMessage {
  /** Of the primary key: 40 hex digits, upper case. */
  readonly fingerprint: string;
  readonly content: Uint8Array;
}

/**
 * Check a signed message with any of the keys (binary or armored, one or several in a file).
 * @throws ImgfsError `signature` when no key has signed it, it was changed, or the key is expired or revoked;
 *   `unsupported` when gpgv is not there.
 */
export async function verifyOpenPgp(
  message: Uint8Array,
  keys: readonly Uint8Array[],
  options: CallOptions = {},
): Promise<VerifiedMessage> {
  const directory = await mkdtemp(join(tmpdir(), 'imgfs-gpgv-'));
  try {
    await writeFile(join(directory, 'keys.gpg'), Buffer.concat(keys.map(binaryKeys)), { mode: 0o600 });
    await writeFile(join(directory, 'message'), message, { mode: 0o600 });
    const content = join(directory, 'content');
    const status = await gpgv(
      ['--homedir', directory, '--keyring', join(directory, 'keys.gpg'), '--status-fd', '1', '--output', content, join(directory, 'message')],
      options,
    ); // prettier-ignore
    const fingerprint = goodSignature(status);
    return { fingerprint, content: await readFile(content) };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function gpgv(words: readonly string[], { signal }: CallOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(
      'gpgv',
      words,
      { timeout: timeoutMs, maxBuffer: 1024 * 1024, env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' }, ...(signal === undefined ? {} : { signal }) },
      (error, stdout) => {
        const code = (error as NodeJS.ErrnoException | null)?.code;
        if (code === 'ENOENT')
          reject(
            new ImgfsError('unsupported', 'verify signature: gpgv is not installed', { hint: 'install the package gpgv' }),
          );
        else if (signal?.aborted === true) reject(new ImgfsError('interrupted', 'verify signature: cancelled'));
        // A bad signature is an exit code and lines of status, which say more.
        else resolve(stdout);
      },
    ); // prettier-ignore
  });
}

/** Lines of GnuPG doc/DETAILS. Exactly one signature, and nothing that speaks against it. */
function goodSignature(status: string): string {
  const lines = status.split('\n').map((line) => line.replace(/^\[GNUPG:\] /, ''));
  const against = lines.find((line) =>
    /^(BADSIG|ERRSIG|NO_PUBKEY|EXPSIG|EXPKEYSIG|REVKEYSIG|NODATA|FAILURE)\b/.test(line),
  );
  const valid = lines.filter((line) => line.startsWith('VALIDSIG '));
  const [only] = valid;
  const primary = only?.split(' ').at(-1) ?? '';
  if (against === undefined && valid.length === 1 && /^[0-9A-F]{40,64}$/.test(primary)) return primary;
  throw new ImgfsError('integrity', `verify signature: ${against ?? 'no valid signature'}`, {
    hint: 'check that the key is the one that signed, and that it has not expired',
  });
}

/** The packets of keys, out of their armor (RFC 9580 section 6) when they have one. */
function binaryKeys(key: Uint8Array): Uint8Array {
  const text = Buffer.from(key).toString('latin1');
  const blocks = [
    ...text.matchAll(
      /-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n([\s\S]*?)-----END PGP PUBLIC KEY BLOCK-----/g,
    ),
  ];
  if (blocks.length === 0) return key;
  return Buffer.concat(
    blocks.map(([, body = '']) => {
      // Headers end at an empty line; the last line begins with = and is a checksum.
      const lines = body.split(/\r?\n/);
      const start = lines.findIndex((line) => line.trim() === '') + 1;
      const data = lines.slice(start).filter((line) => line !== '' && !line.startsWith('='));
      return Buffer.from(data.join(''), 'base64');
    }),
  );
}
