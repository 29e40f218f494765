/** `files/`: the layers of an artifact under the names their titles give them, made safe (safe-name.ts). */
import type { Image } from '../../image/image.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { nameToText, type Name } from '../name.js';
import type { DirectoryNode, VfsNode } from '../node.js';
import { numberedName, safePath } from '../safe-name.js';
import type { TreeContext } from '../tree-context.js';
import { toNs } from './answers.js';
import { BlobFile } from './blob-file.js';
import { StaticDirectory } from './static-directory.js';

/** image-spec annotations.md; what `oras push` writes for each file. */
export const titleAnnotation = 'org.opencontainers.image.title';

interface TitledFile {
  readonly title: string;
  readonly descriptor: Descriptor;
  /** Position among the layers. */
  readonly index: number;
}

/** A tree of names: directories and files apart, so that neither can hide the other. */
export interface TitleTree {
  readonly directories: Map<Name, TitleTree>;
  readonly files: Map<Name, TitledFile>;
}

/** True when some layer has a title. */
export function hasFiles(layers: readonly Descriptor[]): boolean {
  return layers.some((layer) => layer.annotations?.[titleAnnotation] !== undefined);
}

/** Put titled layers into directories. Of two with one name the later gets its position added. */
export function titleTree(layers: readonly Descriptor[]): TitleTree {
  const root = newTree();
  const titled = layers.flatMap((descriptor, index) => {
    const title = descriptor.annotations?.[titleAnnotation];
    return title === undefined ? [] : [{ title, descriptor, index }];
  });
  // Directories first: a file of the same name is the one to step aside, whatever the order of the layers.
  const places = titled.map((file) => {
    const path = safePath(file.title);
    return { file, home: path.slice(0, -1).reduce(enter, root), name: path.at(-1) ?? ('%' as Name) };
  });
  for (const { file, home, name } of places) {
    const taken = home.directories.has(name) || home.files.has(name);
    home.files.set(taken ? numberedName(name, file.index) : name, file);
  }
  return root;
}

function newTree(): TitleTree {
  return { directories: new Map(), files: new Map() };
}

function enter(tree: TitleTree, name: Name): TitleTree {
  const known = tree.directories.get(name) ?? newTree();
  tree.directories.set(name, known);
  return known;
}

/** The directory `files/` of an artifact. */
export function filesDirectory(
  context: TreeContext,
  image: Image,
  layers: readonly Descriptor[],
): DirectoryNode {
  const created = image.peekCreated();
  const mtimeNs = created === undefined ? context.mountTimeNs : toNs(created);
  const build = (tree: TitleTree): DirectoryNode => {
    const children = new Map<string, VfsNode>();
    for (const [name, below] of tree.directories) children.set(nameToText(name), build(below));
    for (const [name, { descriptor, title }] of tree.files) {
      children.set(nameToText(name), new BlobFile(context, image.source(descriptor), { mtimeNs, title }));
    }
    return new StaticDirectory(children, context.lifetimes.immutableMs, mtimeNs);
  };
  return build(titleTree(layers));
}
