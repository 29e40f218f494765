/** Everything a mount daemon needs to know. Plain data: the parent hands it over as JSON on stdin, never argv. */
import type { Settings } from '../settings.js';

export interface NamedStore {
  readonly name: string;
  /** skopeo's grammar: `oci:/abs/path`. */
  readonly location: string;
}

export interface MountSettings extends Settings {
  readonly mountPoint: string;
  readonly stores: readonly NamedStore[];
  readonly driver: 'auto' | 'native' | 'fuse-native';
  readonly readOnly: boolean;
  /** Tags may be replaced; tags, manifests and blobs may be deleted. */
  readonly allowOverwrite: boolean;
  readonly allowDelete: boolean;
  readonly tagDeleteFallback: boolean;
  readonly allowOther: boolean;
  readonly allowNonEmpty: boolean;
  readonly createMountPoint: boolean;
  readonly logFile: string | undefined;
  /** containers-policy.json(5) that images must meet; undefined: none. */
  readonly policyFile: string | undefined;
}

/** What the daemon tells its parent, one JSON line on the ready descriptor. */
export type ReadyMessage =
  | {
      readonly ok: true;
      readonly mountPoint: string;
      readonly pid: number;
      readonly driver: string;
      readonly reason: string;
    }
  | {
      readonly ok: false;
      readonly code: string;
      readonly message: string;
      readonly hint: string | undefined;
    };
