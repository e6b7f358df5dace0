/** Whether a shell takes a text as it is, for one word. */
export function isPlainWord(text: string): boolean {
  return /^[A-Za-z0-9_@%+=:,./^-][A-Za-z0-9_@%+=:,./^#-]*$/.test(text);
}

/** A text as one word of a command that may be pasted into a shell, whoever wrote it. */
export function quoteForShell(text: string): string {
  return isPlainWord(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
