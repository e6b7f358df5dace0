import assert from 'node:assert/strict';
import { test } from 'node:test';
import { repositoryRoot } from '../../test/support/nixferry.ts';
import { run } from '../../test/support/run.ts';

/** The packages that a process loads with a module of this folder. */
async function packagesOf(module: string): Promise<ReadonlySet<string>> {
  const script = `
    import { registerHooks } from 'node:module';
    const found = new Set();
    registerHooks({ load(url, context, next) {
      const name = /\\/node_modules\\/((?:@[^/]+\\/)?[^/]+)\\//.exec(url)?.[1];
      if (name !== undefined) found.add(name);
      return next(url, context);
    } });
    await import(${JSON.stringify(`${repositoryRoot}/src/serve/${module}`)});
    console.log(JSON.stringify([...found]));
  `;
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', script]);
  return new Set(JSON.parse(stdout) as string[]);
}

test('a serving process starts without what only writers and the fetcher need', async () => {
  const loaded = await packagesOf('worker.ts');
  assert.ok(loaded.has('fastify'));
  assert.deepEqual(
    ['kysely', 'undici', 'commander'].filter((name) => loaded.has(name)),
    [],
  );
});

test('a process that keeps workers starts without the server that they are', async () => {
  const loaded = await packagesOf('server.ts');
  assert.ok(loaded.has('pino'));
  assert.ok(!loaded.has('fastify'));
});
