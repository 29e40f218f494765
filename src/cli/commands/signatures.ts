/** `imgfs signatures`: every signature of an image, of whatever tool; put one; verify by a policy or a key. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { ImageSignature } from '../../image/signatures/image-signature.js';
import { cosignPayload } from '../../image/signatures/payload.js';
import { parsePolicy, type Policy } from '../../image/signatures/policy.js';
import { policyForAuthorities, policyForKeys } from '../../image/signatures/verify-image.js';
import { homePath, processEnvironment } from '../../store/registry/config/environment.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { storeOptions } from '../settings.js';
import { listOf } from '../list-of.js';
import { withImageServices, type ImageServices } from '../with-library.js';

function facts(signature: ImageSignature): Record<string, unknown> {
  if (signature.format === 'simple-signing')
    return { format: signature.format, origin: signature.origin, about: signature.about };
  const { format, origin, mediaType, artifact } = signature;
  return { format, origin, mediaType, artifact };
}

async function list(
  { image, signatures }: ImageServices,
  args: Arguments,
  { out, signal }: CommandContext,
): Promise<void> {
  const found = await signatures.get(image, { signal });
  const directory = args['output'];
  if (typeof directory === 'string') await mkdir(directory, { recursive: true });
  for (const [at, signature] of found.entries()) {
    if (out.json) out.document(facts(signature));
    else out.line(Object.values(facts(signature)).map(String).join(' '));
    if (typeof directory !== 'string') continue;
    const bytes = signature.format === 'simple-signing' ? signature.message : signature.payload;
    await writeFile(join(directory, `signature-${at + 1}`), bytes);
    if (signature.format === 'sigstore')
      await writeFile(join(directory, `signature-${at + 1}.sig`), signature.signature);
  }
  if (found.length === 0) out.note(`${image.reference}: no signatures`);
}

async function put(
  { image, signatures }: ImageServices,
  args: Arguments,
  { out, signal }: CommandContext,
): Promise<void> {
  const [message, payload, signature] = ['simple', 'payload', 'signature'].map((name) => args[name]);
  if (typeof message === 'string') {
    const place = await signatures.put(
      image,
      { format: 'simple-signing', message: await readFile(message) },
      { signal },
    );
    return out.json ? out.document({ put: place }) : out.line(place);
  }
  if (typeof signature !== 'string')
    throw new ImgfsError(
      'usage',
      'signatures put needs --simple FILE, or --signature FILE (and --payload FILE)',
    );
  const bytes =
    typeof payload === 'string'
      ? await readFile(payload)
      : cosignPayload(image.descriptor.digest, `${image.host}/${image.repository}`);
  const base64 = (await readFile(signature, 'utf8')).trim();
  const place = await signatures.put(
    image,
    { format: 'sigstore', payload: bytes, signature: base64 },
    { signal },
  );
  return out.json ? out.document({ put: place }) : out.line(place);
}

async function payload({ image }: ImageServices, { out }: CommandContext): Promise<void> {
  await out.bytes(cosignPayload(image.descriptor.digest, `${image.host}/${image.repository}`));
}

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const action = String(args['action']);
  await withImageServices(String(args['reference']), args, context, async (services) => {
    if (action === 'ls') return list(services, args, context);
    if (action === 'payload') return payload(services, context);
    return put(services, args, context);
  });
}

const lookaside = { type: 'string', requiresArg: true, describe: 'where simple signing keeps signatures: a directory or URL; default: registries.d' } as const; // prettier-ignore

export const signaturesCommand: Command = {
  usage: 'signatures <action> <reference>',
  examples: [
    ['imgfs signatures ls ghcr.io/me/app:v1', 'lookaside, cosign tags and referrers'],
    ['imgfs signatures ls ghcr.io/me/app:v1 --output dir', 'with their bytes'],
    [
      'imgfs signatures payload ghcr.io/me/app:v1 | openssl dgst -sha256 -sign key.pem | base64 -w0 > sig',
      'what a key signs',
    ],
    ['imgfs signatures put ghcr.io/me/app:v1 --signature sig', 'under the tag where cosign looks'],
    [
      'imgfs signatures put ghcr.io/me/app:v1 --simple app.sig --lookaside sigs',
      'as skopeo standalone-sign made it',
    ],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('action', { choices: ['ls', 'put', 'payload'] as const, demandOption: true })
      .positional('reference', { type: 'string', demandOption: true, describe: 'image' })
      .option('output', {
        alias: 'o',
        type: 'string',
        requiresArg: true,
        describe: 'ls: write them into a directory',
      })
      .option('simple', { type: 'string', requiresArg: true, describe: 'put: an OpenPGP message' })
      .option('signature', {
        type: 'string',
        requiresArg: true,
        describe: 'put: a signature by a key, base64',
      })
      .option('payload', {
        type: 'string',
        requiresArg: true,
        describe: 'put: what was signed, if not what payload prints',
      })
      .option('lookaside', lookaside),
  run,
};

async function policyFrom(args: Arguments): Promise<Policy> {
  const list = (name: string): string[] => listOf(args[name]);
  const identity =
    typeof args['identity'] === 'string'
      ? ({ type: 'exactReference', dockerReference: args['identity'] } as const)
      : undefined;
  if (list('key').length > 0) return policyForKeys('sigstoreSigned', list('key'), identity);
  if (list('gpg-key').length > 0) return policyForKeys('signedBy', list('gpg-key'), identity);
  if (list('notation-ca').length > 0) {
    if (identity !== undefined)
      throw new ImgfsError(
        'usage',
        'verify: notation signatures name no image, --identity has nothing to compare with',
      );
    return policyForAuthorities(list('notation-ca'));
  }
  const environment = processEnvironment();
  const places =
    typeof args['policy'] === 'string'
      ? [args['policy']]
      : [homePath(environment, '.config/containers/policy.json'), '/etc/containers/policy.json'];
  for (const path of places.filter((one) => one !== undefined)) {
    const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' && typeof args['policy'] !== 'string') return undefined;
      throw new ImgfsError('config', `read policy ${path}: it cannot be read`, { path, cause: error });
    });
    if (bytes !== undefined) return parsePolicy(bytes, path);
  }
  throw new ImgfsError('config', 'verify: there is no policy.json', {
    hint: 'give --policy FILE, --key FILE, --gpg-key FILE or --notation-ca FILE',
  });
}

async function verify(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const policy = await policyFrom(args);
  await withImageServices(String(args['reference']), args, context, async ({ image, signatures }) => {
    const verdict = await signatures.verify(image, policy, { signal });
    if (out.json) return out.document({ reference: image.reference, ...verdict });
    out.line(verdict.manifestDigest);
    out.note(`${image.reference}: accepted by ${verdict.scope}: ${verdict.reasons.join('; ')}`);
  });
}

export const verifyCommand: Command = {
  usage: 'verify <reference>',
  examples: [
    ['imgfs verify ghcr.io/me/app:v1', 'by policy.json of this machine'],
    [
      'imgfs verify ghcr.io/me/app:v1 --key cosign.pub',
      'signed by a sigstore key; no network but the registry',
    ],
    ['imgfs verify ghcr.io/me/app:v1 --gpg-key me.asc --lookaside sigs', 'simple signing'],
    ['imgfs verify ghcr.io/me/app:v1 --notation-ca root.pem', 'notation (JWS); revocation is not checked'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('reference', { type: 'string', demandOption: true, describe: 'image' })
      .option('policy', {
        type: 'string',
        requiresArg: true,
        describe: 'containers-policy.json(5); default: of this machine',
      })
      .option('key', {
        type: 'string',
        array: true,
        requiresArg: true,
        describe: 'public key in PEM that must have signed',
      })
      .option('gpg-key', {
        type: 'string',
        array: true,
        requiresArg: true,
        describe: 'OpenPGP key that must have signed',
      })
      .option('notation-ca', {
        type: 'string',
        array: true,
        requiresArg: true,
        describe: 'authority in PEM whose certificate must have signed with notation',
      })
      .option('identity', {
        type: 'string',
        requiresArg: true,
        describe: 'the name it must be signed as, instead of its repository',
      })
      .option('lookaside', lookaside),
  run: verify,
};
