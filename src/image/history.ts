/** `docker history` of an image that was not pulled: the config's steps beside the manifest's layers. */
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { ImageConfig } from '../oci/image-config.js';

/** One step of how an image was made, and the layer it made. */
export interface HistoryStep {
  readonly created?: string;
  readonly createdBy?: string;
  readonly comment?: string;
  readonly author?: string;
  /** The layer this step made; undefined for a step without one. */
  readonly layer?: {
    readonly index: number;
    readonly digest: Digest;
    readonly diffId?: Digest;
    /** Compressed size in bytes. */
    readonly size: number;
  };
}

/**
 * Pair steps and layers, oldest first. Where the two disagree in number (squashed or hand-made images) the layers
 * that are left come last, as steps without words.
 */
export function imageHistory(config: ImageConfig | undefined, layers: readonly Descriptor[]): HistoryStep[] {
  let next = 0;
  const take = (): Pick<HistoryStep, 'layer'> => {
    const layer = layers[next];
    if (layer === undefined) return {};
    const index = next;
    next += 1;
    const diffId = config?.diffIds[index];
    const { digest, size } = layer;
    return { layer: { index, digest, size, ...(diffId === undefined ? {} : { diffId }) } };
  };
  const steps: HistoryStep[] = (config?.history ?? []).map(({ emptyLayer, ...words }) => ({
    ...words,
    ...(emptyLayer ? {} : take()),
  }));
  while (next < layers.length) steps.push(take());
  return steps;
}
