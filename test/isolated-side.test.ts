// The isolated side never calls out: what import and serve load holds no code that could open a connection or ask a name server.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { repositoryRoot } from './support/nixferry.ts';

const FORBIDDEN = /^(undici|node:(dns|https|http2|tls)(\/.*)?)$|src\/(base\/http-client\.ts|base\/http\/|upstream\/)/;

for (const command of ['import', 'serve', 'status', 'client-config', 'keys', 'init', 'pack']) {
  test(`nixferry ${command} loads nothing that could reach another machine`, async () => {
    const loaded = await everythingLoaded(path.join(repositoryRoot, `src/cli/commands/${command}.ts`));
    assert.ok(loaded.size > 10);
    assert.deepEqual(
      [...loaded].filter((name) => FORBIDDEN.test(name)),
      [],
    );
  });
}

test('nixferry collect does load it, so that the test above would notice', async () => {
  const loaded = await everythingLoaded(path.join(repositoryRoot, 'src/cli/commands/collect.ts'));
  assert.ok([...loaded].some((name) => FORBIDDEN.test(name)));
});

/** The project's files that a file imports for their values, and theirs, relative to the project; and the names of packages. */
async function everythingLoaded(start: string): Promise<Set<string>> {
  const loaded = new Set<string>();
  const waiting = [start];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    const name = path.relative(repositoryRoot, file);
    if (loaded.has(name)) continue;
    loaded.add(name);
    for (const specifier of valueImports(await readFile(file, 'utf8'))) {
      if (specifier.startsWith('.')) waiting.push(path.resolve(path.dirname(file), specifier));
      else loaded.add(specifier);
    }
  }
  return loaded;
}

function valueImports(source: string): string[] {
  const statements = source.matchAll(
    /^(?:import|export)\s+(?!type\b)(?:[^;]*?\sfrom\s+)?'([^']+)';|\bimport\('([^']+)'\)/gm,
  );
  return [...statements].map((match) => match[1] ?? match[2] ?? '');
}
