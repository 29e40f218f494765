/** `imgfs mount`: serve the tree at a mount point, by a daemon or in the foreground. */
import { resolve } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { startDaemon } from '../mount/daemon.js';
import type { MountSettings } from '../mount/mount-settings.js';
import { readFileConfig } from '../config-file.js';
import { readPolicy } from '../read-policy.js';
import { listOf } from '../list-of.js';
import { parseNamedStore } from '../named-store.js';
import { defaultLogFile, settingsFrom, storeOptions } from '../settings.js';

/** `-o ro,allow_other`: what fstab and mount(8) write. Options of other programs (`x-…`, `_netdev`) are ignored. */
function mountFlags(args: Arguments): { readOnly: boolean; allowOther: boolean; allowNonEmpty: boolean } {
  const words = new Set(listOf(args['o']).flatMap((text) => text.split(',')));
  return {
    readOnly: args['read-only'] === true || words.has('ro'),
    allowOther: args['allow-other'] === true || words.has('allow_other'),
    allowNonEmpty: args['nonempty'] === true || words.has('nonempty'),
  };
}

async function mountSettings(args: Arguments): Promise<MountSettings> {
  const common = settingsFrom(args);
  if (common.credentials !== undefined) {
    // One pair for every registry that is ever visited would hand it to strangers.
    throw new ImgfsError('usage', 'mount takes no --creds: a mount reaches many registries', {
      hint: 'imgfs login HOST keeps a password for one registry; a mount takes it up at once',
    });
  }
  const stores = listOf(args['store']).map(parseNamedStore);
  const names = stores.map((store) => store.name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new ImgfsError('usage', `--store ${twice} is given twice`);
  const file = await readFileConfig();
  const configured = file.stores.filter(({ name }) => !names.includes(name));
  const policyFile = typeof args['policy'] === 'string' ? resolve(args['policy']) : file.policyFile;
  if (policyFile !== undefined) await readPolicy(policyFile);
  const logFile = args['log-file'];
  const mountPoint = resolve(String(args['mountpoint']));
  return {
    ...common,
    ...mountFlags(args),
    allowOverwrite: args['allow-overwrite'] === true,
    allowDelete: args['allow-delete'] === true,
    tagDeleteFallback: args['tag-delete-fallback'] === true,
    mountPoint,
    stores: [...configured, ...stores],
    driver: args['driver'] as MountSettings['driver'],
    createMountPoint: args['mkdir'] === true,
    policyFile,
    logFile: typeof logFile === 'string' ? resolve(logFile) : defaultLogFile(mountPoint),
  };
}

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const settings = await mountSettings(args);
  if (args['foreground'] === true) {
    const { serve } = await import('../mount/serve.js');
    const { preferThisThread } = await import('../../addon/prefer-thread.js');
    preferThisThread(false);
    return serve(settings, context, (ready) => {
      context.out.note(`mounted at ${ready.mountPoint} (${ready.driver}); Ctrl-C unmounts`);
    });
  }
  const { prepareMountPoint } = await import('../../fuse/mount-point.js');
  const mountPoint = await prepareMountPoint(settings.mountPoint, {
    create: settings.createMountPoint,
    allowNonEmpty: settings.allowNonEmpty,
  });
  const ready = await startDaemon({ ...settings, mountPoint }, context.signal);
  if (context.out.json) context.out.document(ready);
  else context.out.line(`mounted at ${ready.mountPoint} (pid ${ready.pid}, ${ready.driver} driver)`);
}

export const mountCommand: Command = {
  usage: 'mount <mountpoint>',
  examples: [
    ['imgfs mount ~/images', 'every registry, read lazily'],
    ['imgfs mount m --store old=docker-archive:old.tar', 'a local store beside the registries'],
    [
      'imgfs mount m --store podman=containers-storage: --store k8s=containerd:[k8s.io@]',
      'what engines have',
    ],
    ['imgfs mount m --policy /etc/containers/policy.json', 'refuse images that the policy rejects'],
    ['imgfs mount m --foreground -o ro', 'stay, and refuse every write'],
    ['imgfs mount m --allow-overwrite', 'cp, mkdir, ln and mv push; tags may move'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('mountpoint', { type: 'string', demandOption: true, describe: 'an empty directory' })
      .option('store', {
        type: 'string',
        array: true,
        requiresArg: true,
        describe: 'NAME=TRANSPORT:PATH, may be repeated',
      })
      .option('policy', {
        type: 'string',
        requiresArg: true,
        describe: 'containers-policy.json(5): images that it rejects are refused',
      })
      .option('foreground', {
        alias: 'f',
        type: 'boolean',
        default: false,
        describe: 'do not start a daemon',
      })
      .option('daemon', { type: 'boolean', default: true, describe: 'serve from a daemon (the default)' })
      .option('driver', {
        choices: ['auto', 'native', 'fuse-native'] as const,
        default: 'auto' as const,
        describe: 'FUSE driver',
      })
      .option('read-only', { type: 'boolean', default: false, describe: 'refuse every write (-o ro)' })
      .option('allow-overwrite', {
        type: 'boolean',
        default: false,
        describe: 'let tags be pointed at something else',
      })
      .option('allow-delete', {
        type: 'boolean',
        default: false,
        describe: 'let tags, manifests and blobs be deleted',
      })
      .option('tag-delete-fallback', {
        type: 'boolean',
        default: false,
        describe: 'delete tags by a dummy manifest where a registry deletes by digest only',
      })
      .option('allow-other', {
        type: 'boolean',
        default: false,
        describe: 'let other users in (they act with your credentials)',
      })
      .option('nonempty', {
        type: 'boolean',
        default: false,
        describe: 'mount over a directory that has entries',
      })
      .option('mkdir', { type: 'boolean', default: false, describe: 'make the mount point' })
      .option('log-file', { type: 'string', describe: 'log of the daemon' })
      .option('o', {
        type: 'string',
        array: true,
        requiresArg: true,
        describe: 'mount options: ro, allow_other, nonempty',
      }),
  run,
};
