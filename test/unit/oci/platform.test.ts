// The tables are those of github.com/containerd/platforms (compare_test.go, platforms_test.go).
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { isImgfsError } from '../../../src/errors/imgfs-error.js';
import type { Descriptor } from '../../../src/oci/descriptor.js';
import { parseDigest } from '../../../src/oci/digest.js';
import type { ImageIndex } from '../../../src/oci/manifest.js';
import { matchesPlatform, rankPlatform } from '../../../src/oci/match-platform.js';
import { mediaTypes } from '../../../src/oci/media-type.js';
import {
  formatPlatform,
  hostPlatform,
  normalizePlatform,
  parsePlatform,
  platformDirectoryName,
  platformDirectoryNames,
  type Platform,
} from '../../../src/oci/platform.js';
import { selectManifest } from '../../../src/oci/select-manifest.js';

describe('parsePlatform', () => {
  for (const [input, expected] of [
    ['linux/arm64', 'linux/arm64'],
    ['linux/arm64/v8', 'linux/arm64'],
    ['linux/arm64/9', 'linux/arm64/v9'],
    ['linux/aarch64', 'linux/arm64'],
    ['linux/arm', 'linux/arm/v7'],
    ['linux/arm/6', 'linux/arm/v6'],
    ['linux/armhf', 'linux/arm/v7'],
    ['linux/armel', 'linux/arm/v6'],
    ['Linux/X86_64', 'linux/amd64'],
    ['linux/amd64/v1', 'linux/amd64'],
    ['linux/amd64/v3', 'linux/amd64/v3'],
    ['linux/i386', 'linux/386'],
    ['macos/aarch64', 'darwin/arm64'],
    ['windows(10.0.17763)/amd64', 'windows(10.0.17763)/amd64'],
    ['windows(10.0.17763+win32k)/amd64', 'windows(10.0.17763+win32k)/amd64'],
    ['linux(+unsorted+erofs+erofs)/amd64', 'linux(+erofs+unsorted)/amd64'],
    ['linux(+feat%2Bv2+100%25)/amd64', 'linux(+100%25+feat%2Bv2)/amd64'],
    ['aarch64', 'linux/arm64'],
    ['s390x', 'linux/s390x'],
    ['haiku/mips128', 'haiku/mips128'],
  ] as const) {
    it(`reads ${input}`, () => assert.equal(formatPlatform(parsePlatform(input)), expected));
  }
  for (const input of [
    '',
    '/',
    'linux/',
    '/amd64',
    'linux/&arm',
    'a/b/c/d',
    'wat',
    '*',
    'linux/*',
    'linux/a b',
    'linux(+)/amd64',
    'linux(+%zz)/amd64',
    'linux(10.0/amd64',
    `linux(${'+a'.repeat(17)})/amd64`,
  ]) {
    it(`refuses ${JSON.stringify(input)}`, () => {
      assert.throws(
        () => parsePlatform(input),
        (error) => isImgfsError(error, 'invalid'),
      );
    });
  }
  it('fills in this machine', () => {
    assert.deepEqual(parsePlatform('linux'), hostPlatform());
    assert.equal(parsePlatform('windows').os, 'windows');
    assert.equal(hostPlatform().os, 'linux');
  });
  it('reads back what formatPlatform writes', () => {
    const word = fc.stringMatching(/^[a-z0-9]{1,8}$/);
    fc.assert(
      fc.property(word, word, fc.option(word), (os, architecture, variant) => {
        const once = normalizePlatform({ os, architecture, ...(variant === null ? {} : { variant }) });
        assert.deepEqual(parsePlatform(formatPlatform(once)), once);
        assert.deepEqual(normalizePlatform(once), once);
        assert.ok(!platformDirectoryName(once).includes('/'));
      }),
    );
  });
});

describe('matchesPlatform', () => {
  const arm = ['linux/arm', 'linux/arm/v5', 'linux/arm/v6', 'linux/arm/v7', 'linux/arm/v8'];
  const v8 = (last: number): string[] =>
    Array.from({ length: last + 1 }, (_, minor) => `linux/arm64/v8.${minor}`);
  const v9 = (last: number): string[] =>
    Array.from({ length: last + 1 }, (_, minor) => `linux/arm64/v9.${minor}`);
  const table: readonly (readonly [string, readonly string[], readonly string[]])[] = [
    [
      'linux/amd64',
      ['linux/amd64', 'linux/386'],
      ['linux/amd64/v2', 'linux/arm/v7', 'linux/arm64', 'windows/amd64'],
    ],
    [
      'linux/amd64/v2',
      ['linux/amd64', 'linux/amd64/v1', 'linux/amd64/v2', 'linux/386'],
      ['linux/amd64/v3', 'linux/amd64/v4', 'linux/arm64', 'windows/amd64'],
    ],
    ['linux/386', ['linux/386'], ['linux/amd64', 'linux/arm64']],
    ['windows/amd64', ['windows/amd64', 'windows(10.0.17763)/amd64'], ['linux/amd64', 'windows/arm']],
    [
      'windows(10.0.17763)/amd64',
      ['windows/amd64', 'windows(10.0.17763)/amd64', 'windows(10.0.17763.1)/amd64'],
      [
        'windows(10.0.17764)/amd64',
        'windows(10.0.20348)/amd64',
        'windows(6.3.17763)/amd64',
        'windows(x)/amd64',
      ],
    ],
    // Revisions do not count; from Server 2022 on, images back to the long-term release before run too.
    ['windows(10.0.17763.5)/amd64', ['windows(10.0.17763.4)/amd64'], ['windows(10.0.17762.5)/amd64']],
    [
      'windows(10.0.20348)/amd64',
      ['windows(10.0.20348.9)/amd64'],
      ['windows(10.0.17763)/amd64', 'windows(10.0.22621)/amd64', 'windows(10.0.26100)/amd64'],
    ],
    [
      'windows(10.0.22621)/amd64',
      ['windows(10.0.20348)/amd64', 'windows(10.0.22621)/amd64'],
      ['windows(10.0.17763)/amd64', 'windows(10.0.25398)/amd64'],
    ],
    [
      'windows(10.0.26100.2894)/amd64',
      ['windows(10.0.20348)/amd64', 'windows(10.0.22621)/amd64', 'windows(10.0.26100.3000)/amd64'],
      ['windows(10.0.17763)/amd64', 'windows(10.0.26101)/amd64'],
    ],
    [
      'windows(10.0.30000)/amd64',
      ['windows(10.0.26100)/amd64', 'windows(10.0.30000)/amd64'],
      ['windows(10.0.20348)/amd64'],
    ],
    ['freebsd(14.1)/amd64', ['freebsd(14.1)/amd64', 'freebsd(14.1.2)/amd64'], ['freebsd(14.10)/amd64']],
    ['linux/arm/v8', arm, ['linux/arm/v4', 'linux/arm64', 'linux/amd64']],
    ['linux/arm/v7', arm.slice(0, 4), ['linux/arm/v4', 'linux/arm/v8', 'linux/arm64']],
    ['linux/arm/v6', ['linux/arm/v5', 'linux/arm/v6'], ['linux/arm', 'linux/arm/v4', 'linux/arm/v7']],
    ['linux/arm/v5', ['linux/arm/v5'], ['linux/arm', 'linux/arm/v4', 'linux/arm/v6']],
    ['linux/arm/v4', ['linux/arm/v4'], ['linux/arm', 'linux/arm/v5']],
    [
      'linux/arm64',
      [...arm, 'linux/arm64', 'linux/arm64/v8'],
      ['linux/arm/v4', 'linux/arm64/v8.1', 'linux/arm64/v9'],
    ],
    [
      'linux/arm64/v8.1',
      [...arm, 'linux/arm64', ...v8(1)],
      ['linux/arm64/v8.2', 'linux/arm64/v9', 'linux/arm/v9'],
    ],
    [
      'linux/arm64/v9',
      [...arm, 'linux/arm64', 'linux/arm64/v9', ...v8(5)],
      ['linux/arm64/v8.6', 'linux/arm64/v9.1'],
    ],
    [
      'linux/arm64/v9.6',
      [...arm, 'linux/arm64', ...v9(6), ...v8(9)],
      ['linux/arm64/v8.10', 'linux/arm64/v9.7'],
    ],
  ];
  for (const [wanted, accepted, refused] of table) {
    it(`decides for ${wanted}`, () => {
      const want = parsePlatform(wanted);
      for (const text of accepted) assert.ok(matchesPlatform(want, parsePlatform(text)), text);
      for (const text of refused) assert.ok(!matchesPlatform(want, parsePlatform(text)), text);
    });
  }
  it('prefers the nearest', () => {
    const order = (wanted: string, ...texts: string[]): void => {
      const ranks = texts.map((text) => rankPlatform(parsePlatform(wanted), parsePlatform(text)));
      assert.deepEqual(
        ranks,
        [...ranks].sort((a, b) => a - b),
      );
      assert.equal(new Set(ranks).size, ranks.length);
    };
    order('linux/amd64/v3', 'linux/amd64/v3', 'linux/amd64/v2', 'linux/amd64', 'linux/386');
    order('linux/arm/v7', 'linux/arm/v7', 'linux/arm/v6', 'linux/arm/v5');
    order(
      'linux/arm64/v9',
      'linux/arm64/v9',
      'linux/arm64/v8.5',
      'linux/arm64',
      'linux/arm/v8',
      'linux/arm/v7',
    );
  });
  it('wants every feature of the candidate', () => {
    const gpu: Platform = { os: 'linux', architecture: 'amd64', osFeatures: ['gpu'] };
    const plain: Platform = { os: 'linux', architecture: 'amd64' };
    assert.deepEqual([matchesPlatform(plain, gpu), matchesPlatform(gpu, plain)], [false, true]);
    const windows: Platform = { os: 'windows', architecture: 'amd64' };
    assert.ok(matchesPlatform(windows, { ...windows, osFeatures: ['win32k'] }));
  });
});

describe('selectManifest', () => {
  let serial = 0;
  const child = (platform?: string | Platform, more: Partial<Descriptor> = {}): Descriptor => {
    serial += 1;
    const parsed = typeof platform === 'string' ? parsePlatform(platform) : platform;
    return {
      mediaType: mediaTypes.ociManifest,
      digest: parseDigest(`sha256:${serial.toString(16).padStart(64, '0')}`),
      size: 1,
      ...(parsed === undefined ? {} : { platform: parsed }),
      ...more,
    };
  };
  const indexOf = (...manifests: Descriptor[]): ImageIndex => ({
    kind: 'index',
    mediaType: mediaTypes.ociIndex,
    manifests,
    annotations: {},
  });
  const amd64 = parsePlatform('linux/amd64');
  const attestation = child({ os: 'unknown', architecture: 'unknown' });

  it('chooses the best, not the first', () => {
    const best = child('linux/arm/v7');
    const index = indexOf(child(), child('linux/arm/v5'), best, child('linux/amd64'));
    assert.equal(selectManifest(index, parsePlatform('linux/arm')), best);
  });
  it('takes the first of equals', () => {
    const first = child('linux/amd64');
    assert.equal(selectManifest(indexOf(first, child('linux/amd64')), amd64), first);
  });
  it('takes a child without a platform only when nothing else fits', () => {
    const plain = child();
    assert.equal(selectManifest(indexOf(child('linux/arm64'), plain), amd64), plain);
  });
  it('never chooses an attestation or what is no manifest', () => {
    const marked = child('linux/amd64', {
      annotations: { 'vnd.docker.reference.type': 'attestation-manifest' },
    });
    const blob = child('linux/amd64', { mediaType: mediaTypes.ociLayer });
    const wanted: Platform = { os: 'unknown', architecture: 'unknown' };
    for (const platform of [amd64, wanted]) {
      assert.throws(
        () => selectManifest(indexOf(attestation, marked, blob), platform),
        (error) => isImgfsError(error, 'not-found'),
      );
    }
  });
  it('takes the newest Windows that the wanted version runs', () => {
    const newest = child('windows(10.0.26100.2894)/amd64');
    const index = indexOf(
      child('windows(10.0.26100.1000)/amd64'),
      child('windows(10.0.20348.3091)/amd64'),
      newest,
      child('windows(10.0.17763.9999)/amd64'),
      child('windows/amd64'),
    );
    assert.equal(selectManifest(index, parsePlatform('windows(10.0.26100)/amd64')), newest);
    assert.equal(selectManifest(index, parsePlatform('windows(10.0.22621)/amd64')), index.manifests[1]);
    assert.equal(selectManifest(index, parsePlatform('windows/amd64')), index.manifests[0]);
  });
  it('prints features that no name can hold', () => {
    const odd: Platform = { os: 'linux', architecture: 'amd64', osFeatures: ['a(b)*/\ud800'] };
    assert.equal(formatPlatform(odd), 'linux(+a%28b%29%2A%2F%EF%BF%BD)/amd64');
  });
  it('says which platforms there are', () => {
    assert.throws(
      () => selectManifest(indexOf(child('linux/s390x'), attestation), amd64),
      (error) => isImgfsError(error, 'not-found') && error.hint === 'choose --platform from: linux/s390x',
    );
  });
});

describe('platformDirectoryNames', () => {
  it('is unique and readable', () => {
    assert.deepEqual(
      platformDirectoryNames([
        { os: 'linux', architecture: 'arm', variant: 'v7' },
        { os: 'windows', architecture: 'amd64', osVersion: '10.0.1' },
        { os: 'windows', architecture: 'amd64', osVersion: '10.0.2' },
        { os: 'linux', architecture: 'amd64' },
        { os: 'linux', architecture: 'amd64' },
      ]),
      ['linux-arm-v7', 'windows-amd64-10.0.1', 'windows-amd64-10.0.2', 'linux-amd64', 'linux-amd64-2'],
    );
  });
});
