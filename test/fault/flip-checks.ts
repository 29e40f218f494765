/** What an image of `flip-subjects.ts` has to look like, however it is looked at. */
import type { FlipSubject } from './flip-subjects.js';

/** A tree by path. */
export interface TreeReader {
  readonly read: (path: string) => Promise<Buffer>;
  readonly list: (path: string) => Promise<readonly string[]>;
  readonly stat: (
    path: string,
  ) => Promise<{ readonly size: number; readonly mode: number; readonly mtimeNs: bigint }>;
}

export type Check = readonly [what: string, isRight: (reader: TreeReader) => Promise<boolean>];

/** Files below an image directory, and their bytes. */
export function filesOf({
  image,
  files,
  hidden,
  tar,
}: FlipSubject): (readonly [path: string, bytes: Uint8Array])[] {
  return [
    ['manifest.json', image.manifests[0]?.bytes ?? new Uint8Array(0)],
    ['config.json', image.config.bytes],
    ['layers/0.tar', tar],
    [`layers/0/${hidden.path}`, hidden.content],
    ...files.map(({ path, content }) => [`rootfs/${path}`, content] as const),
  ];
}

/** Everything there is to see of an image whose directory is `place`. */
export function checksOf(subject: FlipSubject, place: string): Check[] {
  const { files, hidden } = subject;
  const folders = [...new Set(files.map(({ path }) => path.slice(0, 2)))];
  const sameNames = (listed: readonly string[], wanted: readonly string[]): boolean =>
    listed.toSorted().join() === wanted.toSorted().join();
  return [
    [
      'layers/1',
      async ({ list }) => (await list(`${place}/layers/1/${hidden.path.slice(0, 2)}`)).length === 1,
    ],
    ...filesOf(subject).map(([path, bytes]): Check => [
      path,
      async ({ read }) => (await read(`${place}/${path}`)).equals(bytes),
    ]),
    ...folders.map((folder): Check => [
      `list ${folder}`,
      async ({ list }) => {
        const names = files
          .filter(({ path }) => path.startsWith(`${folder}/`))
          .map(({ path }) => path.slice(3));
        return sameNames(await list(`${place}/rootfs/${folder}`), names);
      },
    ]),
    ...files.map(({ path, content }): Check => [
      `stat ${path}`,
      async ({ stat }) => {
        const { size, mode, mtimeNs } = await stat(`${place}/rootfs/${path}`);
        return size === content.length && mode === 0o644 && mtimeNs === 1_700_000_000_000_000_000n;
      },
    ]),
  ];
}
