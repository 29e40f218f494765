import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isImgfsError } from '../../../src/errors/imgfs-error.js';
import { maxConfigBytes, parseImageConfig } from '../../../src/oci/image-config.js';

const diffId = `sha256:${'b'.repeat(64)}`;
const encode = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));

describe('parseImageConfig', () => {
  it('reads every field', () => {
    const parsed = parseImageConfig(
      encode({
        created: '2024-01-01T00:00:00Z',
        author: 'me',
        docker_version: '24',
        architecture: 'arm',
        os: 'linux',
        variant: 'v7',
        'os.version': '1.2',
        config: {
          User: '1000',
          Env: ['A=b'],
          Entrypoint: ['/bin/sh'],
          Cmd: 'echo hi',
          WorkingDir: '/srv',
          Labels: { l: 'v' },
          ExposedPorts: { '80/tcp': {} },
          Volumes: { '/data': {} },
          StopSignal: 'SIGTERM',
          Shell: null,
        },
        rootfs: { type: 'layers', diff_ids: [diffId] },
        history: [{ created: 'x', created_by: 'RUN', empty_layer: true }, { comment: 'c' }],
      }),
    );
    assert.deepEqual(parsed, {
      created: '2024-01-01T00:00:00Z',
      author: 'me',
      dockerVersion: '24',
      platform: { os: 'linux', architecture: 'arm', variant: 'v7', osVersion: '1.2' },
      config: {
        user: '1000',
        workingDir: '/srv',
        stopSignal: 'SIGTERM',
        entrypoint: ['/bin/sh'],
        cmd: ['echo hi'],
        env: ['A=b'],
        exposedPorts: ['80/tcp'],
        volumes: ['/data'],
        labels: { l: 'v' },
      },
      diffIds: [diffId],
      history: [
        { created: 'x', createdBy: 'RUN', emptyLayer: true },
        { comment: 'c', emptyLayer: false },
      ],
    });
  });

  it('takes the empty config of an artifact', () => {
    const parsed = parseImageConfig(encode({}));
    assert.deepEqual(
      [parsed.platform, parsed.diffIds, parsed.history, parsed.config.env],
      [undefined, [], [], []],
    );
  });

  for (const [name, value] of [
    ['diff ids that are no digests', { rootfs: { diff_ids: ['../x'] } }],
    ['Env that is no list', { config: { Env: 'A=b' } }],
    ['labels that are no strings', { config: { Labels: { a: {} } } }],
    ['history that is no object', { history: ['x'] }],
    ['an os that is a path', { os: '../../x', architecture: 'amd64' }],
    ['a list', []],
  ] as const) {
    it(`refuses ${name}`, () => {
      assert.throws(
        () => parseImageConfig(encode(value)),
        (error) => isImgfsError(error, 'invalid-content'),
      );
    });
  }

  it('refuses a config over the cap', () => {
    assert.throws(
      () => parseImageConfig(new Uint8Array(maxConfigBytes + 1)),
      (error) => isImgfsError(error, 'too-large'),
    );
  });
});
