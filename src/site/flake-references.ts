import { z } from 'zod';
import { type FlakeReference, flakeReference } from '../mirror/roots.ts';

/**
 * The inputs of a flake.nix, as flake.lock will name them under `original`, of those kinds that are told apart here: archives of GitHub, GitLab and SourceHut,
 * tarballs, and git. What follows another input, lies beside the flake, is asked of the registry or is spelled otherwise is left out.
 * @param inputs the attribute `inputs`, as Nix prints it
 */
export function readDeclaredInputs(inputs: unknown): ReadonlyMap<string, FlakeReference> {
  const found = new Map<string, FlakeReference>();
  const declared = z.record(z.string(), z.looseObject({ url: z.string().optional() })).safeParse(inputs);
  if (!declared.success) return found;
  for (const [name, { url, inputs: _inputs, flake: _flake, follows, ...attributes }] of Object.entries(declared.data)) {
    if (follows !== undefined) continue;
    const reference = url === undefined ? flakeReference.safeParse(attributes).data : parseFlakeUrl(url);
    if (reference !== undefined && typeof reference['type'] === 'string' && !ELSEWHERE.has(reference['type'])) {
      found.set(name, reference);
    }
  }
  return found;
}

/** What Nix finds without the origin. */
const ELSEWHERE: ReadonlySet<string> = new Set(['path', 'indirect']);

/** The attributes that Nix makes of a URL-like reference; undefined for spellings that are not known here. */
export function parseFlakeUrl(text: string): FlakeReference | undefined {
  if (/[#%]/.test(text)) return undefined;
  const [before = '', query] = text.split('?', 2);
  const parameters = Object.fromEntries(new URLSearchParams(query ?? ''));
  const archive = /^(github|gitlab|sourcehut):([^/]+)\/([^/]+)(?:\/(.+))?$/.exec(before);
  if (archive !== null) {
    const [, type = '', owner = '', repo = '', wanted] = archive;
    return { type, owner, repo, ...(wanted === undefined ? {} : refOrRev(wanted)), ...parameters };
  }
  const [, git] = /^git\+((?:https?|ssh|git):\/\/.+)$/.exec(before) ?? [];
  if (git !== undefined) return { type: 'git', url: git, ...parameters };
  const [, tarball, scheme] = /^(?:tarball\+)?((https?):\/\/.+)$/.exec(before) ?? [];
  if (tarball === undefined || scheme === undefined) return undefined;
  const isTarball = text.startsWith('tarball+') || /\.(?:zip|tar|tgz|tar\.(?:gz|xz|bz2|zst))$/.test(before);
  // The query of a tarball is part of its address, but for what is Nix's own.
  return isTarball && query === undefined ? { type: 'tarball', url: tarball } : undefined;
}

function refOrRev(wanted: string): { readonly ref: string } | { readonly rev: string } {
  return /^[0-9a-f]{40}$/.test(wanted) ? { rev: wanted } : { ref: wanted };
}
