// What other tests take for granted of the tests' own package set and its public cache.

import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import type { Derivation } from '../src/nix/derivation.ts';
import { booleanAttribute, structuredAttributes } from '../src/nix/derivation-attributes.ts';
import { isFixedOutput } from '../src/nix/derivation-output.ts';
import { createNixEnvironment } from './support/nix.ts';
import { makePackageSet, type PackageSet } from './support/package-set.ts';
import { type PublicCache, publicCache } from './support/public-cache.ts';

suite('the package set', () => {
  const cleanUp = new AsyncDisposableStack();
  let set: PackageSet;
  let cache: PublicCache;

  before(async () => {
    const nix = cleanUp.use(await createNixEnvironment());
    set = cleanUp.use(await makePackageSet({ nix }));
    cache = await publicCache({ set, nix });
  });
  after(() => cleanUp.disposeAsync());

  function named(pattern: RegExp): Derivation {
    const [found, ...more] = [...cache.derivations].filter(([file]) => pattern.test(file.slice(44)));
    assert.ok(found !== undefined && more.length === 0, `${pattern}: ${more.length + 1} derivations`);
    return found[1];
  }

  function count(matches: (derivation: Derivation) => boolean): number {
    return [...cache.derivations.values()].filter(matches).length;
  }

  test('has at least 60 derivations, of every kind that nixpkgs has', () => {
    assert.ok(cache.derivations.size >= 60, `${cache.derivations.size}`);
    assert.ok(count(({ outputs }) => outputs.size > 1) >= 10);
    assert.ok(count((derivation) => structuredAttributes(derivation) !== undefined) >= 4);
    assert.ok(count((derivation) => !booleanAttribute(derivation, 'allowSubstitutes', true)) >= 20);
    const boots = (flag: string) =>
      count(({ builder, env }) => builder === 'builtin:fetchurl' && env.get(flag) === '1');
    assert.deepEqual([boots('executable'), boots('unpack')], [1, 1]);
    const fixed = (algorithm: RegExp) =>
      count((derivation) => {
        const [output] = derivation.outputs.values();
        return isFixedOutput(derivation) && algorithm.test(output?.hashAlgorithm ?? '');
      });
    // The executable and the unpacked bootstrap file, a GitHub archive, a git checkout, two vendor folders.
    assert.equal(fixed(/^r:/), 6);
    assert.equal(fixed(/^sha512$/), 1);
    assert.ok(fixed(/^sha256$/) >= 40);
  });

  test('wants of kmod, to shrink the modules for an initrd, nothing but an output that refers to nothing', async () => {
    const inputs = [...named(/modules-shrunk\.drv$/).inputDerivations];
    const wanted = inputs.filter(([file]) => file.endsWith('-kmod-33.drv')).map(([, { names }]) => names);
    assert.deepEqual(wanted, [['dev']]);
    const dev = named(/^kmod-33\.drv$/).outputs.get('dev')?.path ?? '';
    const info = await readFile(path.join(cache.directory, `${path.basename(dev).slice(0, 32)}.narinfo`), 'utf8');
    assert.match(info, /^References: $/m);
  });

  test('has everything in its public cache but what systems make for themselves', async () => {
    const files = (await readdir(cache.directory)).filter((file) => file.endsWith('.narinfo'));
    const there = files.map((file) => file.slice(0, 32)).toSorted();
    assert.deepEqual(there, [...cache.paths].map((storePath) => path.basename(storePath).slice(0, 32)).toSorted());
    const local = [...cache.local].map((storePath) => path.basename(storePath).slice(33));
    assert.ok(local.some((name) => name.startsWith('nixos-system-')) && local.includes('system-path'));
    assert.equal(local.includes('glibc-locales-2.40'), false);
  });

  test('builds from its internet alone, whichever mirror or host is dead', () => {
    const asked = set.internet.server?.requests ?? [];
    assert.ok(asked.some((request) => request.includes('/dead-mirror/openssl/')));
    assert.ok(asked.some((request) => request.includes('/dead-host/pcre2')));
  });
});
