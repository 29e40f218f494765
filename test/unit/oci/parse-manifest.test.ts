import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import type { ErrorCode } from '../../../src/errors/codes.js';
import { isImgfsError } from '../../../src/errors/imgfs-error.js';
import { digestOf } from '../../../src/oci/digest.js';
import { maxJsonDepth, parseUntrustedJson } from '../../../src/oci/json.js';
import { mediaTypes } from '../../../src/oci/media-type.js';
import { embeddedData } from '../../../src/oci/parse-descriptor.js';
import { maxManifestBytes, parseManifest } from '../../../src/oci/parse-manifest.js';

const digest = `sha256:${'a'.repeat(64)}`;
const config = { mediaType: mediaTypes.ociConfig, digest, size: 2 };
const layer = { mediaType: mediaTypes.ociLayerGzip, digest, size: 3 };
const image = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [layer] };
const child = {
  mediaType: mediaTypes.ociManifest,
  digest,
  size: 4,
  platform: { os: 'linux', architecture: 'arm64' },
};
const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [child] };

const encode = (value: unknown): Uint8Array =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));

function refused(value: unknown, mediaType?: string, code: ErrorCode = 'invalid-content', says = /./): void {
  assert.throws(
    () => parseManifest(encode(value), mediaType),
    (error) => {
      assert.ok(isImgfsError(error, code), String(error));
      assert.match(error.message, says);
      return true;
    },
  );
}

describe('parseManifest', () => {
  it('reads an image manifest', () => {
    const parsed = parseManifest(
      encode({ ...image, annotations: { a: 'b' }, artifactType: 'x/y', subject: child }),
    );
    assert.equal(parsed.kind, 'image');
    assert.deepEqual(parsed, {
      kind: 'image',
      mediaType: mediaTypes.ociManifest,
      artifactType: 'x/y',
      config,
      layers: [layer],
      subject: child,
      annotations: { a: 'b' },
    });
  });

  it('reads an index with every platform field', () => {
    const platform = {
      os: 'windows',
      architecture: 'amd64',
      variant: 'v2',
      'os.version': '10.0.17763.1',
      'os.features': ['win32k'],
    };
    const parsed = parseManifest(encode({ ...index, manifests: [{ ...child, platform }] }));
    assert.ok(parsed.kind === 'index');
    assert.deepEqual(parsed.manifests[0]?.platform, {
      os: 'windows',
      architecture: 'amd64',
      variant: 'v2',
      osVersion: '10.0.17763.1',
      osFeatures: ['win32k'],
    });
  });

  it('reads an artifact manifest and the Docker kinds', () => {
    const artifact = parseManifest(
      encode({ mediaType: mediaTypes.ociArtifact, artifactType: 'a/b', blobs: [layer] }),
    );
    assert.deepEqual(artifact.kind === 'artifact' && artifact.blobs, [layer]);
    assert.equal(parseManifest(encode({ ...image, mediaType: mediaTypes.dockerManifest })).kind, 'image');
    assert.equal(parseManifest(encode({ ...index, mediaType: mediaTypes.dockerList })).kind, 'index');
  });

  it('decides by the fields where no type is given', () => {
    const { mediaType: _image, ...bareImage } = image;
    const { mediaType: _index, ...bareIndex } = index;
    assert.equal(parseManifest(encode(bareImage)).mediaType, mediaTypes.ociManifest);
    assert.equal(parseManifest(encode(bareIndex)).mediaType, mediaTypes.ociIndex);
    assert.equal(parseManifest(encode(bareIndex), mediaTypes.dockerList).mediaType, mediaTypes.dockerList);
    refused(bareImage, mediaTypes.ociIndex, 'invalid-content', /ambiguous/);
    refused({ schemaVersion: 2 }, undefined, 'invalid-content', /config and manifests are missing/);
  });

  it('takes a header with parameters, and headers that say nothing', () => {
    const header = 'Application/vnd.OCI.image.manifest.v1+json; charset=utf-8';
    assert.equal(parseManifest(encode(image), header).kind, 'image');
    for (const empty of ['', 'application/json', 'text/plain; charset=utf-8', 'application/octet-stream']) {
      assert.equal(parseManifest(encode(image), empty).kind, 'image');
    }
  });

  it('takes null for absent, as Go writes it, and ignores unknown keys', () => {
    const parsed = parseManifest(
      encode({
        ...image,
        layers: null,
        annotations: null,
        subject: null,
        manifests: null,
        later: { deep: [1] },
      }),
    );
    assert.ok(parsed.kind === 'image');
    assert.deepEqual([parsed.layers, parsed.annotations, parsed.subject], [[], {}, undefined]);
  });

  it('keeps __proto__ as data', () => {
    const text = JSON.stringify(image).replace(
      /\}$/,
      ',"__proto__":{"kind":"index"},"annotations":{"__proto__":"x"}}',
    );
    const parsed = parseManifest(encode(text));
    assert.equal(parsed.kind, 'image');
    assert.equal(Object.getPrototypeOf(parsed.annotations), Object.prototype);
    assert.deepEqual(Object.keys(parsed.annotations), ['__proto__']);
    assert.equal(({} as { kind?: string }).kind, undefined);
  });

  describe('ambiguous documents (CVE-2021-41190)', () => {
    it('refuses both lists', () => {
      refused({ ...image, manifests: [child] }, undefined, 'invalid-content', /ambiguous.*manifests/);
      refused({ ...index, config, layers: [layer] }, undefined, 'invalid-content', /ambiguous.*config/);
      refused({ ...index, layers: [] }, undefined, 'invalid-content', /ambiguous.*layers/);
      refused({ ...image, blobs: [layer] });
      refused({ ...image, history: [] });
    });
    it('refuses a type that disagrees', () => {
      refused(image, mediaTypes.ociIndex, 'invalid-content', /it says/);
      refused(image, mediaTypes.dockerManifest, 'invalid-content', /it says/);
      refused({ ...image, mediaType: mediaTypes.ociIndex }, mediaTypes.ociManifest);
      refused(image, mediaTypes.ociConfig);
      refused(
        { ...image, mediaType: 'text/html' },
        undefined,
        'invalid-content',
        /not the type of a manifest/,
      );
    });
    it('refuses duplicate keys, also escaped ones and deep down', () => {
      refused(
        `{"config":${JSON.stringify(config)},"config":{}}`,
        undefined,
        'invalid-content',
        /there twice/,
      );
      refused('{"manifests":[],"\\u006danifests":[]}', undefined, 'invalid-content', /there twice/);
      const twice = JSON.stringify(layer).replace('{', '{"size":9,');
      refused(
        `{"config":${JSON.stringify(config)},"layers":[${twice}]}`,
        undefined,
        'invalid-content',
        /there twice/,
      );
    });
    it('refuses keys that a Go reader takes for known ones', () => {
      refused({ ...image, Manifests: [child] }, undefined, 'invalid-content', /can be taken for/);
      refused(
        { ...image, layers: [{ ...layer, Digest: digest }] },
        undefined,
        'invalid-content',
        /can be taken for/,
      );
    });
  });

  it('refuses schema 1 with a hint', () => {
    const schema1 = { schemaVersion: 1, name: 'a', tag: 'b', fsLayers: [], history: [], signatures: [] };
    for (const type of [
      undefined,
      mediaTypes.dockerSchema1Signed,
      mediaTypes.dockerSchema1,
      'application/json',
    ]) {
      refused(schema1, type, 'unsupported', /schema 1/);
    }
  });

  const bad: readonly (readonly [string, unknown])[] = [
    ['an empty body', ''],
    ['an HTML page', '<html></html>'],
    ['a list', []],
    ['null', 'null'],
    ['trailing bytes', `${JSON.stringify(image)}x`],
    ['a byte order mark', `\ufeff${JSON.stringify(image)}`],
    ['an unfinished string', '{"a'],
    ['schema version 3', { ...image, schemaVersion: 3 }],
    ['layers that are no list', { ...image, layers: {} }],
    ['a layer that is null', { ...image, layers: [null] }],
    ['a negative size', { ...image, config: { ...config, size: -1 } }],
    ['a fractional size', { ...image, config: { ...config, size: 1.5 } }],
    ['a size over 2^53', { ...image, config: { ...config, size: 2 ** 53 } }],
    ['a size as text', { ...image, config: { ...config, size: '2' } }],
    ['no size', { ...image, config: { mediaType: config.mediaType, digest } }],
    ['no media type', { ...image, config: { digest, size: 1 } }],
    ['a media type with a newline', { ...image, config: { ...config, mediaType: 'a/b\nx' } }],
    ['a digest that is a path', { ...image, config: { ...config, digest: `sha256:../${'a'.repeat(61)}` } }],
    [
      'a digest of an unknown algorithm',
      { ...image, config: { ...config, digest: `md5:${'a'.repeat(32)}` } },
    ],
    ['annotations that are no strings', { ...image, annotations: { a: 1 } }],
    ['urls that are no strings', { ...image, layers: [{ ...layer, urls: [1] }] }],
    [
      'a platform that is a path',
      { ...index, manifests: [{ ...child, platform: { os: '../x', architecture: 'a' } }] },
    ],
    ['data that is not base64', { ...image, config: { ...config, data: 'e30' } }],
    ['data with spaces', { ...image, config: { ...config, data: 'e3 0=' } }],
  ];
  for (const [name, value] of bad) it(`refuses ${name}`, () => refused(value));

  it('refuses bytes that are not UTF-8', () => {
    assert.throws(
      () => parseManifest(Buffer.from('7b22ff223a317d', 'hex')),
      (error) => isImgfsError(error, 'invalid-content'),
    );
  });

  it('refuses a manifest over the cap before reading it', () => {
    refused(`{}${' '.repeat(maxManifestBytes)}`, undefined, 'too-large');
  });

  it('refuses deep nesting without recursion, in bounded time', () => {
    const depth = 2_000_000;
    const started = performance.now();
    refused('['.repeat(depth) + ']'.repeat(depth), undefined, 'invalid-content', /nested deeper/);
    refused('{"a":'.repeat(700_000), undefined, 'invalid-content', /nested deeper/);
    assert.ok(performance.now() - started < 1000);
  });

  it('never throws anything but an ImgfsError', () => {
    const descriptor = fc.record(
      {
        mediaType: fc.constantFrom('a/b', mediaTypes.ociLayer, mediaTypes.ociManifest, '', 1),
        digest: fc.constantFrom(digest, 'x', null),
        size: fc.constantFrom(0, 5, -1, 1e300, '1'),
        data: fc.constantFrom('', 'e30=', '!'),
        platform: fc.constantFrom(undefined, {}, { os: 'linux' }, []),
        annotations: fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.integer())),
      },
      { requiredKeys: [] },
    );
    const document = fc.record(
      {
        schemaVersion: fc.constantFrom(1, 2, '2'),
        mediaType: fc.constantFrom(...Object.values(mediaTypes), 7),
        config: fc.oneof(descriptor, fc.jsonValue()),
        layers: fc.oneof(fc.array(descriptor), fc.jsonValue()),
        manifests: fc.oneof(fc.array(descriptor), fc.jsonValue()),
        subject: descriptor,
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.oneof(document, fc.jsonValue()),
        fc.option(fc.constantFrom(...Object.values(mediaTypes))),
        (value, type) => {
          try {
            const parsed = parseManifest(encode(JSON.stringify(value)), type ?? undefined);
            assert.ok(['image', 'index', 'artifact'].includes(parsed.kind));
          } catch (error) {
            assert.ok(isImgfsError(error), String(error));
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe('parseUntrustedJson', () => {
  it('gives what JSON.parse gives, or refuses', () => {
    const limits = { what: 'test', maxBytes: 1 << 20 };
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 8 }), fc.constantFrom(undefined, 1, '\t'), (value, space) => {
        const text = JSON.stringify(value, null, space);
        assert.deepEqual(parseUntrustedJson(encode(text), limits), JSON.parse(text));
      }),
      { numRuns: 1000 },
    );
  });
  it('allows exactly the depth it says', () => {
    const limits = { what: 'test', maxBytes: 1 << 20 };
    const nested = (depth: number): Uint8Array => encode('['.repeat(depth) + ']'.repeat(depth));
    assert.ok(parseUntrustedJson(nested(maxJsonDepth), limits));
    assert.throws(() => parseUntrustedJson(nested(maxJsonDepth + 1), limits));
  });
});

describe('embeddedData', () => {
  const data = Buffer.from('{}');
  const descriptor = { mediaType: mediaTypes.ociEmpty, digest: digestOf(data), size: 2, data };
  it('gives verified bytes only', () => {
    assert.deepEqual(embeddedData(descriptor), data);
    assert.equal(embeddedData({ mediaType: 'a/b', digest: digestOf(data), size: 2 }), undefined);
    for (const wrong of [{ size: 3 }, { digest: digestOf(Buffer.from('x')) }, { data: Buffer.from('[]') }]) {
      assert.throws(
        () => embeddedData({ ...descriptor, ...wrong }),
        (error) => isImgfsError(error, 'integrity'),
      );
    }
  });
});
