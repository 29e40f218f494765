/**
 * Which addresses a registry may send us to (promise 12): a public registry must not make us talk to the machines of
 * our own network, and no registry to a cloud's metadata service. The address is checked where it is used: the
 * connection goes to the very address that was checked, so a name that resolves differently the second time gains
 * nothing.
 */
import { lookup as dnsLookup } from 'node:dns';
import { BlockList, isIP, isIPv4, type LookupFunction } from 'node:net';
import { ImgfsError } from '../../../errors/imgfs-error.js';

/** From farthest to nearest; `never` is metadata services, link-local, multicast, unspecified. */
export type Reach = 'public' | 'private' | 'loopback' | 'never';

const nearness: Readonly<Record<Reach, number>> = { public: 0, private: 1, loopback: 2, never: 3 };

/** True when a registry of reach `registry` may send us to a target of reach `target`. */
export function mayReach(target: Reach, registry: Reach): boolean {
  return target !== 'never' && nearness[target] <= nearness[registry === 'never' ? 'public' : registry];
}

type Subnet = readonly [network: string, prefix: number];

function blockList(v4: readonly Subnet[], v6: readonly Subnet[]): BlockList {
  const list = new BlockList();
  for (const [network, prefix] of v4) list.addSubnet(network, prefix, 'ipv4');
  for (const [network, prefix] of v6) list.addSubnet(network, prefix, 'ipv6');
  return list;
}

/** RFC 6890 special ranges, and the metadata addresses that lie outside 169.254.0.0/16. */
const neverList = blockList(
  [
    ['0.0.0.0', 8],
    ['169.254.0.0', 16],
    ['192.0.0.0', 24],
    ['224.0.0.0', 4],
    ['240.0.0.0', 4],
    ['168.63.129.16', 32],
    ['100.100.100.200', 32],
  ],
  [
    ['::', 128],
    ['fe80::', 10],
    ['fec0::', 10],
    ['ff00::', 8],
    ['2001::', 32],
    ['fd00:ec2::', 32],
    ['fd20:ce::254', 128],
  ],
);
const loopbackList = blockList([['127.0.0.0', 8]], [['::1', 128]]);
const privateList = blockList(
  [
    ['10.0.0.0', 8],
    ['172.16.0.0', 12],
    ['192.168.0.0', 16],
    ['100.64.0.0', 10],
    ['198.18.0.0', 15],
  ],
  [['fc00::', 7]],
);

/** The 8 groups of an IPv6 address. */
function groupsOf(address: string): number[] {
  // The URL parser writes any spelling, dotted tails included, as hexadecimal groups.
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = '', tail] = canonical.split('::', 2);
  const parse = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((group) => parseInt(group, 16));
  const left = parse(head);
  const right = tail === undefined ? [] : parse(tail);
  return [...left, ...Array.from({ length: 8 - left.length - right.length }, () => 0), ...right];
}

/** The IPv4 address inside a mapped, compatible, NAT64 or 6to4 one. */
function embeddedIpv4(address: string): string | undefined {
  const groups = groupsOf(address);
  const dotted = (high = 0, low = 0): string => `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  if (groups[0] === 0x2002) return dotted(groups[1], groups[2]);
  const nat64 = groups[0] === 0x64 && groups[1] === 0xff9b && (groups[2] === 0 || groups[2] === 1);
  const leadingZeros = groups.slice(0, 5).every((group) => group === 0);
  const mapped = leadingZeros && groups[5] === 0xffff;
  // `::` and `::1` are addresses of their own, not 0.0.0.0 and 0.0.0.1.
  const compatible = leadingZeros && groups[5] === 0 && (groups[6] !== 0 || (groups[7] ?? 0) > 1);
  return nat64 || mapped || compatible ? dotted(groups[6], groups[7]) : undefined;
}

/** Reach of an IP address; what is no address is `never`. */
export function reachOf(address: string): Reach {
  const bare = address.split('%', 1)[0] ?? '';
  const version = isIP(bare);
  if (version === 0) return 'never';
  const inner = version === 6 ? embeddedIpv4(bare) : undefined;
  if (inner !== undefined) return reachOf(inner);
  const family = isIPv4(bare) ? 'ipv4' : 'ipv6';
  if (neverList.check(bare, family)) return 'never';
  if (loopbackList.check(bare, family)) return 'loopback';
  return privateList.check(bare, family) ? 'private' : 'public';
}

/** The address in a URL's host when it is a literal, without brackets. */
export function literalAddress(hostname: string): string | undefined {
  const bare = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
  return isIP(bare) === 0 ? undefined : bare;
}

interface LookupAddress {
  readonly address: string;
  readonly family: number;
}

/** All addresses of a name. Never throws an `ImgfsError`: the caller knows the operation. */
function addressesOf(hostname: string): Promise<readonly LookupAddress[]> {
  return new Promise((resolve, reject) => {
    dnsLookup(hostname, { all: true }, (error, addresses) => {
      if (error === null) resolve(addresses);
      else reject(error);
    });
  });
}

/** Reach of the nearest address of a host; `public` when the name cannot be resolved here. */
export async function reachOfHost(hostname: string): Promise<Reach> {
  const literal = literalAddress(hostname);
  if (literal !== undefined) return reachOf(literal);
  try {
    const reaches = (await addressesOf(hostname)).map(({ address }) => reachOf(address));
    return reaches.reduce<Reach>(
      (near, reach) => (nearness[reach] > nearness[near] ? reach : near),
      'public',
    );
  } catch {
    return 'public';
  }
}

/** The error for a target that a registry must not send us to. */
export function forbiddenTarget(host: string, address: string, sender: string): ImgfsError {
  const where = host === address ? address : `${host} (${address})`;
  return new ImgfsError(
    'denied',
    `${sender} sent us to ${where}: that address is not for registries to name`,
    {
      host,
      hint: `if that host belongs to the registry, name it as a trusted host of ${sender}`,
    },
  );
}

/**
 * A `lookup` for `net.connect` that yields an address only when every address of the name may be reached: a name
 * with one good and one forbidden address is an attack, not a choice.
 */
export function checkedLookup(registryReach: Reach, sender: string): LookupFunction {
  return (hostname, options, callback) => {
    dnsLookup(hostname, { ...options, all: true }, (error, found) => {
      if (error !== null) {
        callback(error, '', 0);
        return;
      }
      const forbidden = found.find(({ address }) => !mayReach(reachOf(address), registryReach));
      const first = found[0];
      if (forbidden !== undefined || first === undefined) {
        callback(forbiddenTarget(hostname, forbidden?.address ?? 'no address', sender), '', 0);
      } else if (options.all === true) {
        callback(null, found);
      } else {
        callback(null, first.address, first.family);
      }
    });
  };
}
