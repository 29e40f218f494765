/** Which Windows images a Windows version runs: the rules of containerd (platforms, platform_windows_compat.go). */

interface WindowsVersion {
  readonly major: number;
  readonly minor: number;
  /** 17763 is Server 2019, 20348 Server 2022, 26100 Server 2025. */
  readonly build: number;
  readonly revision: number;
}

/** From Server 2022 on, each version also runs images back to the long-term release before it. */
const longTermBuilds = [20348, 26100] as const;

function parseVersion(text: string): WindowsVersion | undefined {
  const match = /^([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,5})(?:\.([0-9]{1,9}))?(?:\.|$)/.exec(text);
  if (match === null) return undefined;
  const [major = 0, minor = 0, build = 0, revision = 0] = match.slice(1).map((part) => Number(part ?? 0));
  return { major, minor, build, revision };
}

/**
 * True when a machine of version `wanted` (an os.version such as `10.0.20348.2340`) runs an image of version
 * `candidate`. Revisions do not count. A wanted version of less than three parts accepts everything.
 */
export function windowsRuns(wanted: string, candidate: string): boolean {
  const host = parseVersion(wanted);
  if (host === undefined) return true;
  const image = parseVersion(candidate);
  if (image === undefined || image.major !== host.major || image.minor !== host.minor) return false;
  if (host.build < longTermBuilds[0]) return image.build === host.build;
  const oldest = longTermBuilds.findLast((build) => build < host.build) ?? longTermBuilds[0];
  return oldest <= image.build && image.build <= host.build;
}

/** Positive when `left` is the newer version, negative when `right` is; versions that are none are the oldest. */
export function compareWindowsVersions(left: string, right: string): number {
  const oldest: WindowsVersion = { major: -1, minor: 0, build: 0, revision: 0 };
  const [one, other] = [parseVersion(left) ?? oldest, parseVersion(right) ?? oldest];
  return (
    one.major - other.major ||
    one.minor - other.minor ||
    one.build - other.build ||
    one.revision - other.revision
  );
}
