/** `imgfs --help`: every verb with one line, in groups, and what people do most. Nothing is loaded for it. */
import { verbs, type Verb } from './verbs.js';

/** Titles, in the order in which people meet the groups. */
export const groupTitles: Readonly<Record<Verb['group'], string>> = {
  mounting: 'Mounting',
  looking: 'Looking at images',
  moving: 'Moving images',
  access: 'Access and trust',
  housekeeping: 'Housekeeping',
};

/** What most people want first. */
export const firstExamples: readonly (readonly [command: string, meaning: string])[] = [
  ['imgfs mount ~/images', 'every registry as a directory'],
  ['imgfs ls alpine:3.20:/etc', 'a directory inside an image, without a mount'],
  ['imgfs cat alpine:3.20:/etc/os-release', 'one file, and no more of the image than that'],
  ['imgfs diff app:v1 app:v2', 'what changed between two images'],
  ['imgfs cp alpine:3.20 oci:./layout:alpine', 'an image from any store to any store'],
];

/** What a reference may be. */
export const referenceText =
  "References are paths of the tree (docker.io/library/alpine/3.20/manifest.json) or in skopeo's grammar\n" +
  '(docker://alpine:3.20, oci:path:tag, alpine:3.20). imgfs VERB --help shows the options of a verb.';

export function renderHelp(): string {
  const width = Math.max(...verbs.map(({ name }) => name.length)) + 2;
  const lines = ['imgfs: container image stores as directories', '', 'imgfs VERB [options]'];
  for (const [group, title] of Object.entries(groupTitles)) {
    lines.push('', `${title}:`);
    for (const verb of verbs.filter((each) => each.group === group))
      lines.push(`  ${verb.name.padEnd(width)}${verb.summary}`);
  }
  const longest = Math.max(...firstExamples.map(([command]) => command.length)) + 2;
  lines.push('', 'Examples:');
  for (const [command, meaning] of firstExamples) lines.push(`  ${command.padEnd(longest)}${meaning}`);
  lines.push('', 'Every verb:');
  lines.push(`  ${'--json'.padEnd(width)}print JSON, one document or one per line`);
  lines.push(`  ${'--help'.padEnd(width)}options and examples of a verb`);
  lines.push(`  ${'--version'.padEnd(width)}show the version`);
  return [...lines, '', referenceText].join('\n');
}
