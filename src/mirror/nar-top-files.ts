import { readNar } from '../nix/nar-reader.ts';

/** The plain files at the top of a NAR, one after the other in the order of their names; each is to be read to its end before the next. */
export async function* narTopFiles(
  nar: AsyncIterable<Uint8Array>,
): AsyncGenerator<readonly [name: string, contents: AsyncIterable<Uint8Array>], void, undefined> {
  const events = readNar(nar);
  for await (const event of { [Symbol.asyncIterator]: () => ({ next: () => events.next() }) }) {
    if (event.type !== 'regular' || event.path.length !== 1) continue;
    yield [event.path[0]?.toString('latin1') ?? '', contentsOf(events)];
  }
}

async function* contentsOf(events: ReturnType<typeof readNar>): AsyncGenerator<Uint8Array, void, undefined> {
  for (;;) {
    const { value, done } = await events.next();
    if (done === true || value?.type !== 'contents') return;
    yield value.chunk;
  }
}
