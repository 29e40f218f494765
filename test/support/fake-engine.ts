/** An engine of Docker's API on a unix socket, as far as imgfs asks it: images, save, load, tag, remove. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestContext } from 'node:test';
import { tempDir } from './temp.js';

export interface FakeImage {
  readonly id: string;
  names: string[];
  /** What `docker save` of the id gives. */
  readonly archive: Uint8Array;
}

export interface FakeEngine {
  readonly socket: string;
  readonly images: FakeImage[];
  /** Bodies of loads. */
  readonly loaded: Buffer[];
  /** `GET /images/x/get` and so on, without the version. */
  readonly requests: string[];
  version: string;
  /** Lines that answer a load. */
  loadAnswer: string;
  /** Exports break off here. */
  cutAt: number | undefined;
  /** Exports begin so much later. */
  delayMs: number;
}

export async function startFakeEngine(t: TestContext): Promise<FakeEngine> {
  const socket = join(await tempDir(t, 'engine'), 'docker.sock');
  const engine: FakeEngine = {
    socket,
    images: [],
    loaded: [],
    requests: [],
    version: '1.43',
    loadAnswer: '{"stream":"Loaded image: x"}\n',
    cutAt: undefined,
    delayMs: 0,
  };
  const server = createServer((request, response) => {
    answer(engine, request, response).catch((error: unknown) => response.destroy(error as Error));
  });
  await new Promise<void>((resolve) => {
    server.listen(socket, resolve);
  });
  t.after(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  return engine;
}

async function answer(engine: FakeEngine, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://x');
  const path = decodeURI(url.pathname).replace(/^\/v[0-9.]+/, '');
  engine.requests.push(`${request.method} ${path}`);
  const json = (status: number, value: unknown): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  };
  const wanted = /^\/images\/(.+?)(\/(?:json|get|tag))?$/.exec(path);
  const name = (wanted?.[1] ?? '').replace(/^docker\.io\/library\//, '');
  const image = engine.images.find(({ id, names }) => id === name || names.includes(name));
  if (path === '/_ping') {
    response.writeHead(200, { 'api-version': engine.version }).end('OK');
  } else if (path === '/images/json') {
    json(
      200,
      engine.images.map(({ id, names }) => ({ Id: id, RepoTags: names.length === 0 ? null : names })),
    );
  } else if (path === '/images/load') {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    engine.loaded.push(Buffer.concat(parts));
    response.writeHead(200).end(engine.loadAnswer);
  } else if (image === undefined) {
    json(404, { message: `No such image: ${name}` });
  } else if (wanted?.[2] === '/json') {
    json(200, { Id: image.id });
  } else if (wanted?.[2] === '/get') {
    if (engine.delayMs > 0) await sleep(engine.delayMs, undefined, { ref: false });
    response.writeHead(200, { 'content-type': 'application/x-tar' });
    response.write(Buffer.from(image.archive).subarray(0, engine.cutAt));
    if (engine.cutAt === undefined) response.end();
    else setTimeout(() => response.destroy(), 50);
  } else if (wanted?.[2] === '/tag') {
    image.names.push(
      `${url.searchParams.get('repo')?.replace(/^docker\.io\/library\//, '')}:${url.searchParams.get('tag')}`,
    );
    response.writeHead(201).end();
  } else if (request.method === 'DELETE') {
    image.names = image.names.filter((other) => other !== name);
    if (image.names.length === 0 || image.id === name) engine.images.splice(engine.images.indexOf(image), 1);
    json(200, [{ Untagged: name }]);
  } else json(404, { message: 'page not found' });
}
