/** Lists of output names, each known by a small number: most of a graph wants `out`, and the rest a few others. */
export class OutputNameLists {
  readonly #lists: (readonly string[])[] = [];
  readonly #ids = new Map<string, number>();

  /** The same for every order of the same names. */
  idOf(names: Iterable<string>): number {
    const [only, ...others] = names;
    // Nearly all lists, and these are in order.
    const known = only !== undefined && others.length === 0 ? this.#ids.get(only) : undefined;
    if (known !== undefined) return known;
    const sorted = [...new Set(names)].sort();
    // No name of an output holds a comma.
    const key = sorted.join(',');
    let id = this.#ids.get(key);
    if (id === undefined) {
      id = this.#lists.length;
      this.#lists.push(sorted);
      this.#ids.set(key, id);
    }
    return id;
  }

  /** Sorted. */
  namesOf(id: number): readonly string[] {
    const names = this.#lists[id];
    if (names === undefined) throw new RangeError(`no list of output names has the number ${id}`);
    return names;
  }
}
