// Run as a process of its own, to be killed: publishes the same fake paths into the mirror that is named, batch by batch.

import { mkdir } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { openMirror } from '../../src/mirror/mirror.ts';
import { intakeNar, withIntakenNar } from '../../src/mirror/nar-intake.ts';
import { publish } from '../../src/mirror/publish.ts';
import { type FakePath, fakeStorePath, makeFakePath } from './fake-paths.ts';

export const WORKER_PATHS = 60;
const BATCH = 20;

/** Each path refers to some of those before it, so that the order of publishing matters. */
export async function makeWorkerPaths(): Promise<FakePath[]> {
  const paths: FakePath[] = [];
  for (let index = 0; index < WORKER_PATHS; index++) {
    const before = [index - 1, index - 3, index - 10].filter((other) => other >= 0);
    const references = before.map((other) => fakeStorePath(`worker-${other}`));
    paths.push(await makeFakePath(`worker-${index}`, { references, compression: 'none' }));
  }
  return paths;
}

export async function publishAll(directory: string): Promise<void> {
  const paths = await makeWorkerPaths();
  await mkdir(directory, { recursive: true });
  await using mirror = await openMirror(directory, { access: 'write', create: true, command: 'publish-worker' });
  process.stdout.write('open\n');
  for (let start = 0; start < paths.length; start += BATCH) {
    const candidates = await Promise.all(
      paths.slice(start, start + BATCH).map(async ({ info, file }) => {
        const open = async () => ({ offset: 0, stream: Readable.from([file]) });
        const nar = await intakeNar({ mirror, expected: info, open });
        return { info: withIntakenNar(info, nar), narFile: nar.file };
      }),
    );
    await publish(mirror, candidates);
  }
}

const [, script, directory] = process.argv;
if (script !== undefined && directory !== undefined && import.meta.url === pathToFileURL(script).href) {
  await publishAll(directory);
}
