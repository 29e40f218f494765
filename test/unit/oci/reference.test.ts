// The table is that of github.com/distribution/reference (reference_test.go, normalize_test.go); differences are
// listed at the end, each with its reason.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { isImgfsError } from '../../../src/errors/imgfs-error.js';
import {
  formatReference,
  isRegistryHost,
  isRepositoryName,
  isTag,
  parseReference,
  withDefaultTag,
} from '../../../src/oci/reference.js';

const hex = 'f'.repeat(64);
const digest = `sha256:${hex}`;
const long255 = 'a'.repeat(255);

/** input → fully expanded form */
const valid: readonly (readonly [string, string])[] = [
  ['test_com', 'docker.io/library/test_com'],
  ['test.com:tag', 'docker.io/library/test.com:tag'],
  ['test.com:5000', 'docker.io/library/test.com:5000'],
  ['test.com/repo:tag', 'test.com/repo:tag'],
  ['test:5000/repo', 'test:5000/repo'],
  ['test:5000/repo:tag', 'test:5000/repo:tag'],
  [`test:5000/repo@${digest}`, `test:5000/repo@${digest}`],
  [`test:5000/repo:tag@${digest}`, `test:5000/repo:tag@${digest}`],
  ['lowercase:Uppercase', 'docker.io/library/lowercase:Uppercase'],
  ['sub-dom1.foo.com/bar/baz/quux:some-long-tag', 'sub-dom1.foo.com/bar/baz/quux:some-long-tag'],
  ['b.gcr.io/test.example.com/my-app:test.example.com', 'b.gcr.io/test.example.com/my-app:test.example.com'],
  ['xn--n3h.com/myimage:xn--n3h.com', 'xn--n3h.com/myimage:xn--n3h.com'],
  [`xn--7o8h.com/myimage:xn--7o8h.com@${digest}`, `xn--7o8h.com/myimage:xn--7o8h.com@${digest}`],
  ['foo_bar.com:8080', 'docker.io/library/foo_bar.com:8080'],
  ['foo/foo_bar.com:8080', 'docker.io/foo/foo_bar.com:8080'],
  ['192.168.1.1', 'docker.io/library/192.168.1.1'],
  ['192.168.1.1:5000', 'docker.io/library/192.168.1.1:5000'],
  ['192.168.1.1/repo', '192.168.1.1/repo'],
  ['192.168.1.1:5000/repo:5050', '192.168.1.1:5000/repo:5050'],
  ['[2001:db8::1]/repo', '[2001:db8::1]/repo'],
  ['[2001:db8:1:2:3:4:5:6]/repo:tag', '[2001:db8:1:2:3:4:5:6]/repo:tag'],
  ['[2001:db8::1]:5000/repo', '[2001:db8::1]:5000/repo'],
  [`[2001:db8::1]:5000/repo:tag@${digest}`, `[2001:db8::1]:5000/repo:tag@${digest}`],
  ['[2001:db8::]:5000/repo', '[2001:db8::]:5000/repo'],
  ['[::1]:5000/repo', '[::1]:5000/repo'],
  [`example.com/${long255}:tag`, `example.com/${long255}:tag`],
  ['docker/docker', 'docker.io/docker/docker'],
  ['library/debian', 'docker.io/library/debian'],
  ['debian', 'docker.io/library/debian'],
  ['localhost/library/debian', 'localhost/library/debian'],
  ['localhost/debian', 'localhost/debian'],
  ['docker.io/debian', 'docker.io/library/debian'],
  ['index.docker.io/debian', 'docker.io/library/debian'],
  ['index.docker.io/library/debian', 'docker.io/library/debian'],
  ['127.0.0.1:5000/debian', '127.0.0.1:5000/debian'],
  [`docker.io/${hex}`, `docker.io/library/${hex}`],
  ['docker---rules/docker', 'docker.io/docker---rules/docker'],
  ['jess/t', 'docker.io/jess/t'],
  ['dock__er/docker', 'docker.io/dock__er/docker'],
  ['library/foo/bar', 'docker.io/library/foo/bar'],
  [`busybox:latest@${digest}`, `docker.io/library/busybox:latest@${digest}`],
];

const invalid: readonly string[] = [
  '',
  ':justtag',
  `@${digest}`,
  'repo@sha256:ffffffffffffffffffffffffffffffffff',
  `validname@invaliddigest:${hex}`,
  `validname@sha256:${'F'.repeat(64)}`,
  'Uppercase:tag',
  'test:5000/Uppercase/lowercase:tag',
  `domain/${'a'.repeat(256)}:tag`,
  'aa/asdf$$^/aa',
  '[2001:db8::1]',
  '[2001:db8::1]:5000',
  '[2001:db8::1]:tag',
  '[fe80::1%eth0]:5000/repo',
  '[fe80::1%@invalidzone]:5000/repo',
  '[2001:db8:3:4::192.0.2.33]:5000/debian',
  'https://github.com/docker/docker',
  'docker/Docker',
  '-docker',
  '-docker/docker',
  '-docker.io/docker/docker',
  'docker///docker',
  'docker.io/docker/Docker',
  'docker.io/docker///docker',
  'fc00::1:5000/debian',
  hex,
  'docker-/docker',
  '____/____',
  '_docker/_docker',
  'dock..er/docker',
  'dock_.er/docker',
  'dock-.er/docker',
  'docker/',
  'docker.io/',
  '/docker',
  'a:b:c',
  `a@${digest}@${digest}`,
  `a:${'t'.repeat(129)}`,
  'a:-tag',
  'a:.tag',
  'a b',
  'a\n',
  'a:tag\n',
  'exämple/repo',
  '../etc/passwd',
  'a/../b',
  'a/./b',
  // Ours alone: what distribution lets through and later cannot use.
  '[fd00123123123]:5000/repo',
  '192.168.1.1:75050/repo',
  'example.com./repo',
  // distribution takes one upper-case word for a host; in lower case it would be read back as a name of Docker Hub.
  'LOCALDOMAIN/debian',
  'Foo/bar',
];

describe('parseReference', () => {
  for (const [input, expanded] of valid) {
    it(`takes ${input.slice(0, 60)}`, () => {
      const reference = parseReference(input);
      assert.equal(formatReference(reference), expanded);
      assert.deepEqual(parseReference(expanded), reference);
    });
  }
  for (const input of invalid) {
    it(`refuses ${JSON.stringify(input.slice(0, 60))}`, () => {
      assert.throws(
        () => parseReference(input),
        (error) => isImgfsError(error, 'name-invalid') && !error.message.includes('\n'),
      );
    });
  }

  it('never throws anything but name-invalid, and gives only legal parts', () => {
    const alphabet = fc.constantFrom(...'aZ09._-/:@[]%\n sha256docker.io'.split(''));
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: alphabet, maxLength: 60 })), (text) => {
        try {
          const reference = parseReference(text);
          assert.ok(isRepositoryName(reference.repository));
          assert.ok(reference.tag === undefined || isTag(reference.tag));
          assert.ok(isRegistryHost(reference.registry));
          assert.deepEqual(parseReference(formatReference(reference)), reference);
        } catch (error) {
          assert.ok(isImgfsError(error, 'name-invalid'), String(error));
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('takes long hostile input in linear time', () => {
    const started = performance.now();
    for (const unit of ['a-', 'a.', 'a_', 'a/', 'A', '[', 'a:', '-']) {
      const text = unit.repeat(100_000);
      assert.equal(isRegistryHost(text), false);
      assert.throws(() => parseReference(`${text}!`));
    }
    // Quadratic work over 200,000 characters takes minutes; linear work takes milliseconds.
    assert.ok(performance.now() - started < 2000);
  });
});

describe('withDefaultTag', () => {
  it('adds latest only where nothing was said', () => {
    assert.equal(withDefaultTag(parseReference('alpine')).tag, 'latest');
    assert.equal(withDefaultTag(parseReference('alpine:3')).tag, '3');
    assert.equal(withDefaultTag(parseReference(`alpine@${digest}`)).tag, undefined);
  });
});

describe('isRegistryHost', () => {
  const hosts = ['test.com', 'localhost', 'localhost:8080', 'ab.cd.com', 'a-b.com', 'ab.c-om', '0101.com'];
  for (const host of [...hosts, 'b.gbc.io:443', 'Asdf.com', '[fd00:1:2::3]:7505', 'a:1']) {
    it(`takes ${host}`, () => assert.equal(isRegistryHost(host), true));
  }
  const others = ['a', 'test.com:http', '-ab.com', 'ab-.com', 'ab.-com', 'ab.com-', '[fd00:1:2::3]75050', ''];
  for (const host of [...others, '[fd00:1:2::3]::7505', '.trash', '..', '.', 'a..b', 'a.b:', 'a.b:99999']) {
    it(`refuses ${JSON.stringify(host)}`, () => assert.equal(isRegistryHost(host), false));
  }
});
