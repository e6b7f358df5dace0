import type { RoomNix } from './room-nix.ts';

/** Why Nix cannot build in a sandbox in this room; undefined when it can. The derivation needs nothing but Nix itself. */
export async function canSandbox(nix: RoomNix): Promise<string | undefined> {
  const { exitCode, story } = await nix.run('nix', ['build', '--no-link', '--impure', '--expr', NOTHING]);
  if (exitCode === 0) return undefined;
  return story.said.findLast(({ kind }) => kind === 'error')?.text ?? 'Nix does not say why';
}

const NOTHING = `derivation {
  name = "nothing";
  system = "builtin";
  builder = "builtin:buildenv";
  derivations = [ ];
  manifest = builtins.toFile "manifest" "";
}`;
