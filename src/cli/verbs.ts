/** The verbs, in the order of `imgfs --help`; each file is imported only when its verb is called. */
import type { Command } from './command.js';

export interface Verb {
  readonly name: string;
  readonly summary: string;
  readonly group: 'mounting' | 'looking' | 'moving' | 'access' | 'housekeeping';
  readonly load: () => Promise<Command>;
}

export const verbs: readonly Verb[] = [
  { name: 'mount', summary: 'mount image stores as directories', group: 'mounting', load: async () => (await import('./commands/mount.js')).mountCommand },
  { name: 'umount', summary: 'unmount and end the daemon', group: 'mounting', load: async () => (await import('./commands/umount.js')).umountCommand },
  { name: 'status', summary: 'show mounts and what they do', group: 'mounting', load: async () => (await import('./commands/status.js')).statusCommand },
  { name: 'doctor', summary: 'check this machine and say what to mend', group: 'mounting', load: async () => (await import('./commands/doctor.js')).doctorCommand },
  { name: 'ls', summary: 'list a directory of the tree, without a mount', group: 'looking', load: async () => (await import('./commands/ls.js')).lsCommand },
  { name: 'cat', summary: 'print files of the tree, without a mount', group: 'looking', load: async () => (await import('./commands/cat.js')).catCommand },
  { name: 'stat', summary: 'show attributes of a path of the tree', group: 'looking', load: async () => (await import('./commands/stat.js')).statCommand },
  { name: 'find', summary: 'find paths in an image, from indexes alone', group: 'looking', load: async () => (await import('./commands/find.js')).findCommand },
  { name: 'tree', summary: 'draw directories as a tree', group: 'looking', load: async () => (await import('./commands/tree.js')).treeCommand },
  { name: 'diff', summary: 'compare the root file systems of two images', group: 'looking', load: async () => (await import('./commands/diff.js')).diffCommand },
  { name: 'waste', summary: 'show bytes of an image that no container sees', group: 'looking', load: async () => (await import('./commands/waste.js')).wasteCommand },
  { name: 'tags', summary: 'list the tags of a repository', group: 'looking', load: async () => (await import('./commands/tags.js')).tagsCommand },
  { name: 'repos', summary: 'list the repositories of a registry or store', group: 'looking', load: async () => (await import('./commands/repos.js')).reposCommand },
  { name: 'search', summary: 'find repositories', group: 'looking', load: async () => (await import('./commands/search.js')).searchCommand },
  { name: 'inspect', summary: 'show what an image is made of', group: 'looking', load: async () => (await import('./commands/inspect.js')).inspectCommand },
  { name: 'history', summary: 'show the steps that made an image, with sizes', group: 'looking', load: async () => (await import('./commands/history.js')).historyCommand },
  { name: 'resolve', summary: 'turn a reference into its digest', group: 'looking', load: async () => (await import('./commands/resolve.js')).resolveCommand },
  { name: 'exists', summary: 'say by exit code whether an image is there', group: 'looking', load: async () => (await import('./commands/exists.js')).existsCommand },
  { name: 'referrers', summary: 'list what refers to an image, by type', group: 'looking', load: async () => (await import('./commands/referrers.js')).referrersCommand },
  { name: 'sbom', summary: 'print bills of materials and attestations of an image', group: 'looking', load: async () => (await import('./commands/sbom.js')).sbomCommand },
  { name: 'store', summary: 'show what a store can do, or whether it answers', group: 'looking', load: async () => (await import('./commands/store.js')).storeCommand },
  { name: 'cp', summary: 'copy an image from any store to any store', group: 'moving', load: async () => (await import('./commands/cp.js')).cpCommand },
  { name: 'push', summary: 'push an image, beside the platforms that are there', group: 'moving', load: async () => (await import('./commands/push.js')).pushCommand },
  { name: 'load', summary: 'put an image of an archive into a store, whatever the format', group: 'moving', load: async () => (await import('./commands/load.js')).loadCommand },
  { name: 'export', summary: 'write an image as one archive: OCI, docker or its root file system', group: 'moving', load: async () => (await import('./commands/export.js')).exportCommand },
  { name: 'pull', summary: 'fetch an image whole and keep it', group: 'moving', load: async () => (await import('./commands/pull.js')).pullCommand },
  { name: 'tag', summary: 'give an image one more tag', group: 'moving', load: async () => (await import('./commands/tag.js')).tagCommand },
  { name: 'rm', summary: 'delete a tag or a manifest', group: 'moving', load: async () => (await import('./commands/rm.js')).rmCommand },
  { name: 'blob', summary: 'put, get, head, rm or mount one blob', group: 'moving', load: async () => (await import('./commands/blob.js')).blobCommand },
  { name: 'manifest', summary: 'put, get, head or rm one manifest, or list all', group: 'moving', load: async () => (await import('./commands/manifest.js')).manifestCommand },
  { name: 'attach', summary: 'attach files to an image as an artifact', group: 'moving', load: async () => (await import('./commands/referrers.js')).attachCommand },
  { name: 'upload', summary: 'list, resume or cancel uploads that were cut off', group: 'moving', load: async () => (await import('./commands/upload.js')).uploadCommand },
  { name: 'login', summary: 'keep a password for a registry', group: 'access', load: async () => (await import('./commands/login.js')).loginCommand },
  { name: 'logout', summary: 'forget the password of a registry', group: 'access', load: async () => (await import('./commands/logout.js')).logoutCommand },
  { name: 'auth', summary: 'explain which credential would be used', group: 'access', load: async () => (await import('./commands/auth.js')).authCommand },
  { name: 'signatures', summary: 'list, save and put signatures of an image', group: 'access', load: async () => (await import('./commands/signatures.js')).signaturesCommand },
  { name: 'verify', summary: 'ask a policy or a key whether an image is to be trusted', group: 'access', load: async () => (await import('./commands/signatures.js')).verifyCommand },
  { name: 'config', summary: 'check the configuration file', group: 'housekeeping', load: async () => (await import('./commands/config.js')).configCommand },
  { name: 'cache', summary: 'list, check, prune and pin the cache; load, name and push its images', group: 'housekeeping', load: async () => (await import('./commands/cache.js')).cacheCommand },
  { name: 'gc', summary: 'remove what no image of an OCI layout needs', group: 'housekeeping', load: async () => (await import('./commands/gc.js')).gcCommand },
  { name: 'index', summary: 'build, list and remove indexes of layers', group: 'housekeeping', load: async () => (await import('./commands/index-command.js')).indexCommand },
  { name: 'completion', summary: 'print a completion script for bash, zsh or fish', group: 'housekeeping', load: async () => (await import('./commands/completion.js')).completionCommand },
]; // prettier-ignore

export function findVerb(name: string | undefined): Verb | undefined {
  return verbs.find((verb) => verb.name === name);
}
