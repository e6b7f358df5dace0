/**
 * Keeps one copy of each text that many things have. It is a copy in any case: a piece that was cut out of a file's text would keep the whole
 * text in memory.
 */
export class TextPool {
  readonly #texts = new Map<string, string>();

  share<Text extends string>(text: Text): Text {
    const known = this.#texts.get(text);
    if (known !== undefined) return known as Text;
    const copy = Buffer.from(text, 'utf8').toString('utf8') as Text;
    this.#texts.set(copy, copy);
    return copy;
  }
}
