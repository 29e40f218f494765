/** Layers in, tree out. */
import type { CallOptions } from '../../store/store.js';
import type { Layer } from '../layer.js';
import { Merger, stepsAtOnce, type MergeInput } from './merger.js';
import { MergedTree } from './merged-tree.js';
import { Turns } from '../turns.js';

/** Files that eStargz adds to the root of a layer (estargz.md): no part of the image. */
export const estargzHelpers: ReadonlySet<string> = new Set([
  '.prefetch.landmark',
  '.no.prefetch.landmark',
  'stargz.index.json',
]);

/** Set on layers that were made as eStargz. */
const tocAnnotation = 'containerd.io/snapshot/stargz/toc.digest';

/** Merge tables, the lowest first. @throws ImgfsError `too-large`, `interrupted`. */
export async function mergeTables(inputs: readonly MergeInput[], options?: CallOptions): Promise<MergedTree> {
  const { merger, turns } = await applyAll(inputs, options);
  return MergedTree.build(merger, inputs, turns);
}

async function applyAll(
  inputs: readonly MergeInput[],
  options?: CallOptions,
): Promise<{ merger: Merger; turns: Turns }> {
  const turns = new Turns(options?.signal);
  const merger = new Merger(inputs.reduce((sum, { table }) => sum + table.count, 0));
  for (const input of inputs) {
    merger.startLayer(input);
    for (let row = 0; row < input.table.count; row += 1) {
      if (turns.step(merger.apply(input, row))) await turns.yield();
      while (merger.isBusy) if (turns.step(merger.proceed(stepsAtOnce))) await turns.yield();
    }
  }
  return { merger, turns };
}

/** What is to be merged of a layer. */
function inputOf({ table, descriptor }: Layer): MergeInput {
  return descriptor.annotations?.[tocAnnotation] === undefined
    ? { table }
    : { table, hidden: estargzHelpers };
}

/**
 * The root file system as far as the upper layers of an image settle it, all of which are ready. Whatever is in this
 * tree is in that of all layers, with the same content; directories may hold more there (`MergedTree.isSettled`).
 * Undefined when it cannot be told without the layers below: an entry lies in a directory that has none of its own, or
 * links to a name that the upper layers lack.
 * @throws ImgfsError `too-large`, `interrupted`.
 */
export async function mergeUpperLayers(
  layers: readonly Layer[],
  options?: CallOptions,
): Promise<MergedTree | undefined> {
  const inputs = layers.map(inputOf);
  const { merger, turns } = await applyAll(inputs, options);
  return merger.isUncertain ? undefined : MergedTree.build(merger, inputs, turns);
}

/**
 * The root file system of an image: waits until all layers are ready, then merges them, the lowest first.
 * @throws ImgfsError as `Layer.whenReady`; `too-large`, `interrupted`.
 */
export async function mergeLayers(layers: readonly Layer[], options?: CallOptions): Promise<MergedTree> {
  await Promise.all(layers.map((layer) => layer.whenReady(options)));
  return mergeTables(layers.map(inputOf), options);
}

/**
 * The tree of one layer alone: whiteouts are files, nothing is hidden.
 * @throws ImgfsError as `mergeLayers`.
 */
export async function layerTree(layer: Layer, options?: CallOptions): Promise<MergedTree> {
  await layer.whenReady(options);
  return mergeTables([{ table: layer.table, raw: true }], options);
}
