// Roots evaluated by real Nix: which derivations come out, and what is found to be needed for it. Compared with what the same Nix says itself. Shared
// by the Nix of this machine and by those of other releases.

import assert from 'node:assert/strict';
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import type { NixArgument, NixSettings } from '../../src/evaluate/evaluation-request.ts';
import type { Installable } from '../../src/evaluate/installable.ts';
import type { ChildError, ChildRequest, ChildResult } from './evaluate-child.ts';
import { createNixEnvironment, type NixEnvironment } from './nix.ts';
import { repositoryRoot } from './nixferry.ts';
import { type StaticServer, serveDirectory } from './static-server.ts';

const FIXTURES = path.join(repositoryRoot, 'test/fixtures/evaluation');
const PLAIN: NixSettings = { systems: [], arguments: [], searchPath: [], impure: false };

/** @param chroot the root folder of another system, whose Nix is tried; undefined for that of this machine. */
export function evaluationSuite(title: string, findChroot: () => Promise<string | undefined>): void {
  suite(title, () => {
    const cleanUp = new AsyncDisposableStack();
    let nix: NixEnvironment;
    let internet: StaticServer;
    let system: string;
    const at = (...names: string[]) => path.join(nix.directory, ...names);

    before(async () => {
      const chroot = await findChroot();
      nix = cleanUp.use(await createNixEnvironment({ chroot, shared: [repositoryRoot] }));
      internet = cleanUp.use(await makeInternet());
      system = JSON.parse(await output('nix-instantiate', ['--eval', '--json', '-E', 'builtins.currentSystem']));
      await layOut();
    });
    after(() => cleanUp.disposeAsync());

    async function output(command: string, args: readonly string[], cwd = nix.directory): Promise<string> {
      const { stdout } = await nix.run(command, args, { cwd });
      return stdout.trim();
    }

    async function makeInternet(): Promise<StaticServer> {
      await mkdir(at('internet', 'tree'), { recursive: true });
      await mkdir(at('temporary'));
      await writeFile(at('internet', 'tree', 'default.nix'), '"from a tarball"\n');
      await writeFile(at('internet', 'file'), 'from a file\n');
      await nix.run('tar', ['-C', at('internet'), '-czf', at('internet', 'tree.tar.gz'), 'tree']);
      return serveDirectory(at('internet'));
    }

    /** Copies the fixtures, with the names of this environment in them. */
    async function layOut(): Promise<void> {
      await mkdir(at('git'));
      await writeFile(at('git', 'in-git'), 'from git\n');
      const git = (...args: string[]) =>
        output('git', ['-c', 'user.name=anna', '-c', 'user.email=anna@localhost', ...args], at('git'));
      await git('init', '--quiet', '--initial-branch=master');
      await git('add', 'in-git');
      await git('commit', '--quiet', '--message=begin');
      for (const folder of ['data', 'unread', 'library']) await mkdir(at(folder));
      await writeFile(at('data', 'greeting'), 'hello');
      await writeFile(at('unread', 'file'), 'nobody reads this');
      await writeFile(at('library', 'default.nix'), '"a library"\n');
      const words = {
        directory: nix.directory,
        internet: internet.url,
        system,
        rev: await git('rev-parse', 'HEAD'),
        tree: await output('nix-hash', ['--type', 'sha256', '--base32', at('internet', 'tree')]),
        file: await output('nix-hash', ['--type', 'sha256', '--base32', '--flat', at('internet', 'file')]),
      };
      for (const folder of ['nixpkgs', 'nested', 'configuration']) {
        await cp(path.join(FIXTURES, folder), at(folder), { recursive: true });
        for (const file of await readdir(at(folder))) if (file.endsWith('.nix')) await fillIn(at(folder, file), words);
      }
    }

    async function call(request: Partial<ChildRequest> & Pick<ChildRequest, 'installable'>) {
      const whole: ChildRequest = {
        variants: [],
        probes: false,
        settings: PLAIN,
        workingDirectory: at('configuration'),
        temporaryFolder: at('temporary'),
        ...request,
      };
      const node = path.join(repositoryRoot, 'node_modules/.bin/node');
      const child = path.join(repositoryRoot, 'test/support/evaluate-child.ts');
      const { stdout } = await nix.run(node, [child, JSON.stringify(whole)], { timeoutMs: 120_000 });
      assert.deepEqual(await readdir(at('temporary')), [], 'the evaluation store is gone');
      return JSON.parse(stdout) as { readonly result?: ChildResult; readonly error?: ChildError };
    }

    async function evaluate(request: Parameters<typeof call>[0]): Promise<ChildResult> {
      const { result, error } = await call(request);
      assert.ok(result !== undefined, error?.message);
      return result;
    }

    async function refusal(request: Parameters<typeof call>[0]): Promise<ChildError> {
      const { error } = await call(request);
      assert.ok(error !== undefined, 'it was not refused');
      return error;
    }

    const flake = (attribute: string): Installable => ({
      kind: 'flake',
      reference: `${at('configuration')}#${attribute}`,
      outputs: 'default',
    });
    /** What the same Nix says of an expression, in its own store. */
    const ask = async (...args: string[]): Promise<string> =>
      JSON.parse(await output('nix', ['eval', '--json', ...args]));
    const askFlake = (attribute: string, apply = 'value: value.drvPath') =>
      ask(`${at('configuration')}#${attribute}`, '--apply', apply);
    const sources = async (...folders: string[]) =>
      Promise.all(
        folders.map((folder) =>
          ask('--impure', '--expr', `"\${builtins.path { path = ${folder}; name = "source"; }}"`),
        ),
      );

    test('a configuration of a flake is its toplevel, and needs each node of flake.lock, read or not', async (context) => {
      context.diagnostic(await output('nix', ['--version']));
      const result = await evaluate({ installable: flake('nixosConfigurations.web') });
      assert.equal(result.isNixos, true);
      const drvPath = await askFlake('nixosConfigurations.web.config.system.build.toplevel');
      assert.deepEqual(result.targets, [{ drvPath, outputs: ['out'] }]);
      const flakes = result.inputs.filter(({ kind }) => kind === 'flake');
      const expected = {
        nixpkgs: at('nixpkgs'),
        nested: at('nested'),
        'nested/data': at('data'),
        unread: at('unread'),
        [at('configuration')]: at('configuration'),
      };
      assert.deepEqual(
        Object.fromEntries(flakes.map((input) => [input.name, input.storePath])),
        Object.fromEntries(
          await Promise.all(
            Object.entries(expected).map(async ([input, folder]) => [input, (await sources(folder))[0]]),
          ),
        ),
      );
      assert.deepEqual(result.inputs.length, flakes.length, JSON.stringify(result.inputs));
      assert.equal(result.vouched.length, flakes.length + result.derivations);
    });

    test('variants and probes are evaluated as further modules, and a probe that is not taken is told of', async () => {
      const module = '{ lib, ... }: { networking.hostName = lib.mkForce "other"; }';
      const fish = 'programs.fish.enable = true; # the last line of a file';
      const result = await evaluate({
        installable: flake('nixosConfigurations.web'),
        variants: variants(fish, module),
        probes: true,
      });
      assert.equal(
        drvPaths(result)[1],
        await askFlake('nixosConfigurations.web', changedBy('{ programs.fish.enable = true; }')),
      );
      assert.equal(drvPaths(result)[2], await askFlake('nixosConfigurations.web', changedBy(module)));
      const names = result.targets.map(({ variant }) => variant);
      const probes = [
        'hostname',
        'user',
        'kernel module',
        'initrd module',
        'service',
        'package',
        'fish',
        'boot loader',
      ];
      assert.deepEqual(names, [undefined, fish, module, ...probes]);
      assert.equal(drvPaths(result).at(names.indexOf('fish')), drvPaths(result)[1]);
      assert.equal(result.notices.length, 1);
      assert.match(result.notices[0] ?? '', /the probe 'locale' is left out, .*: The option `i18n' does not exist/);
    });

    test('what is built of a configuration is followed into its variants', async () => {
      for (const part of ['vm', 'toplevel']) {
        const attribute = `nixosConfigurations."web".config.system.build.${part}`;
        const change = variants('networking.hostName = lib.mkForce "other";');
        const result = await evaluate({ installable: flake(attribute), variants: change });
        assert.equal(drvPaths(result)[0], await askFlake(attribute));
        const apply = changedBy('{ lib, ... }: { networking.hostName = lib.mkForce "other"; }', part);
        assert.equal(drvPaths(result)[1], await askFlake('nixosConfigurations.web', apply));
      }
    });

    test('home-manager is changed by variants, and takes no probes of NixOS', async () => {
      for (const attribute of ['homeConfigurations.anna', 'homeConfigurations.anna.activationPackage']) {
        const result = await evaluate({ installable: flake(attribute), variants: variants('a = 1;'), probes: true });
        assert.equal(result.isNixos, false);
        const apply = 'value: (value.extendModules { modules = [ { } ]; }).activationPackage.drvPath';
        assert.deepEqual(drvPaths(result), [
          await askFlake('homeConfigurations.anna.activationPackage'),
          await askFlake('homeConfigurations.anna', apply),
        ]);
      }
    });

    test('trees, files and clones that evaluation fetches are found', async () => {
      const result = await evaluate({ installable: flake('nixosConfigurations.fetching') });
      const drvPath = await askFlake('nixosConfigurations.fetching.config.system.build.toplevel');
      assert.deepEqual(drvPaths(result), [drvPath]);
      const fetched = result.inputs.filter(({ kind }) => kind === 'fetched').map(({ storePath }) => storePath);
      const expression = `"\${builtins.fetchurl { url = "${internet.url}/file"; sha256 = "${await output('nix-hash', ['--type', 'sha256', '--base32', '--flat', at('internet', 'file')])}"; }}"`;
      const clone = `builtins.filterSource (path: _: baseNameOf path != ".git") ${at('git')}`;
      const cloned = `"\${builtins.path { name = "source"; path = ${clone}; }}"`;
      assert.deepEqual(
        fetched.toSorted(),
        [
          ...(await sources(at('internet', 'tree'))),
          await ask('--impure', '--expr', expression),
          await ask('--impure', '--expr', cloned),
        ].toSorted(),
      );
      assert.ok(fetched.every((storePath) => result.vouched.includes(storePath)));
    });

    test('outputs of import-from-derivation are found, also where substituting them is forbidden', async () => {
      const result = await evaluate({ installable: flake('nixosConfigurations.building') });
      const drvPath = await askFlake('nixosConfigurations.building.config.system.build.toplevel');
      assert.deepEqual(drvPaths(result), [drvPath]);
      assert.deepEqual(named(result, 'built').toSorted(), ['built-here.nix', 'built.nix']);
      assert.deepEqual(named(result, 'fetched'), []);
      const built = result.inputs.filter(({ kind }) => kind === 'built').map(({ storePath }) => storePath);
      assert.equal(await output('nix-store', ['--check-validity', '--print-invalid', ...built]), '');
      assert.ok(
        built.every((storePath) => !result.vouched.includes(storePath)),
        'the local store answers for these',
      );
    });

    test('a derivation that holds where its source lies is the one that Nix makes elsewhere', async () => {
      const result = await evaluate({ installable: flake('nixosConfigurations.leaking') });
      assert.deepEqual(drvPaths(result), [await askFlake('nixosConfigurations.leaking.config.system.build.toplevel')]);
    });

    test('a copy of a file that an expression names is no evaluation input', async () => {
      const result = await evaluate({ installable: { ...flake('tool'), outputs: ['dev'] } });
      assert.deepEqual(result.targets, [{ drvPath: await askFlake(`packages.${system}.tool`), outputs: ['dev'] }]);
      assert.deepEqual(
        result.inputs.filter(({ kind }) => kind !== 'flake'),
        [],
      );
    });

    test('several systems give the derivations of each', async () => {
      const systems = ['x86_64-linux', 'aarch64-linux'];
      const result = await evaluate({ installable: flake('either'), settings: { ...PLAIN, systems } });
      assert.deepEqual(
        drvPaths(result),
        await Promise.all(systems.map((one) => askFlake(`legacyPackages.${one}.either`))),
      );
    });

    test('a flake from elsewhere is evaluated at the revision that it had when it was locked', async () => {
      await nix.run('tar', ['-C', nix.directory, '-czf', at('internet', 'flake.tar.gz'), 'nixpkgs']);
      const reference = `${internet.url}/flake.tar.gz#hello`;
      const result = await evaluate({ installable: { kind: 'flake', reference, outputs: 'default' } });
      assert.deepEqual(drvPaths(result), [await ask(reference, '--apply', 'value: value.drvPath')]);
      const [tree] = await sources(at('nixpkgs'));
      assert.deepEqual(
        result.inputs.map(({ kind, storePath }) => [kind, storePath]),
        [['flake', tree]],
      );
    });

    suite('a file', () => {
      test('takes arguments, a search path, and needs the trees of that', async () => {
        const result = await evaluate({
          installable: fileRoot('default.nix', 'thing'),
          settings: nixSettings(
            [`library=${at('library')}`],
            [
              { kind: 'string', name: 'word', value: 'a-word' },
              { kind: 'expression', name: 'number', value: '1 + 1' },
            ],
          ),
        });
        const args = [
          '--argstr',
          'word',
          'a-word',
          '--arg',
          'number',
          '2',
          '--file',
          at('configuration', 'default.nix'),
        ];
        assert.deepEqual(drvPaths(result), [await ask(...args, 'thing.drvPath')]);
        assert.deepEqual(result.inputs, [], 'nothing of the library was read');
      });

      for (const inStore of [true, false]) {
        test(`of a channel ${inStore ? 'in the store' : 'in a folder'} is changed by an import around it`, async () => {
          const nixpkgs = inStore ? await output('nix-store', ['--add', at('nixpkgs')]) : at('nixpkgs');
          const search = [`nixpkgs=${nixpkgs}`, `nixos-config=${at('configuration', 'web.nix')}`];
          const result = await evaluate({
            installable: fileRoot('<nixpkgs/nixos>', 'system'),
            variants: variants('networking.hostName = lib.mkForce "other";'),
            settings: nixSettings(search),
          });
          const flags = search.flatMap((entry) => ['-I', entry]);
          const other = `(import <nixpkgs/nixos> { configuration = { lib, ... }: { imports = [ <nixos-config> ]; networking.hostName = lib.mkForce "other"; }; }).system.drvPath`;
          assert.deepEqual(drvPaths(result), [
            await ask(...flags, '--impure', '--expr', '(import <nixpkgs/nixos> { }).system.drvPath'),
            await ask(...flags, '--impure', '--expr', other),
          ]);
          assert.equal(result.isNixos, true);
          const [tree] = inStore
            ? [nixpkgs]
            : [await ask('--impure', '--expr', `"\${builtins.path { path = ${at('nixpkgs')}; name = "nixpkgs"; }}"`)];
          assert.deepEqual(result.inputs, [{ kind: 'channel', name: 'nixpkgs', storePath: tree }]);
          assert.equal(result.vouched.includes(tree ?? ''), !inStore);
        });
      }

      test('of a channel takes its configuration as an argument', async () => {
        const configuration: NixArgument = { kind: 'expression', name: 'configuration', value: './web.nix' };
        const search = [`nixpkgs=${at('nixpkgs')}`];
        const result = await evaluate({
          installable: fileRoot('<nixpkgs/nixos>', 'vm'),
          variants: variants('networking.hostName = lib.mkForce "other";'),
          settings: nixSettings(search, [configuration]),
        });
        const vm = (host: string) =>
          ask(
            '-I',
            search[0] ?? '',
            '--impure',
            '--expr',
            `(import <nixpkgs/nixos> { configuration = { lib, ... }: { imports = [ ${at('configuration', 'web.nix')} ]; ${host} }; }).vm.drvPath`,
          );
        assert.deepEqual(drvPaths(result), [await vm(''), await vm('networking.hostName = lib.mkForce "other";')]);
      });
    });

    suite('an error', () => {
      test('says with the text of Nix which variant cannot be evaluated', async () => {
        const error = await refusal({
          installable: flake('nixosConfigurations.web'),
          variants: variants('programs.fish.enable = true;', 'nowhere.enable = true;'),
        });
        assert.equal(error.code, 'nix-failed');
        assert.match(
          error.message,
          /with the variant 'nowhere\.enable = true;'.*\n[^]*The option `nowhere' does not exist/,
        );
        assert.doesNotMatch(error.message, /@nix|evaluating file|show-trace|\u001b/);
        assert.match(error.hint ?? '', /correct the variant/);
      });

      test('says that variants are for configurations, unless they come from nixferry.toml', async () => {
        const error = await refusal({ installable: flake('tool'), variants: variants('a = 1;') });
        assert.equal(error.code, 'usage');
        assert.match(error.message, /#tool is not made of modules, so the variant 'a = 1;' changes nothing/);
        const standing = [{ name: 'a', module: 'a = 1;', isStanding: true }];
        const result = await evaluate({ installable: flake('tool'), variants: standing });
        assert.equal(result.targets.length, 1);
      });

      test('says that a flake takes no arguments', async () => {
        const given: NixSettings = { ...PLAIN, arguments: [{ kind: 'string', name: 'a', value: 'b' }] };
        const error = await refusal({ installable: flake('tool'), settings: given });
        assert.deepEqual([error.code, error.hint?.includes('-f FILE')], ['usage', true]);
      });
    });
  });
}

function fileRoot(name: string, attribute: string): Installable {
  return { kind: 'file', file: name, attribute, outputs: 'default' };
}

function variants(...modules: string[]): { readonly name: string; readonly module: string }[] {
  return modules.map((module) => ({ name: module, module }));
}

function nixSettings(searchPath: readonly string[], given: readonly NixArgument[] = []): NixSettings {
  return { ...PLAIN, searchPath, arguments: given };
}

function drvPaths({ targets }: ChildResult): string[] {
  return targets.map(({ drvPath }) => drvPath);
}

function named({ inputs }: ChildResult, kind: string): string[] {
  return inputs.filter((input) => input.kind === kind).map((input) => input.name);
}

/** A function for `nix eval --apply` that changes a configuration by hand. */
function changedBy(module: string, part = 'toplevel'): string {
  return `value: (value.extendModules { modules = [ (${module}) ]; }).config.system.build.${part}.drvPath`;
}

async function fillIn(place: string, words: Readonly<Record<string, string>>): Promise<void> {
  const text = await readFile(place, 'utf8');
  await writeFile(
    place,
    text.replaceAll(/@(\w+)@/g, (_, word: string) => words[word] ?? ''),
  );
}
