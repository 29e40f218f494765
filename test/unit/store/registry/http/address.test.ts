import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isImgfsError } from '../../../../../src/errors/imgfs-error.js';
import {
  checkedLookup,
  mayReach,
  reachOf,
  type Reach,
} from '../../../../../src/store/registry/http/address.js';
import { Agents } from '../../../../../src/store/registry/http/agents.js';
import { exchange } from '../../../../../src/store/registry/http/exchange.js';
import { defaultRegistryOptions } from '../../../../../src/store/registry/options.js';
import type { Endpoint } from '../../../../../src/store/registry/endpoint.js';

test('reach of an address, in every spelling', () => {
  const cases: Record<Reach, readonly string[]> = {
    public: [
      '8.8.8.8',
      '1.1.1.1',
      '172.15.0.1',
      '172.32.0.1',
      '2606:4700::1111',
      '::ffff:8.8.8.8',
      '64:ff9b::808:808',
    ],
    private: [
      '10.1.2.3',
      '172.16.0.1',
      '192.168.1.1',
      '100.64.0.1',
      'fc00::1',
      'fd12:3456::1',
      '::ffff:10.0.0.1',
      '2002:a00:1::',
    ],
    loopback: [
      '127.0.0.1',
      '127.9.9.9',
      '::1',
      '::ffff:127.0.0.1',
      '::ffff:7f00:1',
      '64:ff9b::7f00:1',
      '2002:7f00:1::1',
      '::127.0.0.1',
    ],
    never: [
      '0.0.0.0',
      '0.1.2.3',
      '169.254.169.254',
      '::ffff:169.254.169.254',
      '::ffff:a9fe:a9fe',
      '64:ff9b::a9fe:a9fe',
      '168.63.129.16',
      '100.100.100.200',
      '192.0.0.192',
      '224.0.0.1',
      '255.255.255.255',
      '::',
      'fe80::1',
      'fe80::1%eth0',
      'ff02::1',
      'fd00:ec2::254',
      '2001::1',
      'not an address',
    ],
  };
  for (const [reach, addresses] of Object.entries(cases)) {
    for (const address of addresses) assert.equal(reachOf(address), reach, address);
  }
});

test('nobody sends us nearer than he is', () => {
  assert.equal(mayReach('public', 'public'), true);
  assert.equal(mayReach('private', 'public'), false);
  assert.equal(mayReach('loopback', 'private'), false);
  assert.equal(mayReach('private', 'loopback'), true);
  assert.equal(mayReach('never', 'loopback'), false);
  assert.equal(mayReach('public', 'never'), true);
  assert.equal(mayReach('private', 'never'), false);
});

const endpoint: Endpoint = {
  origin: 'https://registry.example',
  apiPath: '/v2',
  repository: 'a',
  isOrigin: true,
  namespaceQuery: false,
  capabilities: new Set(['pull']),
  headers: {},
  tls: { verify: true },
  allowHttpFallback: false,
  credentialHost: 'registry.example',
};

test('literal addresses are refused before a connection is made', () => {
  const agents = new Agents(defaultRegistryOptions, () => undefined);
  const hosts = [
    '127.0.0.1',
    '[::1]',
    '2130706433',
    '0x7f.1',
    '0177.0.0.1',
    '169.254.169.254',
    '[::ffff:a9fe:a9fe]',
    '0',
    '10.0.0.1',
  ];
  for (const host of hosts) {
    const url = new URL(`http://${host}:9/`);
    assert.throws(
      () => agents.dispatcherFor({ url, endpoint, foreign: true, reach: 'public' }),
      (error) => isImgfsError(error, 'denied'),
      host,
    );
  }
});

test('a name that resolves to a forbidden address is refused where the connection is made', async () => {
  const agents = new Agents(defaultRegistryOptions, () => undefined);
  const url = new URL('http://localhost:9/latest/meta-data');
  const request = {
    method: 'GET',
    url,
    headers: {},
    context: { operation: 'fetch blob' },
    timeoutMs: 5000,
    stall: { windowMs: 1000, minBytesPerSecond: 1 },
  } as const;
  await assert.rejects(
    exchange(agents.dispatcherFor({ url, endpoint, foreign: true, reach: 'public' }), request),
    (error) => isImgfsError(error, 'denied') && /localhost \(/.test(error.message),
  );
  await agents.close();
});

test('the lookup gives one address or all, as asked', async () => {
  const lookup = checkedLookup('loopback', 'registry.example');
  const all = await new Promise((resolve) => {
    lookup('localhost', { all: true }, (error, addresses) => resolve(error ?? addresses));
  });
  assert.ok(Array.isArray(all) && all.length > 0);
  const one = await new Promise((resolve) => {
    lookup('localhost', { family: 4 }, (error, address) => resolve(error ?? address));
  });
  assert.equal(one, '127.0.0.1');
});
