/**
 * Preloaded into a daemon by a test (`NODE_OPTIONS=--import …`): every file of code that it loads is a line in
 * `$IMGFS_LOADED_FILE.<pid>`, in the order of loading. Only the main thread's: what workers load holds nobody up.
 */
import { appendFileSync } from 'node:fs';
import { createRequire, register } from 'node:module';
import { isMainThread } from 'node:worker_threads';

/** Modules are loaded on a thread of Node's own, which takes its hooks as the text of a module. */
const hooks = `
  import { appendFileSync } from 'node:fs';
  let file;
  export function initialize(data) { file = data.file; }
  export function load(url, context, next) {
    if (url.startsWith('file:')) appendFileSync(file, url + '\\n');
    return next(url, context);
  }`;

type Extension = (module: unknown, path: string) => void;

const prefix = process.env['IMGFS_LOADED_FILE'];
if (prefix !== undefined && isMainThread) {
  const file = `${prefix}.${process.pid}`;
  register(`data:text/javascript,${encodeURIComponent(hooks)}`, { data: { file } });
  // What is required does not come by the hooks.
  const { extensions } = createRequire(import.meta.url) as unknown as {
    readonly extensions: Record<string, Extension>;
  };
  const load = extensions['.js'];
  if (load !== undefined) {
    extensions['.js'] = (module, path) => {
      appendFileSync(file, `${path}\n`);
      load(module, path);
    };
  }
}
