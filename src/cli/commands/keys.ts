import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { Option } from 'commander';
import { EXIT, NixferryError } from '../../base/errors.ts';
import { readValidPublicKeys, retireFormerKey, rotateMirrorKey } from '../../mirror/key-rotation.ts';
import { defaultKeyName, generateMirrorKey, importMirrorKey } from '../../mirror/keys.ts';
import { type Mirror, openMirror } from '../../mirror/mirror.ts';
import { distrustKey, type KeyPurpose, readTrustedKeys, trustKey } from '../../mirror/trusted-keys.ts';
import { formatPublicKey } from '../../nix/index.ts';
import { fingerprintWords } from '../../shipment/fingerprint-words.ts';
import { addCommonOptions, type CommonOptions, readCommonOptions } from '../common-options.ts';
import type { CommandRun } from '../run.ts';
import { reportSigned, signAll } from '../signing.ts';
import { readPublicKey } from '../upstream-options.ts';

interface GenerateOptions extends CommonOptions {
  readonly name?: string;
  readonly replace?: boolean;
}

interface TrustOptions extends CommonOptions {
  readonly for: KeyPurpose;
}

export function define(command: Command, run: CommandRun): void {
  command.addHelpText(
    'after',
    '\nExamples:\n  nixferry keys show\n  nixferry keys trust --for sender office-1:8pV3...',
  );
  addCommonOptions(command.command('show').description('print the public key of the mirror, alone on its line'), [
    'nixferry keys show',
  ]).action((options: CommonOptions) => show(options, run));

  addCommonOptions(
    command.command('words').description('print the public key as words, to compare over the telephone'),
    ['nixferry keys words'],
  ).action((options: CommonOptions) => words(options, run));

  const generate = command
    .command('generate')
    .description('make a new secret key for the mirror')
    .option('--name <name>', 'its name (default: the name of the host and six digits)')
    .option('--replace', 'put it in the place of the present one, which is lost');
  addCommonOptions(generate, ['nixferry keys generate --name ship-2 --replace']).action((options: GenerateOptions) =>
    changeKey(options, run, (mirror) =>
      generateMirrorKey(mirror, options.name ?? defaultKeyName(), { replace: options.replace === true }),
    ),
  );

  const rotate = command
    .command('rotate')
    .description('change the key without a gap: a new one signs everything, the present one goes on signing beside it')
    .option('--name <name>', 'the name of the new key (default: the name of the host and six digits)');
  addCommonOptions(rotate, ['nixferry keys rotate', 'nixferry keys rotate --name ferry-2']).action(
    (options: GenerateOptions) => rotateKey(options, run),
  );

  const retire = command
    .command('retire')
    .description('end a rotation: the former key signs nothing more, and is no longer given to clients')
    .argument('<name>');
  addCommonOptions(retire, ['nixferry keys retire ferry-1']).action((name: string, options: CommonOptions) =>
    retireKey(name, options, run),
  );

  const bring = command
    .command('import')
    .description('use an existing secret key file of Nix for the mirror')
    .argument('<file>')
    .option('--replace', 'put it in the place of the present one, which is lost');
  addCommonOptions(bring, ['nixferry keys import /etc/nix/cache-priv-key.pem --replace']).action(
    (file: string, options: GenerateOptions) =>
      changeKey(options, run, async (mirror) =>
        importMirrorKey(mirror, await readFile(file, 'utf8'), { replace: options.replace === true }),
      ),
  );

  const trust = command.command('trust').description('trust a public key').argument('<key>').addOption(purposeOption());
  addCommonOptions(trust, ['nixferry keys trust --for sender office-1:8pV3...']).action(
    (text: string, options: TrustOptions) => trustOne(text, options, run),
  );

  const distrust = command
    .command('distrust')
    .description('take that trust back')
    .argument('<name>')
    .addOption(purposeOption());
  addCommonOptions(distrust, ['nixferry keys distrust --for sender office-1']).action(
    (name: string, options: TrustOptions) => distrustOne(name, options, run),
  );

  addCommonOptions(command.command('list').description('list the keys of the mirror, and those that are trusted'), [
    'nixferry keys list',
  ]).action((options: CommonOptions) => list(options, run));
}

function purposeOption(): Option {
  return new Option('--for <purpose>', 'sender: may send shipments; upstream: its signatures count on collecting')
    .choices(['sender', 'upstream'])
    .makeOptionMandatory();
}

async function show(options: CommonOptions, { output }: CommandRun): Promise<void> {
  await using mirror = await openToRead(options);
  const publicKey = formatPublicKey(mirror.publicKey);
  output.result(publicKey, { publicKey });
  output.verdict(EXIT.complete, {});
}

async function words(options: CommonOptions, { output }: CommandRun): Promise<void> {
  await using mirror = await openToRead(options);
  const shown = fingerprintWords(mirror.publicKey).join(' ');
  output.result(shown, { name: mirror.publicKey.name, words: shown });
  output.verdict(EXIT.complete, {});
}

async function changeKey(
  options: CommonOptions,
  { output }: CommandRun,
  change: (mirror: Mirror) => Promise<unknown>,
): Promise<void> {
  const { mirrorDirectory } = await readCommonOptions(options);
  await using mirror = await openMirror(mirrorDirectory, { access: 'write', command: 'nixferry keys' });
  await change(mirror);
  await using changed = await openMirror(mirrorDirectory, { access: 'read' });
  const publicKey = formatPublicKey(changed.publicKey);
  output.say('From now on the mirror signs with this key; what it has published keeps the signatures that it has:');
  output.result(publicKey, { publicKey });
  output.verdict(EXIT.complete, {});
}

async function rotateKey(options: GenerateOptions, run: CommandRun): Promise<void> {
  const { output } = run;
  const { mirrorDirectory } = await readCommonOptions(options);
  {
    await using mirror = await openMirror(mirrorDirectory, { access: 'write', command: 'nixferry keys' });
    await rotateMirrorKey(mirror, options.name ?? defaultKeyName());
  }
  await using mirror = await openMirror(mirrorDirectory, { access: 'write', command: 'nixferry keys' });
  const publicKey = formatPublicKey(mirror.publicKey);
  const former = mirror.signingKeys.slice(1).map(({ name }) => name);
  output.say(`From now on the mirror signs with this key, and with ${former.join(', ')} beside it:`);
  output.result(publicKey, { publicKey, former });
  const exitCode = reportSigned(await signAll(mirror, run), run);
  output.say(
    `Give your clients the new key (nixferry client-config prints both). When all of them have it:\n${former.map((name) => `  nixferry keys retire ${name}`).join('\n')}`,
  );
  run.finish(exitCode);
  output.verdict(exitCode, { publicKey, former });
}

async function retireKey(name: string, options: CommonOptions, { output }: CommandRun): Promise<void> {
  const { mirrorDirectory } = await readCommonOptions(options);
  await using mirror = await openMirror(mirrorDirectory, { access: 'write', command: 'nixferry keys' });
  if (!(await retireFormerKey(mirror, name))) {
    const former = mirror.signingKeys.slice(1).map((key) => key.name);
    if (name === mirror.publicKey.name) {
      throw new NixferryError(
        'usage',
        `${name} is the present key of the mirror: without it, nothing would be signed`,
        {
          hint:
            former.length === 0
              ? 'nixferry keys rotate makes a new key beside it; when all clients have that, type this again'
              : `it took the place of ${former.join(', ')}; to retire it, too: nixferry keys rotate first`,
        },
      );
    }
    throw new NixferryError('usage', `the mirror has no former key named ${name}`, {
      hint:
        former.length === 0
          ? 'nixferry keys list shows the keys; nixferry keys rotate begins to change the present one'
          : `the former ones are ${former.join(', ')}`,
    });
  }
  output.say(`${name} signs nothing more; what it has signed stays readable for clients that have only that key`);
  output.verdict(EXIT.complete, { name });
}

async function trustOne(text: string, options: TrustOptions, { output }: CommandRun): Promise<void> {
  const { mirrorDirectory } = await readCommonOptions(options);
  const key = readPublicKey(text);
  await using mirror = await openMirror(mirrorDirectory, { access: 'write', create: true, command: 'nixferry keys' });
  await trustKey(mirror, options.for, key);
  output.say(`${key.name} is trusted now (${options.for})`);
  output.verdict(EXIT.complete, { name: key.name, for: options.for });
}

async function distrustOne(name: string, options: TrustOptions, { output }: CommandRun): Promise<void> {
  const { mirrorDirectory } = await readCommonOptions(options);
  await using mirror = await openMirror(mirrorDirectory, { access: 'write', command: 'nixferry keys' });
  if (!(await distrustKey(mirror, options.for, name))) {
    throw new NixferryError('usage', `no key named ${name} is trusted as ${options.for}`, {
      hint: 'nixferry keys list shows those that are',
    });
  }
  output.say(`${name} is not trusted any more (${options.for})`);
  output.verdict(EXIT.complete, { name, for: options.for });
}

async function list(options: CommonOptions, { output }: CommandRun): Promise<void> {
  await using mirror = await openToRead(options);
  for (const [position, key] of (await readValidPublicKeys(mirror)).entries()) {
    const kind = position === 0 && mirror.hasKey ? 'own' : 'former';
    output.result(`${kind}  ${formatPublicKey(key)}`, { for: kind, publicKey: formatPublicKey(key) });
  }
  for (const purpose of ['sender', 'upstream'] as const) {
    for (const key of await readTrustedKeys(mirror, purpose)) {
      output.result(`${purpose}  ${formatPublicKey(key)}`, { for: purpose, publicKey: formatPublicKey(key) });
    }
  }
  output.verdict(EXIT.complete, {});
}

async function openToRead(options: CommonOptions): Promise<Mirror> {
  const { mirrorDirectory } = await readCommonOptions(options);
  return openMirror(mirrorDirectory, { access: 'read' });
}
