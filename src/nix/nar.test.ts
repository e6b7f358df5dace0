import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import * as fc from 'fast-check';
import { NixFormatError } from './format-error.ts';
import { NAR_LIMITS, type NarLimits, narString } from './nar-format.ts';
import { type NarEvent, NarParser, readNar } from './nar-reader.ts';
import { type NarDirectoryEntry, type NarNode, writeNar } from './nar-writer.ts';

/** A tree as plain data; names and contents are latin1 text, so that a failure prints legibly. */
type Tree = { contents: string; executable: boolean } | { target: string } | { entries: Record<string, Tree> };

const nameText = fc
  .string({ unit: 'binary-ascii', minLength: 1, maxLength: 12 })
  .filter((name) => !/[/\0]|^\.\.?$|^__proto__$/.test(name));
const { tree } = fc.letrec<{ tree: Tree; leaf: Tree; directory: Tree }>((tie) => ({
  tree: fc.oneof({ maxDepth: 4 }, tie('leaf'), tie('directory')),
  leaf: fc.oneof(
    fc.record({ contents: fc.string({ unit: 'binary-ascii', maxLength: 40 }), executable: fc.boolean() }),
    fc.record({ target: fc.string({ unit: 'binary-ascii', minLength: 1 }).filter((target) => !target.includes('\0')) }),
  ),
  directory: fc.record({ entries: fc.dictionary(nameText, tie('tree'), { maxKeys: 6 }) }),
}));

suite('writeNar and NarParser', () => {
  test('NarParser gives back the tree that writeNar was given', async () => {
    await fc.assert(
      fc.asyncProperty(tree, async (original) => {
        assert.deepEqual(treeFromEvents(await read(await write(original))), normal(original));
      }),
      { numRuns: 300 },
    );
  });

  test('NarParser gives the same events when the NAR is cut at random', async () => {
    await fc.assert(
      fc.asyncProperty(tree, fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1 }), async (original, sizes) => {
        const nar = await write(original);
        assert.deepEqual(merged(parse(split(nar, sizes))), merged(parse([nar])));
      }),
      { numRuns: 200 },
    );
  });

  test('NarParser throws nothing but NixFormatError when bytes are changed, cut out or doubled', async () => {
    await fc.assert(
      fc.asyncProperty(tree, fc.nat(), fc.uint8Array({ maxLength: 8 }), fc.nat(9), async (original, at, bytes, cut) => {
        const nar = await write(original);
        const position = at % nar.length;
        const mutated = Buffer.concat([nar.subarray(0, position), bytes, nar.subarray(position + cut)]);
        try {
          const events = parse(split(mutated, [13]));
          // What is accepted is canonical: it can be written again to the same bytes.
          assert.deepEqual(await write(treeFromEvents(events)), mutated);
        } catch (error) {
          assert.ok(error instanceof NixFormatError, String(error));
        }
      }),
      { numRuns: 1000 },
    );
  });

  test('NarParser says where a file begins', async () => {
    const nar = await write({
      entries: { a: { contents: 'first', executable: false }, b: { contents: '2nd', executable: true } },
    });
    for (const event of parse([nar])) {
      if (event.type !== 'regular') continue;
      const contents = nar.toString('latin1', event.narOffset, event.narOffset + event.sizeBytes);
      assert.equal(contents, event.path[0]?.toString() === 'a' ? 'first' : '2nd');
    }
  });

  test('NarParser refuses a NAR that is cut short at any byte', async () => {
    const nar = await write({
      entries: { a: { contents: 'text', executable: true }, d: { entries: {} }, l: { target: 'x' } },
    });
    for (let length = 0; length < nar.length; length += 1) {
      assert.throws(() => parse([nar.subarray(0, length)]), NixFormatError, `${length} bytes`);
    }
  });

  test('NarParser refuses bytes after the end, in the same chunk or a later one', async () => {
    const nar = await write({ contents: 'x', executable: false });
    assert.throws(() => parse([nar, Buffer.from([0])]), /bytes follow its end/);
    assert.throws(() => parse([Buffer.concat([nar, nar])]), /bytes follow its end/);
  });

  test('readNar ends the source when the consumer stops', async () => {
    const nar = await write({ contents: 'x'.repeat(1000), executable: false });
    let closed = false;
    async function* source() {
      try {
        for (const piece of split(nar, [100])) yield piece;
      } finally {
        closed = true;
      }
    }
    for await (const event of readNar(source())) {
      assert.equal(event.type, 'regular');
      break;
    }
    assert.ok(closed);
  });
});

const file = (contents: string) => ['(', 'type', 'regular', 'contents', contents, ')'];
const entry = (name: string, ...node: string[]) => ['entry', '(', 'name', name, 'node', ...node, ')'];
const directory = (...entries: string[][]) => ['(', 'type', 'directory', ...entries.flat(), ')'];

suite('NarParser refuses', () => {
  const refused: Record<string, [string[], RegExp]> = {
    'another magic': [['nix-archive-2', ...file('')], /expected "nix-archive-1"/],
    'a node that does not open': [strings('type', 'regular', ')'), /expected "\(" "type"/],
    'a type that does not exist': [strings('(', 'type', 'device', ')'), /expected "directory"/],
    'a type twice': [strings('(', 'type', 'regular', 'type', 'regular', 'contents', '', ')'), /expected "contents"/],
    'a file without contents': [strings('(', 'type', 'regular', ')'), /expected "contents"/],
    'an executable mark after the contents': [
      strings('(', 'type', 'regular', 'contents', '', 'executable', '', ')'),
      /expected "\)"/,
    ],
    'an executable mark with a value': [
      strings('(', 'type', 'regular', 'executable', 'yes', 'contents', '', ')'),
      /expected "executable" ""/,
    ],
    'a symlink without target': [strings('(', 'type', 'symlink', ')'), /expected "target"/],
    'a symlink with an empty target': [strings('(', 'type', 'symlink', 'target', '', ')'), /empty symlink target/],
    'a symlink target with a zero byte': [strings('(', 'type', 'symlink', 'target', 'a\0b', ')'), /zero byte/],
    'an entry without name': [strings(...directory(['entry', '(', 'node', ...file(''), ')'])), /"entry" "\(" "name"/],
    'a name after its node': [
      strings(...directory(['entry', '(', 'node', ...file(''), 'name', 'a', ')'])),
      /"entry" "\(" "name"/,
    ],
    'an entry without node': [strings(...directory(['entry', '(', 'name', 'a', ')'])), /expected "node"/],
    'an empty name': [strings(...directory(entry('', ...file('')))), /empty name/],
    'the name .': [strings(...directory(entry('.', ...file('')))), /the name \. or \.\./],
    'the name ..': [strings(...directory(entry('..', ...file('')))), /the name \. or \.\./],
    'a name with a slash': [strings(...directory(entry('a/b', ...file('')))), /slash/],
    'a name with a zero byte': [strings(...directory(entry('a\0b', ...file('')))), /zero byte/],
    'a name that stands twice': [
      strings(...directory(entry('a', ...file('')), entry('a', ...file('')))),
      /stands twice/,
    ],
    'names that are not sorted': [
      strings(...directory(entry('b', ...file('')), entry('a', ...file('')))),
      /not sorted/,
    ],
    'names sorted by something else than bytes': [
      strings(...directory(entry('é', ...file('')), entry('z', ...file('')))),
      /not sorted/,
    ],
    'a name that is too long': [strings(...directory(entry('n'.repeat(256), ...file('')))), /name of 256 bytes/],
    'a symlink target that is too long': [
      strings('(', 'type', 'symlink', 'target', 't'.repeat(4096), ')'),
      /4096 bytes/,
    ],
    'directories that are too deep': [
      strings(...Array.from({ length: 257 }).reduce<string[]>((inner) => directory(entry('d', ...inner)), directory())),
      /more than 256 deep/,
    ],
  };
  for (const [what, [words, message]] of Object.entries(refused)) {
    test(what, () => {
      const bytes = Buffer.concat(words.map((text) => narString(text)));
      for (const chunkBytes of [1, bytes.length]) {
        assert.throws(
          () => parse(split(bytes, [chunkBytes])),
          (error) => {
            assert.ok(error instanceof NixFormatError);
            assert.match(error.message, message);
            return true;
          },
        );
      }
    });
  }

  test('padding that is not zero, wherever it stands', async () => {
    const bytes = await write({ entries: { abc: { contents: 'hello', executable: false }, l: { target: 'abc' } } });
    let paddings = 0;
    for (let position = 0; position < bytes.length; position += 1) {
      if (bytes[position] !== 0) continue;
      const mutated = Buffer.from(bytes);
      mutated[position] = 1;
      assert.throws(() => parse([mutated]), NixFormatError, `byte ${position}`);
      paddings += 1;
    }
    assert.ok(paddings > 50);
  });

  test('a file of 2^53 bytes or more, but not of one less', () => {
    const head = Buffer.concat(strings('(', 'type', 'regular', 'contents').map((text) => narString(text)));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(2n ** 53n);
    assert.throws(() => parse([head, size]), /2\^53/);
    size.writeBigUInt64LE(2n ** 53n - 1n);
    assert.throws(() => parse([head, size]), /cut short/);
  });

  test('more entries than allowed', async () => {
    const bytes = await write({ entries: { a: { target: 'x' }, b: { entries: { c: { target: 'x' } } } } });
    assert.equal(parse([bytes], { ...NAR_LIMITS, entries: 3 }).length, 6);
    assert.throws(() => parse([bytes], { ...NAR_LIMITS, entries: 2 }), /more than 2 entries/);
  });
});

suite('writeNar refuses', () => {
  test('contents that are longer or shorter than announced', async () => {
    for (const sizeBytes of [4, 6]) {
      const node: NarNode = { type: 'regular', executable: false, sizeBytes, contents: () => [Buffer.from('12345')] };
      await assert.rejects(collect(writeNar(node)), NixFormatError);
    }
  });

  test('names and targets that no NAR may hold, and names out of order', async () => {
    for (const names of [[''], ['.'], ['..'], ['a/b'], ['a\0'], ['b', 'a'], ['a', 'a'], ['n'.repeat(256)]]) {
      const entries = names.map(
        (name): NarDirectoryEntry => [Buffer.from(name), { type: 'symlink', target: Buffer.from('x') }],
      );
      await assert.rejects(collect(writeNar({ type: 'directory', entries: () => entries })), NixFormatError);
    }
    await assert.rejects(collect(writeNar({ type: 'symlink', target: Buffer.alloc(0) })), NixFormatError);
  });

  test('directories without end, and closes those that it has opened', async () => {
    let open = 0;
    function* entries(): Generator<NarDirectoryEntry, void, undefined> {
      open += 1;
      try {
        yield [Buffer.from('d'), { type: 'directory', entries }];
      } finally {
        open -= 1;
      }
    }
    await assert.rejects(collect(writeNar({ type: 'directory', entries })), /more than 256 deep/);
    assert.equal(open, 0);
  });
});

test('writeNar passes large pieces on without copying them', async () => {
  const piece = Buffer.alloc(100_000, 1);
  const node: NarNode = {
    type: 'regular',
    executable: false,
    sizeBytes: 300_000,
    contents: () => [piece, piece, piece],
  };
  let shared = 0;
  for await (const chunk of writeNar(node)) if (chunk.buffer === piece.buffer) shared += 1;
  assert.equal(shared, 3);
});

function strings(...words: string[]): string[] {
  return ['nix-archive-1', ...words];
}

function narNode(original: Tree): NarNode {
  if ('target' in original) return { type: 'symlink', target: Buffer.from(original.target, 'latin1') };
  if ('contents' in original) {
    const bytes = Buffer.from(original.contents, 'latin1');
    const contents = () => [bytes.subarray(0, 3), bytes.subarray(3)];
    return { type: 'regular', executable: original.executable, sizeBytes: bytes.length, contents };
  }
  const entries = sortedEntries(original).map(
    ([name, child]): NarDirectoryEntry => [Buffer.from(name, 'latin1'), narNode(child)],
  );
  return { type: 'directory', entries: () => entries };
}

function sortedEntries(original: { entries: Record<string, Tree> }): [string, Tree][] {
  return Object.entries(original.entries).sort(([one], [other]) => (one < other ? -1 : 1));
}

function normal(original: Tree): Tree {
  if (!('entries' in original)) return { ...original };
  return { entries: Object.fromEntries(sortedEntries(original).map(([name, child]) => [name, normal(child)])) };
}

function write(original: Tree): Promise<Buffer> {
  return collect(writeNar(narNode(original)));
}

async function read(bytes: Buffer): Promise<NarEvent[]> {
  const events: NarEvent[] = [];
  for await (const event of readNar([bytes])) events.push(event);
  return events;
}

function parse(chunks: Iterable<Buffer>, limits?: NarLimits): NarEvent[] {
  const events: NarEvent[] = [];
  const parser = new NarParser(
    {
      directory: (node) => events.push({ type: 'directory', ...node }),
      endDirectory: () => events.push({ type: 'endDirectory' }),
      regular: (node) => events.push({ type: 'regular', ...node }),
      contents: (chunk) => events.push({ type: 'contents', chunk: Buffer.from(chunk) }),
      endRegular: () => events.push({ type: 'endRegular' }),
      symlink: (node) => events.push({ type: 'symlink', ...node }),
    },
    limits,
  );
  for (const chunk of chunks) parser.push(chunk);
  parser.end();
  return events;
}

/** Joins the pieces of contents, whose number depends on the chunks. */
function merged(events: readonly NarEvent[]): unknown[] {
  const result: unknown[] = [];
  let contents = '';
  for (const event of events) {
    if (event.type === 'contents') {
      contents += Buffer.from(event.chunk).toString('latin1');
    } else {
      result.push(event.type === 'endRegular' ? { ...event, contents } : event);
      contents = '';
    }
  }
  return result;
}

function treeFromEvents(events: readonly NarEvent[]): Tree {
  const root: Record<string, Tree> = {};
  const open: Record<string, Tree>[] = [root];
  const add = (path: readonly Buffer[], node: Tree) => {
    const parent = open.at(-1);
    assert.ok(parent);
    parent[path.at(-1)?.toString('latin1') ?? 'root'] = node;
  };
  let lastFile = { contents: '', executable: false };
  for (const event of events) {
    if (event.type === 'directory') {
      const entries: Record<string, Tree> = {};
      add(event.path, { entries });
      open.push(entries);
    } else if (event.type === 'endDirectory') {
      open.pop();
    } else if (event.type === 'symlink') {
      add(event.path, { target: event.target.toString('latin1') });
    } else if (event.type === 'regular') {
      lastFile = { contents: '', executable: event.executable };
      add(event.path, lastFile);
    } else if (event.type === 'contents') {
      lastFile.contents += Buffer.from(event.chunk).toString('latin1');
    }
  }
  assert.ok(root['root']);
  return root['root'];
}

function* split(bytes: Buffer, sizes: readonly number[]): Generator<Buffer, void, undefined> {
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? 1;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}
