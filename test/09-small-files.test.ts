// A volume that holds nothing but realisations is lost: every path arrives, and yet Nix could not fetch what a content-addressed derivation gave. The
// import says so, and a later one brings them.
import assert from 'node:assert/strict';
import { cp, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { suite, test } from 'node:test';
import { openMirror } from '../src/mirror/mirror.ts';
import { makeRootId, writeRoot } from '../src/mirror/roots.ts';
import { baseNameOf, parseStorePath } from '../src/nix/index.ts';
import { openAirGap } from './support/air-gap.ts';
import { publicKeyLine } from './support/carry.ts';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';
import { nixferryCommand } from './support/nixferry.ts';

const OUTPUTS = [...'abcdefghijkl'];
/** Smaller than all realisations together: the last volume holds none but such. */
const VOLUME_SIZE = '8192';

const EXPRESSION = `derivation {
  name = "many"; outputs = [ ${OUTPUTS.map((name) => `"${name}"`).join(' ')} ];
  system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "for o in $outputs; do eval echo $o '>' \\\\$$o; done" ];
  __contentAddressed = true; outputHashAlgo = "sha256"; outputHashMode = "recursive";
}`;

interface Medium {
  readonly folder: string;
  readonly senderKey: string;
  /** Of the one who built, and so signed the realisations. */
  readonly builderKey: string;
}

/** Builds the outputs, makes a mirror of the cache that Nix itself writes of them, and packs it. */
async function packOutputs(nix: NixEnvironment): Promise<Medium> {
  const at = (name: string): string => path.join(nix.directory, name);
  await nix.run('nix-store', ['--generate-binary-cache-key', 'builder-1', at('secret'), at('public')]);
  await writeFile(at('many.nix'), EXPRESSION);
  const what = ['--impure', '--file', at('many.nix')];
  await nix.run('nix', ['build', '--no-link', ...what, ...OUTPUTS, '--option', 'secret-key-files', at('secret')]);
  const mirror = at('mirror');
  await nix.run('nix', ['copy', '--to', `file://${mirror}?secret-key=${at('secret')}`, ...what, ...OUTPUTS]);
  assert.equal((await readdir(path.join(mirror, 'realisations'))).length, OUTPUTS.length);
  await nix.run(nixferryCommand, ['init', '--adopt', '--mirror', mirror]);
  const outputs = await nix.lines('nix', ['path-info', ...what, ...OUTPUTS]);
  await recordRoot(mirror, outputs);
  const to = ['--to', at('medium'), '--site', 'lab', '--volume-size', VOLUME_SIZE, '--no-tools'];
  await nix.run(nixferryCommand, ['pack', ...to, '--mirror', mirror]);
  return {
    folder: path.join(at('medium'), 'lab-0001'),
    senderKey: publicKeyLine(await nix.run(nixferryCommand, ['keys', 'show', '--mirror', mirror])),
    builderKey: (await nix.run('cat', [at('public')])).stdout.trim(),
  };
}

async function recordRoot(directory: string, outputs: readonly string[]): Promise<void> {
  await using mirror = await openMirror(directory, { access: 'write' });
  const paths = outputs.map((output) => baseNameOf(parseStorePath(output, '/nix/store'))).sort();
  const identity = { name: 'many', request: 'many', scope: 'run', origin: 'collected' } as const;
  const id = makeRootId(identity);
  await writeRoot(mirror, { ...identity, format: 1, id, rootPaths: paths, paths, complete: true });
}

suite('small files of a lost volume', () => {
  test('nixferry import ends with 10 when only realisations are missing, and Nix fetches what it could not once they have come', async () => {
    await using connected = await createNixEnvironment();
    const medium = await packOutputs(connected);
    await using gap = await openAirGap();
    const at = (name: string): string => path.join(gap.directory, name);
    const volumes = await readdir(path.join(medium.folder, 'volumes'));
    const last = `volumes/${volumes.at(-1)}`;
    await cp(medium.folder, at('partial'), { recursive: true });
    await rm(path.join(at('partial'), last));
    const site = ['--mirror', at('site')];
    const first = await gap.run(nixferryCommand, ['import', at('partial'), '--trust', medium.senderKey, ...site], {
      exitCode: 10,
    });
    assert.match(first.stderr, /1 of 1 root is complete, but not the realisations .* realisations\/sha256:\w+!\w\.doi/);
    assert.match(first.stderr, new RegExp(`missing ${volumes.at(-1)}`));
    const siteKey = publicKeyLine(await gap.run(nixferryCommand, ['keys', 'show', ...site]));

    await writeFile(at('many.nix'), EXPRESSION);
    const from = [
      // Where there is no network but loopback, Nix would fetch nothing, not even from files.
      ['substitute', 'true'],
      ['substituters', `file://${at('site')}`],
      ['trusted-public-keys', `${siteKey} ${medium.builderKey}`],
    ].flatMap(([name = '', value = '']) => ['--option', name, value]);
    /** Fetches the output whose realisation comes last; builds nothing. */
    const fetchLast = (exitCode: number | 'any') =>
      gap.run('nix', ['build', '--no-link', '--impure', '--file', at('many.nix'), 'l', '--max-jobs', '0', ...from], {
        exitCode,
      });
    assert.notEqual((await fetchLast('any')).exitCode, 0, 'Nix can do without the realisation');

    await cp(path.join(medium.folder, last), path.join(at('rest'), last));
    for (const name of ['manifest.json', 'manifest.sig', 'inventory.jsonl.zst']) {
      await cp(path.join(medium.folder, name), path.join(at('rest'), name));
    }
    await gap.run(nixferryCommand, ['import', at('rest'), ...site]);
    await fetchLast(0);
    assert.equal(await gap.attemptsToLeave(), 0);
  });

  test('nixferry import ends with 0 when a shipment that lacks a volume lies beside the one that makes up for it', async () => {
    await using connected = await createNixEnvironment();
    const { folder, senderKey } = await packOutputs(connected);
    const at = (name: string): string => path.join(connected.directory, name);
    const lost = ['--lost', '1', '--to', at('medium'), '--site', 'lab', '--no-tools', '--mirror', at('mirror')];
    await connected.run(nixferryCommand, ['pack', ...lost]);
    const volumes = await readdir(path.join(folder, 'volumes'));
    await rm(path.join(folder, `volumes/${volumes.at(-1)}`));
    await connected.run(nixferryCommand, ['import', at('medium'), '--trust', senderKey, '--mirror', at('site')]);
    assert.equal((await readdir(path.join(at('site'), 'realisations'))).length, OUTPUTS.length);
    await rm(path.join(folder, `volumes/${volumes[0]}`));
    await connected.run(nixferryCommand, ['import', at('medium'), '--mirror', at('site')]);
  });
});
