/** Joins the two words that follow `--arg` and `--argstr`, as Nix takes them, to the one that commander gives an option. */
export function joinArgumentPairs(args: readonly string[]): string[] {
  const joined: string[] = [];
  for (let index = 0; index < args.length; index += 1) {
    const word = args[index] ?? '';
    const [name, value] = args.slice(index + 1);
    if (word === '--') return [...joined, ...args.slice(index)];
    if ((word === '--arg' || word === '--argstr') && name !== undefined && value !== undefined) {
      joined.push(`${word}=${name}=${value}`);
      index += 2;
    } else joined.push(word);
  }
  return joined;
}
