/** `imgfs index push` and `pull`: indexes of layers from and to repositories, in SOCI's form. */
import { ImgfsError, isImgfsError } from '../errors/imgfs-error.js';
import type { Image } from '../image/image.js';
import { pushSociImage, pushSociReferrer, type LayerZtoc } from '../image/push-soci.js';
import { assertPusher } from '../image/upload/uploads.js';
import { exportZtoc } from '../layer/foreign/export-ztoc.js';
import { isTreeLayer } from '../oci/media-type.js';
import type { Arguments, CommandContext } from './command.js';
import { imageLayers } from './image-trees.js';
import { formatBytes, parseBytes } from './output.js';
import { packageVersion } from './package-version.js';
import { openLayers, withImages, type Runtime } from './runtime.js';

function bytesOption(args: Arguments, name: string): number {
  const bytes = parseBytes(String(args[name]));
  if (bytes !== undefined) return bytes;
  throw new ImgfsError('usage', `--${name} is no number of bytes: ${JSON.stringify(args[name])}`, {
    hint: 'write 4MiB, for example',
  });
}

async function ztocsOf(
  image: Image,
  { content }: Runtime,
  layers: Awaited<ReturnType<typeof openLayers>>,
  args: Arguments,
  { out, signal }: CommandContext,
): Promise<readonly LayerZtoc[]> {
  const smallest = bytesOption(args, 'min-layer-size');
  const spanBytes = bytesOption(args, 'span-size');
  const buildTool = `imgfs ${packageVersion()}`;
  const made: LayerZtoc[] = [];
  for (const source of await imageLayers(image, signal)) {
    const { descriptor } = source;
    if (descriptor.size < smallest || !isTreeLayer(descriptor.mediaType)) continue;
    const layer = await layers.openLayer(source, { signal });
    try {
      await layer.whenIndexed({ signal });
      const bytes = await exportZtoc({ source, cache: content, spanBytes, buildTool }, { signal });
      made.push({ layer: descriptor, bytes, spanBytes });
      if (!out.json) out.line(`${descriptor.digest}  ${formatBytes(bytes.length)}`);
    } catch (error) {
      if (!isImgfsError(error, 'unsupported')) throw error;
      if (!out.json) out.line(`${descriptor.digest}  left out: ${error.message}`);
    } finally {
      await layer.close();
    }
  }
  return made;
}

/** Put a SOCI index beside an image, made from indexes of our own; layers without one are gone through first. */
export async function pushIndex(name: string, args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  await withImages([name], args, context, async ([image], runtime) => {
    if (image === undefined) return;
    const place = { store: assertPusher(image.store), repository: image.repository };
    const layers = await openLayers(runtime);
    try {
      const ztocs = await ztocsOf(image, runtime, layers, args, context);
      const options = { signal, buildTool: `imgfs ${packageVersion()}` };
      const leaf = await image.leaf({ signal });
      const tag = args['as'];
      const pushed =
        typeof tag === 'string'
          ? await pushSociImage(place, await baseOf(leaf, signal), tag, ztocs, options)
          : await pushSociReferrer(place, leaf.descriptor, ztocs, options);
      if (out.json) out.document({ ...pushed, layers: ztocs.map(({ layer }) => layer.digest) });
      else out.line(pushed.digest);
    } finally {
      await layers.close();
    }
  });
}

async function baseOf(leaf: Image, signal: AbortSignal) {
  const { bytes } = await leaf.loadTop({ signal });
  const config = await leaf.config({ signal });
  const platform = leaf.descriptor.platform ?? config?.platform;
  if (platform !== undefined) return { manifest: bytes, platform };
  throw new ImgfsError('invalid', `push index: ${leaf.reference} does not say what platform it is for`);
}

/** Have the indexes that an image brings for its layers. */
export async function pullIndex(name: string, args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const trusted = args['trust'] === true;
  await withImages([name], args, context, async ([image], runtime) => {
    if (image === undefined) return;
    const layers = await openLayers(runtime);
    let found = 0;
    try {
      for (const source of await imageLayers(image, signal)) {
        const { digest } = source.descriptor;
        const pulled = await layers.pullIndex(source, trusted, { signal });
        found += pulled === undefined ? 0 : 1;
        const from = pulled === undefined ? 'none' : pulled.origin;
        if (out.json) out.document({ digest, from, entries: pulled?.entries ?? 0 });
        else
          out.line(`${digest}  ${pulled === undefined ? 'no index' : `${pulled.entries} entries, ${from}`}`);
      }
    } finally {
      await layers.close();
    }
    if (found > 0) return;
    throw new ImgfsError(
      'not-found',
      `pull index: ${image.reference} brings no index that it names by digest`,
      {
        hint: trusted
          ? 'nothing refers to it with a SOCI index either'
          : '--trust takes a SOCI index that merely refers to it: whoever may push to the repository can have made it',
      },
    );
  });
}
