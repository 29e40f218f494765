import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isImgfsError } from '../../../../../src/errors/imgfs-error.js';
import { createProxyChooser } from '../../../../../src/store/registry/config/proxy.js';
import { makeMachine } from './machine.js';

const timeout = 5_000;

test('the proxy is chosen by scheme, upper case first', { timeout }, (t) => {
  const machine = makeMachine(t);
  const choose = (variables: Record<string, string>, url: string) =>
    createProxyChooser(machine.with(variables))(new URL(url));
  assert.equal(choose({}, 'https://a.io/'), undefined);
  const both = { HTTP_PROXY: 'http://p:1', HTTPS_PROXY: 'https://p:2', https_proxy: 'http://lower:3' };
  assert.equal(choose(both, 'http://a.io/'), 'http://p:1/');
  assert.equal(choose(both, 'https://a.io/'), 'https://p:2/');
  assert.equal(choose({ https_proxy: 'lower:3128' }, 'https://a.io/'), 'http://lower:3128/');
  assert.equal(choose({ ALL_PROXY: 'http://all:9' }, 'https://a.io/'), 'http://all:9/');
  assert.equal(
    choose({ all_proxy: 'socks5://s:1', https_proxy: 'http://h:1' }, 'https://a.io/'),
    'http://h:1/',
  );
  assert.equal(choose({ HTTPS_PROXY: 'http://u:p%40x@p:1' }, 'https://a.io/'), 'http://u:p%40x@p:1/');
});

test('a proxy header of a CGI request is no proxy', { timeout }, (t) => {
  const machine = makeMachine(t);
  const choose = createProxyChooser(machine.with({ HTTP_PROXY: 'http://evil:1', REQUEST_METHOD: 'GET' }));
  assert.equal(choose(new URL('http://a.io/')), undefined);
});

test('a proxy that cannot be used is a config error without its password', { timeout }, (t) => {
  const machine = makeMachine(t);
  for (const proxy of ['socks5://u:hunter2@s:1', 'http://u:hunter2@', 'ftp://x', 'http://a b:hunter2']) {
    const choose = createProxyChooser(machine.with({ HTTPS_PROXY: proxy, NO_PROXY: 'direct.io' }));
    assert.equal(choose(new URL('https://direct.io/')), undefined);
    assert.throws(
      () => choose(new URL('https://a.io/')),
      (error) => isImgfsError(error, 'config') && !/hunter2/.test(error.message + String(error.hint)),
    );
  }
});

const cases: [string, string[], string[]][] = [
  ['*', ['https://a.io', 'http://1.2.3.4'], []],
  ['', [], ['https://a.io']],
  ['a.io', ['https://a.io', 'https://x.a.io:5000', 'https://A.IO.'], ['https://ba.io', 'https://a.io.evil']],
  ['.a.io', ['https://x.a.io'], ['https://a.io', 'https://xa.io']],
  ['*.a.io', ['https://x.y.a.io'], ['https://a.io']],
  ['a.io:443', ['https://a.io'], ['http://a.io', 'https://a.io:5000']],
  ['a.io:5000', ['http://a.io:5000', 'https://x.a.io:5000'], ['http://a.io']],
  ['10.0.0.0/8', ['https://10.1.2.3'], ['https://11.0.0.1', 'https://a.io']],
  ['fd00::/8', ['https://[fd12::1]:5000'], ['https://[fe80::1]']],
  ['10.0.0.1', ['https://10.0.0.1:5000'], ['https://10.0.0.11']],
  ['10.0.0.1:5000', ['https://10.0.0.1:5000'], ['https://10.0.0.1']],
  ['[fd00::1]:5000, fd00::2', ['https://[fd00::1]:5000', 'https://[fd00::2]'], ['https://[fd00::1]']],
  [' b.io ,, a.io c.io', ['https://a.io', 'https://b.io', 'https://c.io'], ['https://d.io']],
  ['10.0.0.0/99, ., /, a.io', ['https://a.io'], ['https://10.0.0.1', 'https://b.io']],
];
for (const [noProxy, direct, proxied] of cases) {
  test(`NO_PROXY=${JSON.stringify(noProxy)}`, { timeout }, (t) => {
    const machine = makeMachine(t);
    const proxy = 'http://p:1';
    const choose = createProxyChooser(
      machine.with({ HTTP_PROXY: proxy, HTTPS_PROXY: proxy, no_proxy: noProxy }),
    );
    for (const url of direct) assert.equal(choose(new URL(url)), undefined, url);
    for (const url of proxied) assert.equal(choose(new URL(url)), 'http://p:1/', url);
  });
}

test('this machine itself is never proxied', { timeout }, (t) => {
  const machine = makeMachine(t);
  const choose = createProxyChooser(machine.with({ HTTP_PROXY: 'http://p:1', HTTPS_PROXY: 'http://p:1' }));
  for (const host of [
    'localhost:5000',
    '127.0.0.1:5000',
    '127.8.9.1',
    '[::1]:5000',
    'x.localhost',
    'LOCALHOST.',
  ]) {
    assert.equal(choose(new URL(`https://${host}/`)), undefined, host);
  }
  for (const host of ['localhost.evil.io', '128.0.0.1', '0.0.0.0', '[::2]']) {
    assert.equal(choose(new URL(`https://${host}/`)), 'http://p:1/', host);
  }
});
