/** Runs verbs on the library's handles, closed again at the end. */
import type { Image } from '../image/image.js';
import { Signatures } from '../image/signatures/signatures.js';
import { Images } from '../image/images.js';
import type { Arguments, CommandContext } from './command.js';
import { withImages } from './runtime.js';
import { registriesDFor } from './lookaside.js';

/** What verbs about signatures and artifacts use of one image. */
export interface ImageServices {
  readonly image: Image;
  readonly images: Images;
  readonly signatures: Signatures;
}

/** Run `work` on an image with what belongs to it. */
export async function withImageServices(
  text: string,
  args: Arguments,
  context: CommandContext,
  work: (services: ImageServices) => Promise<void>,
): Promise<void> {
  await withImages([text], args, context, async ([image], { content }) => {
    if (image === undefined) return;
    const images = new Images({ content, tagTtlMs: 0 });
    const registriesD = registriesDFor(args);
    await work({
      image,
      images,
      signatures: new Signatures({ content, related: images.related, registriesD }),
    });
  });
}
