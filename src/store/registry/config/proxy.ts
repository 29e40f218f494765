/**
 * Proxies from the environment, with the rules of Go's x/net/http/httpproxy, which all peers follow: HTTPS_PROXY or
 * HTTP_PROXY by scheme (upper case first), NO_PROXY, and never a proxy to this machine itself. ALL_PROXY is curl's.
 */
import { BlockList, isIP } from 'node:net';
import { ImgfsError } from '../../../errors/imgfs-error.js';
import { variable, type Environment } from './environment.js';

/**
 * Choose a proxy for each URL. The answer may hold a user and a password.
 * @throws ImgfsError (from the returned function) `config` when the variable names no http or https proxy.
 */
export function createProxyChooser(environment: Environment): (url: URL) => string | undefined {
  const direct = parseNoProxy(either(environment, 'NO_PROXY')?.value ?? '');
  const known = new Map<string, string | undefined>();
  return (url) => {
    const host = bareHost(url);
    if (isLoopback(host) || direct.matches(host, effectivePort(url))) return undefined;
    if (!known.has(url.protocol)) known.set(url.protocol, proxyOfScheme(environment, url.protocol));
    return known.get(url.protocol);
  };
}

interface Setting {
  readonly name: string;
  readonly value: string;
}

function either(environment: Environment, name: string): Setting | undefined {
  for (const each of [name, name.toLowerCase()]) {
    const value = variable(environment, each);
    if (value !== undefined) return { name: each, value };
  }
  return undefined;
}

function proxyOfScheme(environment: Environment, protocol: string): string | undefined {
  const own = either(environment, protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY');
  // Under CGI a request header "Proxy:" arrives as HTTP_PROXY: httpoxy, CVE-2016-5385.
  const forged = own?.name === 'HTTP_PROXY' && variable(environment, 'REQUEST_METHOD') !== undefined;
  const setting = (forged ? undefined : own) ?? either(environment, 'ALL_PROXY');
  return setting === undefined ? undefined : checkProxy(setting);
}

/** The proxy as a URL; without a scheme it is spoken to in http. */
function checkProxy(setting: Setting): string {
  const text = setting.value.trim();
  let url: URL | undefined;
  try {
    url = new URL(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`);
  } catch {
    url = undefined; // The message would show the password.
  }
  if (url !== undefined && (url.protocol === 'http:' || url.protocol === 'https:') && url.hostname !== '') {
    return url.href;
  }
  const why = url === undefined ? 'it is not a URL' : `${url.protocol}// proxies are not supported`;
  throw new ImgfsError('config', `cannot use the proxy in ${setting.name}: ${why}`, {
    operation: 'choose proxy',
    hint: `set ${setting.name} to http://host:port or https://host:port, or name hosts to reach directly in NO_PROXY`,
  });
}

/** Host name in lower case, without brackets and without the dot that ends an absolute name. */
function bareHost(url: URL): string {
  return url.hostname
    .toLowerCase()
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/\.$/, '');
}

function effectivePort(url: URL): string {
  if (url.port !== '') return url.port;
  return url.protocol === 'https:' ? '443' : '80';
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** True for names and addresses that mean this machine itself. */
export function isLoopback(host: string): boolean {
  if (host === 'localhost' || host.endsWith('.localhost')) return true;
  return inBlock(loopback, host);
}

function inBlock(block: BlockList, host: string): boolean {
  const version = isIP(host);
  return version !== 0 && block.check(host, version === 4 ? 'ipv4' : 'ipv6');
}

interface NoProxy {
  matches(host: string, port: string): boolean;
}

/** Entries separated by commas or blanks: `*`, address, CIDR, domain, `.domain`, `*.domain`; all but CIDR with port. */
function parseNoProxy(text: string): NoProxy {
  const rules = text
    .toLowerCase()
    .split(/[,\s]+/)
    .filter((entry) => entry !== '')
    .map(parseEntry);
  return { matches: (host, port) => rules.some((rule) => rule(host, port)) };
}

type Rule = (host: string, port: string) => boolean;

function parseEntry(entry: string): Rule {
  if (entry === '*') return () => true;
  const subnet = parseSubnet(entry);
  if (subnet !== undefined) return (host) => inBlock(subnet, host);
  const { name, port } = splitPort(entry);
  const matchesName = parseName(name);
  return (host, at) => (port === undefined || port === at) && matchesName(host);
}

function parseSubnet(entry: string): BlockList | undefined {
  const [address = '', length = '', ...more] = entry.split('/');
  const version = isIP(address);
  if (version === 0 || more.length > 0 || !/^[0-9]{1,3}$/.test(length)) return undefined;
  if (Number(length) > (version === 4 ? 32 : 128)) return undefined;
  const block = new BlockList();
  block.addSubnet(address, Number(length), version === 4 ? 'ipv4' : 'ipv6');
  return block;
}

/** `host:port`, `[v6]:port`, `[v6]`; a bare v6 address has no port. */
function splitPort(entry: string): { name: string; port?: string } {
  const match = /^(?:\[([^\]]*)\]|([^:]*)):([0-9]+)$/.exec(entry);
  const port = match?.[3];
  if (port !== undefined) return { name: match?.[1] ?? match?.[2] ?? '', port };
  return { name: entry.replace(/^\[(.*)\]$/, '$1') };
}

function parseName(name: string): (host: string) => boolean {
  const version = isIP(name);
  if (version !== 0) {
    const block = new BlockList();
    block.addAddress(name, version === 4 ? 'ipv4' : 'ipv6');
    return (host) => inBlock(block, host);
  }
  const domain = name.replace(/^\*\./, '.').replace(/\.$/, '');
  if (domain === '' || domain === '.') return () => false;
  // `.domain` is for hosts below it alone, `domain` for itself and all below.
  return domain.startsWith('.')
    ? (host) => host.endsWith(domain)
    : (host) => host === domain || host.endsWith(`.${domain}`);
}
