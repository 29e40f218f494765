/** Which driver serves a mount: the native one where it can, fuse-native otherwise, or the one asked for. */
import { ImgfsError } from '../errors/imgfs-error.js';
import type { DriverAvailability, FuseDriver } from './driver.js';

export type DriverWish = 'auto' | FuseDriver['name'];

export interface DriverReport extends DriverAvailability {
  readonly name: FuseDriver['name'];
}

export interface ChosenDriver {
  readonly driver: FuseDriver;
  /** One sentence for `doctor` and `.imgfs/status.json`: why this one. */
  readonly reason: string;
}

/** The drivers, best first; each module is loaded only when it is looked at. */
const drivers: readonly { readonly name: FuseDriver['name']; readonly load: () => Promise<FuseDriver> }[] = [
  {
    name: 'native',
    load: async () => (await import('./native/driver.js')).nativeDriver,
  },
  {
    name: 'fuse-native',
    load: async () => (await import('./fuse-native/driver.js')).fuseNativeDriver,
  },
];

/** What each driver says of itself, best first. */
export async function reportDrivers(): Promise<DriverReport[]> {
  const reports: DriverReport[] = [];
  for (const { name, load } of drivers) reports.push({ name, ...(await (await load()).availability()) });
  return reports;
}

/**
 * Choose a driver.
 * @throws ImgfsError `mount-unavailable` with every driver's reason when none is usable.
 */
export async function chooseDriver(wish: DriverWish): Promise<ChosenDriver> {
  const refusals: string[] = [];
  for (const { name, load } of drivers) {
    if (wish !== 'auto' && wish !== name) continue;
    const driver = await load();
    const { usable, reason } = await driver.availability();
    if (usable) {
      const before = refusals.length === 0 ? '' : ` (${refusals.join('; ')})`;
      return { driver, reason: `${wish === 'auto' ? reason : 'chosen with --driver'}${before}` };
    }
    refusals.push(`${name}: ${reason}`);
  }
  throw new ImgfsError('mount-unavailable', `no FUSE driver can be used: ${refusals.join('; ')}`, {
    hint: 'imgfs doctor checks this machine; ls, cat and inspect work without a mount',
  });
}
