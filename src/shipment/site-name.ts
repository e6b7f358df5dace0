import { join } from 'node:path';
import { z } from 'zod';
import { NixferryError } from '../base/errors.ts';
import { readFileIfExists, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { privateLayout } from '../mirror/layout.ts';
import { parseBoundedJson } from './bounded-json.ts';
import { isSiteName } from './format.ts';

/** The name of the site that a mirror serves, as its first import told it; undefined before. */
export async function readSiteName(place: { readonly directory: string }): Promise<string | undefined> {
  const file = siteFile(place);
  const bytes = await readFileIfExists(file, LIMITS.keyFileBytes);
  if (bytes === undefined) return undefined;
  const site = SiteSchema.safeParse(parseBoundedJson(bytes, 4, file));
  if (site.success) return site.data.name;
  throw new NixferryError('damage', `${file} does not name a site`, {
    hint: `remove ${file} and name the site in the next command: nixferry import DIR --site NAME`,
  });
}

export async function writeSiteName(place: { readonly directory: string }, name: string): Promise<void> {
  await writeFileAtomic(siteFile(place), `${JSON.stringify({ format: 1, name })}\n`);
}

const SiteSchema = z.object({ format: z.literal(1), name: z.string().refine(isSiteName) });

function siteFile(place: { readonly directory: string }): string {
  return join(privateLayout(place.directory).folder, 'site.json');
}
