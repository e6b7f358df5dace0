/**
 * Keeps one copy of each text that many things have. It is a copy in any case: a piece that was cut out of a file's text would keep the whole
 * text in memory.
 */
export class TextPool {
  readonly #texts = new Map<string, string>();

  share<Text extends string>(text: Text): Text {
    const known = this.#texts.get(text);
    if (known !== undefined) return known as Text;
    const copy = copyOf(text) as Text;
    this.#texts.set(copy, copy);
    return copy;
  }
}

const scratch = Buffer.alloc(512);

function copyOf(text: string): string {
  // Nearly all are store paths; for these, memory that is there already does.
  if (text.length <= scratch.length) {
    const copy = scratch.toString('latin1', 0, scratch.write(text, 'latin1'));
    if (copy === text) return copy;
  }
  return Buffer.from(text, 'utf8').toString('utf8');
}
