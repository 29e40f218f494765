import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isImgfsError } from '../../../../../src/errors/imgfs-error.js';
import { createEndpointResolver } from '../../../../../src/store/registry/config/endpoint-resolver.js';
import type { Environment } from '../../../../../src/store/registry/config/environment.js';
import { parseRegistriesConf } from '../../../../../src/store/registry/config/registries-conf.js';
import { createRegistriesReader } from '../../../../../src/store/registry/config/registries-files.js';
import { makeMachine } from './machine.js';

const timeout = 5_000;
const main = 'etc/containers/registries.conf';

/** `host/repository capabilities` of each endpoint, in order. */
async function ask(environment: Environment, registry: string, repository: string): Promise<string[]> {
  const resolver = createEndpointResolver({ environment, recheckMs: 0 });
  return (await resolver.endpoints(registry, repository)).map(
    ({ origin, repository: name, capabilities, isOrigin, tls, allowHttpFallback }) =>
      [
        `${origin.replace('https://', '')}/${name}`,
        [...capabilities].join('+'),
        isOrigin ? 'origin' : 'mirror',
        ...(tls.verify ? [] : ['unverified']),
        ...(allowHttpFallback ? ['http'] : []),
      ].join(' '),
  );
}

const everything = 'pull+resolve+push origin';

test('the example of the manual page: mirrors in order, then the moved location', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write(
    main,
    `unqualified-search-registries = ["example.com"]
[[registry]]
prefix = "example.com/foo"
insecure = false
blocked = false
location = "internal-registry-for-example.com/bar"
[[registry.mirror]]
location = "example-mirror-0.local/mirror-for-foo"
[[registry.mirror]]
location = "example-mirror-1.local/mirrors/foo"
insecure = true
[[registry]]
location = "registry.com"
[[registry.mirror]]
location = "mirror.registry.com"
`,
  );
  assert.deepEqual(await ask(machine.environment, 'example.com', 'foo/image'), [
    'example-mirror-0.local/mirror-for-foo/image pull+resolve mirror',
    'example-mirror-1.local/mirrors/foo/image pull+resolve mirror unverified http',
    `internal-registry-for-example.com/bar/image ${everything}`,
  ]);
  assert.deepEqual(await ask(machine.environment, 'registry.com', 'image'), [
    'mirror.registry.com/image pull+resolve mirror',
    `registry.com/image ${everything}`,
  ]);
  assert.deepEqual(await ask(machine.environment, 'example.com', 'foobar'), [
    `example.com/foobar ${everything}`,
  ]);
});

test('the longest prefix wins, and prefixes end at separators', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write(
    main,
    `[[registry]]
location = "a.io"
insecure = true
[[registry]]
prefix = "a.io/team"
location = "b.io/x"
[[registry]]
prefix = "a.io/team/app"
location = "c.io"
[[registry]]
prefix = "*.wild.io"
location = "d.io/wild"
[[registry]]
prefix = "deep.wild.io"
location = "e.io"
[[registry]]
prefix = "*.plain.io"
insecure = true
`,
  );
  const one = async (registry: string, repository: string) =>
    (await ask(machine.environment, registry, repository)).join();
  await assert.rejects(one('a.io', 'team/app'), /turns a\.io\/team\/app into c\.io/);
  assert.equal(await one('a.io', 'team/app/web'), `c.io/web ${everything}`);
  assert.equal(await one('a.io', 'team/application'), `b.io/x/application ${everything}`);
  assert.equal(await one('a.io', 'teams'), `a.io/teams ${everything} unverified http`);
  assert.equal(await one('a.io', ''), `a.io/ ${everything} unverified http`);
  assert.equal(await one('a.io:5000', 'x'), `a.io:5000/x ${everything}`);
  assert.equal(await one('x.wild.io', 'n'), `d.io/wild/n ${everything}`);
  assert.equal(await one('deep.wild.io', 'n'), `e.io/n ${everything}`);
  assert.equal(await one('wild.io', 'n'), `wild.io/n ${everything}`);
  assert.equal(await one('evilwild.io', 'n'), `evilwild.io/n ${everything}`);
  assert.equal(await one('a.b.plain.io:5000', 'n'), `a.b.plain.io:5000/n ${everything} unverified http`);
});

test('mirrors for digests or tags alone', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write(
    main,
    `[[registry]]
location = "a.io"
[[registry.mirror]]
location = "digests.io"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "tags.io"
pull-from-mirror = "tag-only"
[[registry.mirror]]
location = "all.io"
pull-from-mirror = "all"
[[registry]]
location = "b.io"
mirror-by-digest-only = true
[[registry.mirror]]
location = "m.io"
`,
  );
  assert.deepEqual(await ask(machine.environment, 'a.io', 'x'), [
    'digests.io/x pull mirror',
    'tags.io/x resolve mirror',
    'all.io/x pull+resolve mirror',
    `a.io/x ${everything}`,
    'tags.io/x pull mirror',
  ]);
  assert.deepEqual(await ask(machine.environment, 'b.io', 'x'), [
    'm.io/x pull mirror',
    `b.io/x ${everything}`,
  ]);
});

test('the Hub can be mirrored and moved', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write(main, '[[registry]]\nlocation="docker.io"\n[[registry.mirror]]\nlocation="m.io/hub"\n');
  assert.deepEqual(await ask(machine.environment, 'docker.io', 'library/alpine'), [
    'm.io/hub/library/alpine pull+resolve mirror',
    `registry-1.docker.io/library/alpine ${everything}`,
  ]);
  assert.deepEqual(await ask(machine.environment, 'index.docker.io', 'a/b'), [
    'm.io/hub/a/b pull+resolve mirror',
    `registry-1.docker.io/a/b ${everything}`,
  ]);
});

test('credentials belong to the place that is asked', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write(
    main,
    '[[registry]]\nprefix="a.io"\nlocation="docker.io"\n[[registry.mirror]]\nlocation="m.io:5000/hub"\n',
  );
  const resolver = createEndpointResolver({ environment: machine.environment });
  assert.deepEqual(
    (await resolver.endpoints('a.io', 'x/y')).map((each) => `${each.credentialHost}/${each.repository}`),
    ['m.io:5000/hub/x/y', 'docker.io/x/y'],
  );
});

test('a blocked registry is denied, naming prefix and file', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const path = machine.write(main, '[[registry]]\nlocation="evil.io/x"\nblocked=true\n');
  await assert.rejects(ask(machine.environment, 'evil.io', 'x/y'), (error) => {
    assert.ok(isImgfsError(error, 'denied'));
    assert.ok(error.message.includes('evil.io/x is blocked') && error.message.includes(path));
    return true;
  });
  assert.equal((await ask(machine.environment, 'evil.io', 'other')).length, 1);
});

test('a prefix of one tag is refused where it would count, and nowhere else', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write(main, '[[registry]]\nprefix="a.io/x:1.0"\nlocation="b.io/x"\nblocked=true\n');
  await assert.rejects(ask(machine.environment, 'a.io', 'x'), (error) => isImgfsError(error, 'config'));
  assert.equal((await ask(machine.environment, 'a.io', 'xy')).length, 1);
  assert.equal((await ask(machine.environment, 'a.io', '')).length, 1);
});

test('--tls-verify overrides the files', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write(main, '[[registry]]\nlocation="a.io"\ninsecure=true\n');
  const facts = async (host: string, tlsVerify?: boolean) => {
    const { environment } = machine;
    const resolver = createEndpointResolver({
      environment,
      ...(tlsVerify === undefined ? {} : { tlsVerify }),
    });
    const [endpoint] = await resolver.endpoints(host, 'x');
    return [endpoint?.tls.verify, endpoint?.allowHttpFallback];
  };
  assert.deepEqual(await facts('a.io'), [false, true]);
  assert.deepEqual(await facts('a.io', true), [true, false]);
  assert.deepEqual(await facts('b.io'), [true, false]);
  assert.deepEqual(await facts('b.io', false), [false, true]);
  for (const host of ['localhost', 'localhost:5000', '127.0.0.1:5000', '127.9.9.9', '[::1]:5000']) {
    assert.deepEqual(await facts(host), [true, true], host);
    assert.deepEqual(await facts(host, true), [true, false], host);
  }
  for (const host of ['localhost.evil.io', '128.0.0.1', '[::2]', '127.0.0.1.evil.io', '10.0.0.1:5000']) {
    assert.deepEqual(await facts(host), [true, false], host);
  }
});

test('which files count, and how they are merged', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const location = (host: string, more = '') => `[[registry]]\nprefix="a.io"\nlocation="${host}"\n${more}`;
  const first = async (environment: Environment) => (await ask(environment, 'a.io', 'x'))[0]?.split('/')[0];
  machine.write(main, location('main.io', '[[registry]]\nlocation="keep.io"\ninsecure=true\n'));
  assert.equal(await first(machine.environment), 'main.io');
  machine.write(`${main}.d/50-x.conf`, location('fifty.io'));
  machine.write(`${main}.d/10-x.conf`, location('ten.io'));
  machine.write(`${main}.d/99-x.disabled`, 'not even TOML');
  assert.equal(await first(machine.environment), 'fifty.io');
  assert.match((await ask(machine.environment, 'keep.io', 'x')).join(), /unverified/);
  machine.write('~/.config/containers/registries.conf.d/00.conf', location('home-dropin.io'));
  assert.equal(await first(machine.environment), 'home-dropin.io');
  machine.write('~/.config/containers/registries.conf', location('home.io'));
  machine.write('~/.config/containers/registries.conf.d/00.conf', '');
  assert.equal(await first(machine.environment), 'home.io');
  assert.doesNotMatch((await ask(machine.environment, 'keep.io', 'x')).join(), /unverified/);
  const named = machine.write('named.conf', location('named.io'));
  machine.write(`${main}.d/50-x.conf`, '');
  machine.write(`${main}.d/10-x.conf`, '');
  assert.equal(await first(machine.with({ CONTAINERS_REGISTRIES_CONF: named })), 'named.io');
  assert.equal(await first(machine.with({ REGISTRIES_CONFIG_PATH: named })), 'named.io');
  await assert.rejects(first(machine.with({ CONTAINERS_REGISTRIES_CONF: 'gone.conf' })), /names it/);
});

test('changes count without a restart', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const resolver = createEndpointResolver({ environment: machine.environment, recheckMs: 0 });
  assert.equal((await resolver.endpoints('a.io', 'x')).length, 1);
  machine.write(main, '[[registry]]\nlocation="a.io"\n[[registry.mirror]]\nlocation="m.io"\n');
  assert.equal((await resolver.endpoints('a.io', 'x')).length, 2);
  machine.write(main, 'broken');
  await assert.rejects(resolver.endpoints('a.io', 'x'), (error) => isImgfsError(error, 'config'));
  machine.write(main, '');
  assert.equal((await resolver.endpoints('a.io', 'x')).length, 1);
});

test('an answer is remembered for a moment, a failure is not', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const resolver = createEndpointResolver({ environment: machine.environment, recheckMs: 60_000 });
  machine.write(main, 'broken');
  await assert.rejects(resolver.endpoints('a.io', 'x'));
  machine.write(main, '');
  const before = await resolver.endpoints('a.io', 'x');
  machine.write(main, 'broken again');
  assert.equal(await resolver.endpoints('a.io', 'x'), before);
});

test('short names: aliases, recorded aliases, search registries', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const reader = createRegistriesReader(machine.environment);
  const resolver = createEndpointResolver({ environment: machine.environment });
  assert.deepEqual(await reader.expand('alpine'), []);
  machine.write(
    `${main}.d/000-shortnames.conf`,
    '[aliases]\n"alpine"="docker.io/alpine"\n"ubi8/ubi"="registry.access.redhat.com/ubi8/ubi"\n"gone"="q.io/gone"\n',
  );
  machine.write(`${main}.d/999.conf`, '[aliases]\n"gone"=""\n');
  assert.deepEqual(await reader.expand('alpine'), ['docker.io/library/alpine']);
  assert.deepEqual(await reader.expand('ubi8/ubi'), ['registry.access.redhat.com/ubi8/ubi']);
  assert.deepEqual(await reader.expand('gone'), []);
  assert.equal(await resolver.alias('ubi8/ubi'), 'registry.access.redhat.com/ubi8/ubi');
  machine.write('~/.cache/containers/short-name-aliases.conf', '[aliases]\n"alpine"="quay.io/my/alpine"\n');
  assert.deepEqual(await reader.expand('alpine'), ['quay.io/my/alpine']);
  machine.write(main, 'unqualified-search-registries=["r.io", "docker.io"]\n');
  assert.deepEqual(await reader.expand('app'), ['r.io/app', 'docker.io/library/app']);
  assert.deepEqual(await reader.expand('team/app'), ['r.io/team/app', 'docker.io/team/app']);
  assert.equal(await resolver.alias('app'), undefined);
  machine.write(main, 'unqualified-search-registries=["r.io"]\n');
  assert.equal(await resolver.alias('app'), 'r.io/app');
  for (const name of ['quay.io/x', 'localhost/x', 'UPPER', 'a:tag', ''])
    assert.deepEqual(await reader.expand(name), []);
});

const refused: [string, string, RegExp][] = [
  ['version 1', "[registries.search]\nregistries = ['a.io']", /registries: this is the old version 1/],
  ['TOML that is none', '[[registry]\nx', /not TOML|line 1/],
  ['a location that is a URL', '[[registry]]\nlocation="https://a.io"', /no http:\/\/ or https:\/\/ here/],
  ['a table without a place', '[[registry]]\ninsecure=true', /neither prefix nor location/],
  ['a prefix without a location', '[[registry]]\nprefix="a.io"', /location: is missing/],
  ['a wildcard with a path', '[[registry]]\nprefix="*.a.io/x"', /wildcards look like/],
  ['a wildcard in the middle', '[[registry]]\nprefix="a.*.io"\nlocation="b.io"', /is not host/],
  ['a location with a tag', '[[registry]]\nprefix="a.io"\nlocation="b.io/x:1"', /is not host/],
  ['a location that climbs', '[[registry]]\nprefix="a.io"\nlocation="b.io/../x"', /is not host/],
  [
    'a mirror without a place',
    '[[registry]]\nlocation="a.io"\n[[registry.mirror]]\ninsecure=true',
    /mirror\[0\]\.location/,
  ],
  [
    'an unknown use of a mirror',
    '[[registry]]\nlocation="a.io"\n[[registry.mirror]]\nlocation="b.io"\npull-from-mirror="never"',
    /"never" is not all, digest-only or tag-only/,
  ],
  [
    'two ways to restrict a mirror',
    '[[registry]]\nlocation="a.io"\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation="b.io"\npull-from-mirror="all"',
    /together with mirror-by-digest-only/,
  ],
  ['a restriction outside a mirror', '[[registry]]\nlocation="a.io"\npull-from-mirror="all"', /belongs into/],
  [
    'a flag that is a string',
    '[[registry]]\nlocation="a.io"\nblocked="true"',
    /blocked: is not true or false/,
  ],
  [
    'a contradiction',
    '[[registry]]\nlocation="a.io"\ninsecure=true\n[[registry]]\nprefix="b.io"\nlocation="a.io"',
    /a\.io is given twice, with different values of insecure/,
  ],
  ['a search registry with a path', 'unqualified-search-registries=["a.io/x"]', /is not host/],
  ['an alias with a registry', '[aliases]\n"a.io/x"="b.io/x"', /is not a short name/],
  ['an alias without a registry', '[aliases]\nx="y"', /has no registry/],
  ['an alias with a tag', '[aliases]\nx="a.io/y:1"', /has no tag or digest/],
  ['a key that means trouble', '[aliases]\n__proto__="a.io/y"', /aliases|__proto__|not TOML/],
];
for (const [what, text, pattern] of refused) {
  test(`registries.conf: ${what} is refused`, { timeout }, () => {
    assert.throws(
      () => parseRegistriesConf(Buffer.from(text), '/x/registries.conf'),
      (error) => {
        assert.ok(isImgfsError(error, 'config'), String(error));
        assert.match(error.message, pattern);
        assert.match(error.message, /\/x\/registries\.conf/);
        assert.doesNotMatch(error.message, /\n/);
        return true;
      },
    );
  });
}

test('unknown keys are passed over, as the peers do', { timeout }, () => {
  const conf = parseRegistriesConf(
    Buffer.from(
      'short-name-mode="enforcing"\nfuture=1\ncredential-helpers=["a"]\n[[registry]]\nlocation="a.io/"\nnew=true\n',
    ),
    'x',
  );
  assert.deepEqual(
    conf.registries.map(({ prefix, location }) => [prefix, location]),
    [['a.io', 'a.io']],
  );
  assert.deepEqual(conf.credentialHelpers, ['a']);
});
