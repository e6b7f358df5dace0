// nixpkgs asks for a newer Nix than Debian 12 has: the newer one that Nixferry brings evaluates it, and the same one travels and installs.

import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { openAirGap } from '../support/air-gap.ts';
import { makeDebianRoot } from '../support/bare-root.ts';
import { publicKeyLine } from '../support/carry.ts';
import { createNixEnvironment, type NixEnvironment } from '../support/nix.ts';
import { makeNixClosure, type NixClosure } from '../support/nix-closure.ts';
import { nixferryCommand } from '../support/nixferry.ts';
import type { RunResult } from '../support/run.ts';
import { debianChroot } from './debian-chroot.ts';

for (const release of ['trixie', 'sid']) {
  suite(`the Nix of Debian ${release}, brought to a machine with an older one`, () => {
    const cleanUp = new AsyncDisposableStack();
    let nix: NixEnvironment;
    let closure: NixClosure;

    before(async () => {
      nix = cleanUp.use(await createNixEnvironment());
      closure = await makeNixClosure({ nix, system: await debianChroot(release) });
      await mkdir(path.join(nix.directory, 'nixpkgs/lib'), { recursive: true });
      await writeFile(path.join(nix.directory, 'nixpkgs/lib/minver.nix'), '"2.18"\n');
    });
    after(() => cleanUp.disposeAsync());

    const at = (...names: string[]) => path.join(nix.directory, ...names);
    const nixferry = (exitCode: number, ...args: string[]): Promise<RunResult> =>
      nix.run(nixferryCommand, [...args, '--mirror', at('mirror')], {
        env: { ...nix.env, NIXFERRY_NIX: at('private'), NIX_CONFIG: 'extra-experimental-features = pipe-operators' },
        exitCode,
        timeoutMs: 300_000,
      });
    const trust = () => ['--upstream', `file://${closure.directory}`, '--trusted-public-key', closure.publicKey];
    const plan = (exitCode: number, file: string) =>
      nixferry(exitCode, 'plan', '-f', at('nixpkgs', file), ...trust(), '--json');

    test('it evaluates what the installed one refuses, whether nixpkgs or the parser says so', async () => {
      await writeFile(at('nixpkgs/default.nix'), NIXPKGS);
      // Pipes: no Nix before 2.24 reads them, and such a file cannot say so itself.
      await writeFile(at('nixpkgs/newer.nix'), NEWER_SYNTAX);
      const refused = await plan(2, 'default.nix');
      assert.match(refused.stderr, /the Nix 2\.8\.0 here is too old; 2\.18 or newer is needed/);
      const unread = await plan(2, 'newer.nix');
      assert.match(unread.stderr, /the Nix 2\.8\.0 here is too old; 2\.18 or newer is needed:\n[^]*syntax error/);
      assert.match(unread.stdout, /"code":"nix-too-old"/);
      await nixferry(0, 'get-nix', closure.storePath, ...trust());
      // Nobody has built it, which is the answer of a plan; its path was found in the other store.
      assert.match((await plan(18, 'default.nix')).stdout, /-new-enough/);
      assert.match((await plan(18, 'newer.nix')).stdout, /-new-enough/);
      const wider = ['plan', '-f', at('nixpkgs/imports.nix'), '--scope', 'reconfigure', ...trust(), '--json'];
      await writeFile(at('nixpkgs/imports.nix'), IMPORTS);
      assert.match((await nixferry(0, ...wider)).stdout, /-new-enough/);
    });

    test('it is installed on a bare root, and installs there', async () => {
      const packed = await nixferry(0, 'pack', '--with-nix', '--site', 'lab', '--to', at('medium'));
      assert.match(packed.stdout, /install-nix\.sh/);
      const key = publicKeyLine(await nixferry(0, 'keys', 'show'));
      await using gap = await openAirGap();
      const mount = { directory: at('medium'), at: '/media/stick', options: 'ro', proc: true } as const;
      const root = await makeDebianRoot(at('root'), gap.namespace, mount);
      await mkdir(path.join(root.directory, 'etc'));
      await writeFile(path.join(root.directory, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
      const env = { PATH: '/usr/bin:/bin', HOME: '/root', TMPDIR: '/tmp' };
      const sh = (...args: string[]) => root.run(args, { env, timeoutMs: 300_000 });
      for (let times = 0; times < 2; times += 1) {
        const installed = await sh('/media/stick/lab-0001/install-nix.sh', '--trust', key);
        assert.match(
          installed.stdout,
          new RegExp(`^complete: nix \\(Nix\\) ${closure.version.replaceAll('.', '\\.')}`, 'm'),
        );
      }
      await sh('-euc', '. /etc/profile.d/nixferry-nix.sh; nix-store --verify --check-contents');
      const built = await sh(
        '-euc',
        `. /etc/profile.d/nixferry-nix.sh; nix-build --no-out-link --option sandbox false -E '${BUILD}'`,
      );
      assert.match(built.stdout, /-built-there\n$/);
      assert.equal(await gap.attemptsToLeave(), 0);
    });
  });
}

function derivation(name: string, script: string): string {
  return `(derivation { name = "${name}"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "${script}" ]; })`;
}

const NEW_ENOUGH = derivation('new-enough', 'exit 1');
const NIXPKGS = `
if builtins.compareVersions (import ./lib/minver.nix) builtins.nixVersion == 1 then
  abort "This version of Nixpkgs requires Nix >= \${import ./lib/minver.nix}, please upgrade"
else ${NEW_ENOUGH}
`;
const NEWER_SYNTAX = `{ } |> ({ }: ${NEW_ENOUGH})\n`;
const IMPORTS = `${derivation('built-on-the-way', 'echo true >$out')} |> (built: if import built then ${NEW_ENOUGH} else null)\n`;
const BUILD = derivation('built-there', 'echo done >$out');
