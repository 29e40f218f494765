/** Signatures by a sigstore key (cosign `--key`): ECDSA, RSA or Ed25519 over the payload, checked offline. */
import { createPublicKey, verify, type KeyObject } from 'node:crypto';
import { ImgfsError } from '../../errors/imgfs-error.js';

/** @throws ImgfsError `config` for what is no public key in PEM. */
export function parsePublicKey(pem: Uint8Array | string, where: string): KeyObject {
  const text = typeof pem === 'string' ? pem : Buffer.from(pem).toString('utf8');
  // createPublicKey takes private keys too, and makes the public one of them: nobody means that here.
  if (!text.includes('PRIVATE KEY-----')) {
    try {
      return createPublicKey({ key: text, format: 'pem' });
    } catch {
      // Said below.
    }
  }
  throw new ImgfsError('config', `read key ${where}: not a public key in PEM`, {
    path: where,
    hint: 'cosign public-key --key … prints it',
  });
}

/** True when the key has signed exactly these bytes. */
export function isSignedBy(key: KeyObject, payload: Uint8Array, signatureBase64: string): boolean {
  const signature = Buffer.from(signatureBase64, 'base64');
  if (signature.length === 0) return false;
  try {
    const type = key.asymmetricKeyType;
    if (type === 'ec') return verify('sha256', payload, { key, dsaEncoding: 'der' }, signature);
    if (type === 'rsa') return verify('sha256', payload, key, signature);
    return type === 'ed25519' && verify(null, payload, key, signature);
  } catch {
    return false;
  }
}
