/** What a FUSE driver is: it connects a `FileSystem` to a mount point. */
import type { FileSystem } from '../vfs/file-system.js';

export interface MountOptions {
  readonly readOnly: boolean;
  /** Other users may enter (needs `user_allow_other` in /etc/fuse.conf unless root). */
  readonly allowOther: boolean;
  /** `security.*` and `trusted.*` are shown. Default false: the tree is not asked for them at all. */
  readonly allXattrs?: boolean;
  /** First field of the mount table. */
  readonly fsName: string;
  /** Deadline of one operation in milliseconds; the driver answers ETIMEDOUT then and aborts the signal. Operations
   *  that wait for a store to take something (flush, fsync, copy_file_range) may have a multiple of it. */
  readonly operationTimeoutMs: number;
  /** Called for everything a handler threw that is not an ImgfsError, and for every failed operation. */
  readonly onError?: (operation: string, error: unknown) => void;
}

export interface MountSession {
  readonly mountPoint: string;
  /** Settles when the mount is gone, however that came about. */
  readonly closed: Promise<void>;
  /** Unmount. `force` also when files are open (lazy). @throws ImgfsError `busy` when files are open. */
  unmount(options?: { readonly force?: boolean }): Promise<void>;
  /** Counters of the driver, for `.imgfs/stats.json`. */
  statistics(): Readonly<Record<string, number>>;
}

export interface DriverAvailability {
  readonly usable: boolean;
  /** One sentence: why, or why not and what to do. */
  readonly reason: string;
}

export interface FuseDriver {
  readonly name: 'native' | 'fuse-native';
  availability(): Promise<DriverAvailability>;
  /** @throws ImgfsError `mount-unavailable` with the next step. */
  mount(mountPoint: string, fileSystem: FileSystem, options: MountOptions): Promise<MountSession>;
}
