import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { isImgfsError } from '../../../../src/errors/imgfs-error.js';
import { digestOf } from '../../../../src/oci/digest.js';
import { mediaTypes } from '../../../../src/oci/media-type.js';
import { parseLayoutIndex } from '../../../../src/store/layout/layout-index.js';
import { splitIndex } from '../../../../src/store/layout/split-index.js';

const limits = { timeout: 20_000 };

describe('splitIndex', limits, () => {
  it('gives pieces that make up the document', async () => {
    const document = fc.record({ a: fc.jsonValue(), manifests: fc.array(fc.jsonValue()), z: fc.jsonValue() });
    await fc.assert(
      fc.asyncProperty(document, fc.constantFrom(undefined, 1, '\t'), async (value, space) => {
        const split = await splitIndex(Buffer.from(JSON.stringify(value, null, space)));
        assert.ok(split);
        const parse = (bytes: Uint8Array): unknown => JSON.parse(Buffer.from(bytes).toString());
        const whole = { ...(parse(split.skeleton) as object), manifests: split.elements.map(parse) };
        assert.deepEqual(whole, JSON.parse(JSON.stringify(value)));
      }),
      { numRuns: 1000 },
    );
  });
  it('looks for the list at the top only', async () => {
    for (const text of [
      '{"a":{"manifests":[1]}}',
      '["manifests",[1]]',
      '{"manifests":{}}',
      '{"manifests',
      '{"a":"manifests"}',
      '',
    ]) {
      assert.equal(await splitIndex(Buffer.from(text)), undefined, text);
    }
  });
});

describe('a large index.json', limits, () => {
  const count = 5000;
  const entries = Array.from({ length: count }, (_, at) => ({
    mediaType: mediaTypes.ociManifest,
    digest: digestOf(Buffer.from(String(at))),
    size: at,
    annotations: { 'org.opencontainers.image.ref.name': `v${at}` },
  }));
  const text = JSON.stringify({ schemaVersion: 2, manifests: entries });

  it('is parsed with pauses, to the same images', async () => {
    let longest = 0;
    let last = performance.now();
    const ticks = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 1);
    const table = await parseLayoutIndex(Buffer.from(text), 'layout');
    clearInterval(ticks);
    assert.ok(text.length > 1_000_000);
    assert.equal(table.entries.length, count);
    assert.ok(longest > 0, 'no timer ran while it was parsed');
    assert.equal(table.resolve({ repository: '', tag: 'v4999' }).digest, entries[4999]?.digest);
  });

  it('is refused for what a small one is refused for', async () => {
    const refused = async (changed: string, says: RegExp): Promise<void> => {
      assert.notEqual(changed, text);
      await assert.rejects(parseLayoutIndex(Buffer.from(changed), 'layout'), (error) => {
        assert.ok(isImgfsError(error, 'invalid-content'), String(error));
        assert.match(error.message, says);
        return true;
      });
    };
    await refused(text.replace('"size":4000', '"size":-1'), /manifests\[4000\].size/);
    await refused(text.replace('"size":4000', '"size":4000,"size":1'), /there twice/);
    await refused(text.replace('{"schemaVersion"', '{"layers":[],"schemaVersion"'), /ambiguous/);
    await refused(`${text.slice(0, -1)},"manifests":[]}`, /there twice/);
    await refused(text.replace('},{', '},,{'), /manifests/);
    await refused(text.replace(/\]\}$/, ',]}'), /manifests/);
    await refused(text.replace(/\]\}$/, '}]'), /./);
    await refused(text.slice(0, -1), /./);
    await refused(`${text}x`, /./);
    await refused(text.replace('},{', '}]},{'), /./);
  });
});
