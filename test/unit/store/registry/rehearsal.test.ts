/** What is done before the first request to a registry. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { snapshotMetrics } from '../../../../src/observe/metrics.js';
import { rehearseRequest } from '../../../../src/store/registry/rehearsal.js';
import { makeTempDir, removeTempDir } from '../../../support/temp.js';

const root = await makeTempDir('rehearsal');
after(() => removeTempDir(root));

test('a request is rehearsed to its end, by https, http and for a blob, and is not counted', async () => {
  const environment = {
    variables: {},
    home: undefined,
    root: `${root}/`,
    uid: 0,
    platform: process.platform,
    workingDirectory: root,
  };
  assert.equal(await rehearseRequest(environment), true);
  const { imgfs_store_requests_total: requests, imgfs_store_received_bytes_total: bytes } = snapshotMetrics();
  assert.deepEqual({ requests, bytes }, { requests: 0, bytes: 0 });
});
